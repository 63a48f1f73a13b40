"""Who uses archives holds a shared lock, who deletes some an exclusive one.

That says nothing about runs: whoever writes archives or the catalog holds the ``RunLock``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..proto.errors import StagingError
from .flocks import flocked

PATIENCE_SECONDS = 600.0
"""How long who deletes waits for those who read."""

_READER_PATIENCE_SECONDS = 120.0  # for a deletion, which takes no longer than it takes to unlink files


@contextmanager
def reading(staging: Path) -> Iterator[None]:
    """While the context lasts, no archive of the staging area is deleted. To be entered before the catalog is
    asked where archives lie; any number of readers may be in it.

    Where nothing may be written and nobody has deleted anything yet, there is no lock, and none is needed.
    Raises LockedError if a deletion takes longer than two minutes, StagingError.
    """
    path = _place(staging)
    with ExitStack() as stack:
        try:
            stack.enter_context(
                flocked(
                    path, "archives are being deleted", shared=True, patience_seconds=_READER_PATIENCE_SECONDS
                )
            )
        except StagingError:
            if path.exists():
                raise
        yield


@contextmanager
def exclusive(
    staging: Path,
    patience_seconds: float = PATIENCE_SECONDS,
    on_wait: Callable[[str], object] = lambda _: None,
) -> Iterator[None]:
    """While the context lasts, nobody uses archives of the staging area, and so neither may the process that
    is in it. ``on_wait`` is told, once, when others have to be waited for.

    Raises LockedError if somebody uses archives for longer than the patience lasts, StagingError.
    """
    with flocked(
        _place(staging), "archives are being read", patience_seconds=patience_seconds, on_wait=on_wait
    ):
        yield


def _place(staging: Path) -> Path:
    return staging / ".mailhaul" / "readers.lock"
