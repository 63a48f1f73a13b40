"""What somebody means who holds or releases something: a path, or a run, as text."""

from __future__ import annotations

from pathlib import Path

from ..groups.paths import EVERYBODY, LogicalPath
from ..proto.errors import NotFoundError, UsageError
from ..proto.records import RunId
from .absence import unknown
from .catalog import Catalog
from .clock import RUN_ID


def named(text: str) -> LogicalPath | RunId:
    """What is to be released: a path, or a run by its id. Raises UsageError."""
    if text.startswith("/"):
        return LogicalPath.parse(text)
    if not RUN_ID.fullmatch(text):
        raise UsageError(f"{text!r} is neither a logical path nor the id of a run")
    return RunId(text)


def known_path(staging: Path, text: str) -> LogicalPath:
    """The path that is to be held: a hold on a mistyped one would keep nothing, and nobody would know. Raises
    NotFoundError, UsageError."""
    path = LogicalPath.parse(text)
    with Catalog.open(staging) as catalog:
        group = None if path.user is not None or path.group == EVERYBODY else path.group
        known = catalog.histories(path.partition, group, path.user)
        if path != LogicalPath() and next(iter(known), None) is None:
            raise NotFoundError(f"{path}: {unknown(catalog, path)}", path=str(path))
    return path


def known_run(staging: Path, text: str) -> RunId:
    """The run that is to be held. Raises NotFoundError, UsageError."""
    with Catalog.open(staging) as catalog:
        return catalog.resolve_time(text)
