"""A staging area that an option names and that is not there yet: a run that fails at once leaves none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...proto.errors import BackupError


@contextmanager
def removed_if_failed(staging: Path) -> Iterator[None]:
    """Remove a staging area that was not there before, if the block ends with an error and there is nothing
    in it but the records of that; with the directories above it that were made for it."""
    made = [one for one in (staging, *staging.parents) if not os.path.lexists(one)]
    try:
        yield
    except BackupError:
        if made:
            from ..run_archives import FOLDER  # costs 0.1 s, and most runs do not fail

            with suppress(OSError):
                if {".mailhaul", FOLDER}.issuperset(os.listdir(staging)):
                    for name in (".mailhaul", FOLDER):
                        shutil.rmtree(staging / name, ignore_errors=True)
            with suppress(OSError):  # not empty: somebody's, or an archive's
                for path in made:
                    path.rmdir()
        raise
