"""A skeleton of directories, ``PARTITION/GROUP/USER``, for programs that back up by directories: each leaf
stands for a mailbox that they ask for through a pipe (``backup -f -``). There is no mail in it.

``tree.map`` beside the partitions has the logical path of each leaf; it also says which directories are ours.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from hashlib import blake2b
from pathlib import Path

from ..groups.paths import LogicalPath
from ..proto.errors import NotFoundError, StagingError, UsageError
from ..proto.records import RunId
from ..proto.structs import Record
from .catalog import Catalog
from .dispatch.engine import Engine
from .inventory import Failure
from .preparation import make_plan
from .request import Request
from .settings import Config

MAP = "tree.map"

_UNSAFE = re.compile(r"[^A-Za-z0-9@+._=-]|^[.~-]")
_DIGEST_BYTES = 6
SHORTEST_NAME = 2 * _DIGEST_BYTES + 4


class Tree(Record, kw_only=True):
    """What a tree has become: its leaves with their logical paths, how many were ``added`` and ``removed``,
    which were ``kept`` as there is something in them, and the partitions that can't be listed: their leaves
    stay as they are."""

    leaves: dict[str, str]
    added: int
    removed: int
    kept: tuple[str, ...]
    failures: tuple[Failure, ...]


def leaf_name(name: str, longest: int) -> str:
    """What a level is called in a tree: as it is, unless it is too long for the other program or has what
    would have to be quoted; then its beginning and a digest."""
    plain = _UNSAFE.sub("_", name)
    if plain == name and len(name) <= longest:
        return name
    digest = blake2b(os.fsencode(name), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{plain[: longest - len(digest) - 1]}~{digest}"


def grow_tree(place: Path, config: Config, engine: Engine, longest: int) -> Tree:
    """Make the tree, or bring it to who is in the mail stores now, in the groups as runs have them.

    Only empty directories that the map names are removed. Raises UsageError where something else has the name
    of a leaf or of the map, StoreError if no partition can be listed, StagingError if the tree can't be
    written.
    """
    known = read_map(place)
    with ExitStack() as stack:
        catalog = None
        with suppress(NotFoundError):  # with it, mailboxes that are known need not be measured
            catalog = stack.enter_context(Catalog.open(config.staging.path))
        plan, failures = make_plan(config, RunId(""), Request(), catalog, engine, workers=1)
    if failures and not plan.units:
        raise failures[0].error
    failed = {failure.what for failure in failures}
    leaves = {leaf: path for leaf, path in known.items() if leaf.partition("/")[0] in failed}
    for unit in plan.units:
        for user in unit.users:
            path = LogicalPath(unit.partition.name, unit.group, user)
            levels = (unit.partition.name, unit.group, user)
            leaves["/".join(leaf_name(level, longest) for level in levels)] = str(path)
    added = [leaf for leaf in leaves if not (place / leaf).is_dir()]
    try:
        # The map knows a directory before it is made, until it is gone: none is forgotten.
        _write_map(place, {**known, **leaves})
        for leaf in added:
            (place / leaf).mkdir(parents=True, exist_ok=True)
        kept = _remove(place, known.keys() - leaves.keys())
        _write_map(place, {**leaves, **{leaf: known[leaf] for leaf in kept}})
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{error.filename} is there, and is no directory of the tree") from error
    except OSError as error:
        raise StagingError(f"{error.filename}: {error.strerror}", path=str(error.filename)) from error
    return Tree(
        leaves=leaves,
        added=len(added),
        removed=len(known.keys() - leaves.keys() - set(kept)),
        kept=kept,
        failures=tuple(failures),
    )


def read_map(place: Path) -> dict[str, str]:
    """The logical path of each leaf. Raises UsageError for a map that is none."""
    file = place / MAP
    try:
        rows = [line.split("\t") for line in file.read_text("utf-8", "surrogateescape").splitlines()]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StagingError(f"{file}: {error.strerror}", path=str(file)) from error
    if any(len(row) != 2 or ".." in row[0].split("/") or row[0].startswith("/") for row in rows):
        raise UsageError(f"{file} is no map of a tree: choose another directory")
    return {leaf: path for leaf, path in rows}  # noqa: C416 (of two, as was checked)


def _write_map(place: Path, leaves: dict[str, str]) -> None:
    place.mkdir(parents=True, exist_ok=True)
    new = place / f"{MAP}.new"
    with new.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(f"{leaf}\t{path}\n" for leaf, path in sorted(leaves.items()))
        file.flush()
        os.fsync(file.fileno())
    new.replace(place / MAP)


def _remove(place: Path, gone: Iterable[str]) -> tuple[str, ...]:
    """Remove the directories of these leaves, and those above them that are empty then; returns the leaves
    that have something in them."""
    kept = []
    for leaf in sorted(gone):
        try:
            (place / leaf).rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            kept.append(leaf)
            continue
        for above in Path(leaf).parents[:-1]:
            with suppress(OSError):  # others are in it
                (place / above).rmdir()
    return tuple(kept)
