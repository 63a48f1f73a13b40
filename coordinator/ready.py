"""The manifest of each run: ``_ready/RUN.sha256``, as ``sha256sum -c`` takes it in the staging area.

It is there from when the run has ended, until it goes on; it names the archives that the run has sealed, and
its own (``run_archives``). It is for programs that know nothing of the catalog and carry the files away. What
it names is there: who removes or replaces files does that within ``withdrawn``, and files that take their
place are added by ``settle``. What is lost in another way stays named, so that it is noticed.

The digests come with the archives from where they were written; those of other files are made here, by
reading them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from ..proto.directories import make_directories, sync_directory
from ..proto.errors import StagingError
from ..proto.records import RunId
from .catalog import Catalog
from .flocks import flocked
from .opening import UNOPENED, Opening, open_beside, open_files, opening_like

FOLDER = "_ready"
"""Below the staging area; no partition can be called so."""

_LINE = re.compile(r"([0-9a-f]{64})  (.+)", re.ASCII)
_READERS = 4
_PATIENCE_SECONDS = 60.0


def manifest(staging: Path, run: str) -> Path:
    """Where the manifest of a run is."""
    return staging / FOLDER / f"{run}.sha256"


def settle(
    staging: Path,
    catalog: Catalog,
    opening: Opening = UNOPENED,
    ended: RunId | None = None,
    digests: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Bring the manifests of the runs that have ended to what is there: those that lack files, those that are
    missing, and that of the run that has just ``ended``, also if it has sealed nothing but its own archive.
    The ``digests`` of some files, by their names below the staging area, are known.

    What a manifest names can be read by whom ``opening`` says; files that join one, also by whom it itself
    can be read. Call it under the run lock. Raises StagingError, and what was given up is done next time.
    """
    open_beside(staging, opening)
    there: dict[str, set[str]] = {}
    for pattern in ("[!._]*/*/*.mha", "_runs/*/*.mhr"):
        for path in staging.glob(pattern):
            there.setdefault(_run_of(path.name), set()).add(str(path.relative_to(staging)))
    for run, _ in catalog.ended_runs():
        names = there.get(run, set())
        if run == ended or any(map(_is_of_mail, names)):
            lacking = names - _read(manifest(staging, run)).keys()
            if lacking:
                _add(staging, run, catalog.run(run).state, lacking, opening, digests)


def remove(staging: Path, run: RunId) -> None:
    """The run goes on. Raises StagingError."""
    with _locked(staging):
        _unlink(manifest(staging, run))


@contextmanager
def withdrawn(staging: Path, names: Collection[str]) -> Iterator[None]:
    """No manifest names these files (relative to the staging area) any more, durably: within the context they
    can be removed or replaced. A manifest that names nothing any more goes. Raises StagingError."""
    if not names:
        yield
        return
    with _locked(staging):
        for run in {_run_of(Path(name).name) for name in names}:
            path = manifest(staging, run)
            known = _read(path)
            left = {name: digest for name, digest in known.items() if name not in names}
            if len(left) == len(known):
                continue
            try:
                if left:
                    _write(path, _head(path), left, opening_like(path))
                    continue
            except OSError:
                pass  # of a full disk files must go, too: who settles next writes it again
            _unlink(path)
        yield


def _add(
    staging: Path,
    run: RunId,
    state: str,
    names: Set[str],
    opening: Opening,
    digests: Mapping[str, str],
) -> None:
    path = manifest(staging, run)
    found = {name: digests[name] for name in names if name in digests}
    found |= _digests(staging, sorted(names - found.keys()))
    with _locked(staging):
        try:
            known = _read(path)
            # Meanwhile some may have been removed.
            added = {name: digest for name, digest in found.items() if (staging / name).exists()}
            given = opening_like(path) if known and opening == UNOPENED else opening
            open_files(staging, added, given)
            head = "" if state == "done" else f"# run {run}: {state}\n"
            _write(path, head, {**known, **added}, given)
        except OSError as error:
            raise StagingError(f"{path}: can't be written: {error.strerror}", path=str(path)) from error


def _digests(staging: Path, names: Sequence[str]) -> dict[str, str]:
    """Without those that are not there any more. Raises StagingError for a file that can't be read."""
    from hashlib import file_digest

    def digest(name: str) -> tuple[str, str]:
        path = staging / name
        try:
            with path.open("rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
                return name, file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return name, ""
        except OSError as error:
            raise StagingError(f"{path}: can't be read back: {error.strerror}", path=str(path)) from error

    if len(names) < 2:  # mostly that of the run itself
        return {name: found for name, found in map(digest, names) if found}
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_READERS) as readers:
        return {name: found for name, found in readers.map(digest, names) if found}


def _read(path: Path) -> dict[str, str]:
    """The digest of each file that a manifest names; none where there is no manifest."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StagingError(f"{path}: can't be read: {error.strerror}", path=str(path)) from error
    return {found[2]: found[1] for line in lines if (found := _LINE.fullmatch(line))}


def _head(path: Path) -> str:
    return "".join(line for line in path.read_text("utf-8").splitlines(True) if line.startswith("#"))


def _write(path: Path, head: str, digests: Mapping[str, str], opening: Opening) -> None:
    """Durably, and as a whole: who waits for its name finds all of it, and may read it. Raises OSError."""
    make_directories(path.parent)
    opening.directory(path.parent)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600, exist_ok=False)
    with new.open("w", encoding="utf-8") as file:
        file.write(head + "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())))
        file.flush()
        opening.file(new)
        os.fsync(file.fileno())
    new.replace(path)
    sync_directory(path.parent)


def _unlink(path: Path) -> None:
    try:
        if path.exists():
            path.unlink()
            sync_directory(path.parent)
    except OSError as error:
        raise StagingError(f"{path}: can't be removed: {error.strerror}", path=str(path)) from error


@contextmanager
def _locked(staging: Path) -> Iterator[None]:
    lock = staging / ".mailhaul" / "ready.lock"
    with flocked(lock, "manifests are being written", patience_seconds=_PATIENCE_SECONDS):
        yield


def _is_of_mail(name: str) -> bool:
    return name.endswith(".mha")


def _run_of(file: str) -> str:
    """The run of an archive, by the name of its file."""
    return file.partition(".")[0]
