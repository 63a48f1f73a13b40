"""Places that must not be each other: stores, staging areas, targets. Each ``refuse`` raises UsageError.

Paths are compared as the file system has them, so that another name (a link, a bind mount) is no way around.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ..groups.definitions import SAFE_NAME
from ..proto.errors import UsageError
from ..proto.records import Partition
from ..proto.structs import replace
from ..worker.stores.registry import is_one_file, is_stdout

PARTITION = "{partition}"
"""Stands for the name of the partition that mail comes from, in the place that it is restored to."""

_PLACEHOLDER = re.compile(r"\{[^/{}]*\}")
_TEMPLATES = ("path", "home", "control", "index")


def names_partition(place: Partition) -> bool:
    """Whether each partition has a place of its own there."""
    return any(PARTITION in getattr(place, key) for key in _TEMPLATES)


def of_partition(place: Partition, name: str) -> Partition:
    """The place of the partition with this name. Raises UsageError for a name that is none of a directory."""
    if not re.fullmatch(SAFE_NAME, name):
        raise UsageError(f"partition {name!r}: its name can't stand for {PARTITION} in a path")
    return replace(
        place, name=name, **{key: getattr(place, key).replace(PARTITION, name) for key in _TEMPLATES}
    )


def refuse_staging_in_store(partitions: Iterable[Partition], staging: Path) -> None:
    """Refuse a staging area inside a mail store, or the other way round: backups would be taken for mail. Of
    stores on other hosts that can't be told."""
    area = os.path.realpath(staging)
    for partition in partitions:
        if "localhost" not in partition.hosts:
            continue
        root = os.path.realpath(_root(partition.path))
        inside = re.compile(_pattern(os.path.realpath(_root(partition.path)), partition.path))
        if inside.match(area):
            raise UsageError(
                f"the staging area {staging} lies inside the mail store of partition {partition.name!r} "
                f"({partition.path}): choose a directory outside of it",
                partition=partition.name,
            )
        if _is_below(root, area):
            raise UsageError(
                f"the mail store of partition {partition.name!r} ({partition.path}) lies inside the "
                "staging area "
                f"{staging}: choose another staging area",
                partition=partition.name,
            )


def on_same_device(partitions: Iterable[Partition], staging: Path) -> tuple[str, ...]:
    """The partitions of this host whose mail lies on the device of the staging area, as far as can be seen:
    what destroys the one takes the other along."""
    device = _device(os.path.realpath(staging))
    return tuple(
        partition.name
        for partition in partitions
        if "localhost" in partition.hosts and _device(os.path.realpath(_root(partition.path))) == device
    )


def device_warning(partitions: Iterable[str]) -> str:
    """What there is to say of them."""
    return (
        f"the staging area lies on the device of the mail of {', '.join(partitions)}: what destroys the one "
        "takes the other along. Have archives carried elsewhere; same_device = true in [staging] ends this "
        "warning"
    )


def refuse_other_store(partitions: Iterable[Partition], known: Iterable[Partition]) -> None:
    """Refuse a partition that lay elsewhere when it was backed up last: all of its mailboxes would seem to be
    gone, and others to have come."""
    before = {one.name: one for one in known}
    for partition in partitions:
        last = before.get(partition.name)
        if last is None or _is_same_store(partition, last):
            continue
        raise UsageError(
            f"partition {partition.name!r} of this staging area was backed up from "
            f"{last.format}:{last.path} until now, not from {partition.format}:{partition.path}: "
            "give the other store another partition or another staging area; if it is the same "
            "that has moved, say --accept-moved",
            partition=partition.name,
        )


def refuse_target(target: Partition, staging: Path | None, stores: Iterable[Partition]) -> None:
    """Refuse a target inside the staging area, and one that is a store that was backed up, by another name:
    what would be restored beside it would be its own mail; and one file for all that is there already."""
    if is_stdout(target):
        return
    if is_one_file(target) and os.path.lexists(target.path):
        raise UsageError(f"--to {target.path} is there already, and is not written over: choose another name")
    root = os.path.realpath(_root(target.path))
    if staging is not None and _is_below(root, os.path.realpath(staging)):
        raise UsageError(f"--to {target.path} lies inside the staging area {staging}: restore to elsewhere")
    for store in stores:
        source, goal = _root(store.path), _root(target.path)
        if "localhost" in store.hosts and source != goal and _is_same(source, goal):
            raise UsageError(
                f"--to {target.path} is the mail store of partition {store.name!r} by another name: to "
                f"restore there, call it {store.path}",
                partition=store.name,
            )


def _is_same_store(partition: Partition, other: Partition) -> bool:
    if partition.format != other.format:
        return False
    root, before = _root(partition.path), _root(other.path)
    return partition.path.removeprefix(root) == other.path.removeprefix(before) and (
        root == before or _is_same(root, before)
    )


def _root(path: str) -> str:
    """The directory of a store above all placeholders."""
    found = _PLACEHOLDER.search(path)
    return path if found is None else path[: found.start()].rpartition("/")[0] or "/"


def _pattern(root: str, path: str) -> str:
    """Matches what lies inside a store whose root is really this directory: in a mailbox, or anywhere below
    where mailboxes are searched for."""
    rest = path.removeprefix(_root(path))
    names = "[^/]+".join(map(re.escape, _PLACEHOLDER.split(rest)))
    return re.escape(root.rstrip("/")) + names + "(?:/|$)"


def _device(path: str) -> int:
    """That of a directory, or of the first one above that is there."""
    while True:
        try:
            return os.stat(path).st_dev
        except OSError:
            if path in ("/", ""):
                return 0
            path = os.path.dirname(path)


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
