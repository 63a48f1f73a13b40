"""What is left of mailboxes in the staging area beside archives and catalog, and goes with them."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path

from ... import __version__
from ...proto.archive.reader import ArchiveReader
from ...proto.erased import Erased
from ...proto.errors import AccessError, BackupError, LockedError, StagingError
from ...proto.records import ARCHIVE_ID_BYTES, ArchiveId, RunId
from ...proto.structs import asdict, replace
from ...worker.archives.names import EXCERPTS, excerpt_name
from ...worker.archives.opened import beginning_of, open_archive
from ...worker.archives.places import open_local
from ..catalog import Catalog
from ..durable import replace_durably
from ..ready import withdrawn
from ..restores.before import read_before
from ..restores.record import directory_of, read_order, restores_of, state_of
from ..run_archives import FOLDER as RUNS
from ..run_archives import run_archive
from ..service.database import place as service_file
from ..service.notices import NoticeRecord
from ..service.operations import Operations
from ..service.proofs import Proofs
from ..service.records import Texts
from ..serving.files import KEPT, file_of, forget, read_stderr
from ..serving.given_files import all_given, forget_given
from ..structure_keys import area_at
from ..sweeping.policy import name_in_places
from ..unnamed import Unnaming
from ..verifying.set_aside import strangers

_WORD = re.compile(r"[^\s=|:]+")
"""Of a line of a map, such as ``old1:jane = jane@new.example``."""

_LINES = ("accepted.jsonl", "hooks.jsonl", "hooks.1.jsonl")
"""Below ``.mailhaul``: one JSON document a line; those that name somebody go."""

_WHOLE = ("status.json", "verify.json")
"""Below ``.mailhaul``: what is told of the last run, or check; made again by the next."""

_LEFT = ("catalog.sqlite.base", "catalog.sqlite.new", "snapshot.new")
"""Below ``.mailhaul``: what a program that was killed may have left of a catalog."""


def restores_with(staging: Path, erased: Erased, partitions: Iterable[str]) -> list[str]:
    """The restores that have to do with mailboxes that were erased, or of which that can't be told. Raises
    LockedError if one of these goes on."""
    found = []
    for restore in restores_of(staging):
        directory = directory_of(staging, restore)
        if _concerns(directory, Unnaming(erased), tuple(partitions)):
            if state_of(directory) == "running":
                raise LockedError(f"restore {restore} is going on: end it first")
            found.append(restore)
    return found


def _concerns(directory: Path, unnaming: Unnaming, partitions: tuple[str, ...]) -> bool:
    try:
        # What it brought back was stored by this run or an earlier one.
        moment = read_order(directory).run
        for path in sorted(directory.glob("*.json*")):
            for line in path.read_bytes().splitlines():
                with suppress(ValueError):  # a line that a crash has cut
                    if unnaming.is_named_in(json.loads(line), partitions, moment):
                        return True
        before = read_before(directory)
        return any(
            unnaming.is_erased(partition, mailbox.user, moment)
            for mailbox in (*before.mailboxes, *before.unkept)
            for partition in (mailbox.partition, *partitions)
        )
    except (OSError, BackupError):
        return True


def remove_restores(staging: Path, restores: Iterable[str]) -> None:
    """Remove what is kept of restores: they can't be taken back any more. Raises StagingError."""
    for restore in restores:
        remove(directory_of(staging, restore))


def remove_unfinished(staging: Path) -> int:
    """Remove archives that were never finished: no run goes on, and none can go on with them. Returns how
    many went. Raises StagingError."""
    found = [*staging.glob("[!.]*/*/*.partial"), *staging.glob(f"{RUNS}/*/*.partial")]
    for path in found:
        remove(path)
    return len(found)


def count_set_aside(staging: Path) -> int:
    """How many damaged files were set aside."""
    return sum(path.is_file() for path in (staging / ".mailhaul" / "damaged").glob("**/*"))


def remove_set_aside(staging: Path) -> int:
    """Remove the damaged files that were set aside: what they hold nobody can tell for sure. Returns how many
    went. Raises StagingError."""
    found = count_set_aside(staging)
    if found:
        remove(staging / ".mailhaul" / "damaged")
    return found


def remove_leftovers(staging: Path, catalog: Catalog, erased: Erased) -> list[str]:
    """Remove files of archives that the catalog does not know, as far as it is sure that nobody needs them or
    that they may hold something of a mailbox that was erased. Of excerpts all: they are made again. Returns
    the others of which nothing can be told. Call it when it is on record that no rebuild enters any of them
    (``record_moments``). Raises StagingError."""
    known = {archive_record.archive: archive_record for archive_record in catalog.archives()}
    needed = {excerpt_name(name) for one in known.values() for name in (one.name, name_in_places(one))}
    for path in staging.glob(f"{EXCERPTS}/*/*/*.mhx"):
        if str(path.relative_to(staging)) not in needed:
            remove(path)
    purged, keys = set(catalog.purged_archives()), area_at(staging).keys
    unknown = []
    for name in strangers(staging, {one.name for one in known.values()}):
        try:
            with closing(open_local(str(staging / name))) as file:
                archive = open_archive(file, keys=keys)
        except BackupError:
            unknown.append(name)
            continue
        record = known.get(archive.header.archive)
        if record is not None:
            # An older file of one that has no other copy is left: it may be what is restored from.
            goes = archive.header.generation < record.generation and bool(record.copies)
        else:
            goes = archive.header.archive in purged or _may_hold(archive, erased)
        if goes:
            with withdrawn(staging, [name]):
                remove(staging / name)
        elif record is not None or archive.damage:
            unknown.append(name)
    return unknown


def _may_hold(archive: ArchiveReader, erased: Erased) -> bool:
    """Whether something of a mailbox that was erased may be in an archive that no catalog knows: it names it,
    or it was written anew, so that it may hold data of others than it names."""
    header = archive.header
    return header.generation > 0 or any(
        erased.holds(header.partition, mailbox.user, header.run) for mailbox in archive.directory.mailboxes
    )


def unname_records(staging: Path, erased: Erased, partitions: Iterable[str], until: RunId) -> None:
    """Take away what small records beside the catalog tell of erased mailboxes, by anything before ``until``.
    Raises StagingError."""
    folder, there = staging / ".mailhaul", tuple(partitions)
    before = _just_before(until)

    def names(line: bytes) -> bool:
        with suppress(ValueError):
            return Unnaming(erased).is_named_in(json.loads(line), there, before)
        return False

    for name in _LINES:
        _filter(folder / name, names)
    for name in _WHOLE:
        path = folder / name
        with suppress(FileNotFoundError):
            if names(path.read_bytes()):
                remove(path)
    for name in _LEFT:
        remove(folder / name)
    if service_file(staging).exists():
        NoticeRecord(staging).forget_named(lambda notice: names(json.dumps(asdict(notice)).encode()))
        Proofs(staging).forget_named(lambda told: names(json.dumps(told).encode()))
        _unname_operations(staging, erased, there, before)


def _unname_operations(staging: Path, erased: Erased, partitions: tuple[str, ...], before: str) -> None:
    """What the queue has on record of them. An operation on a mailbox that is erased does not begin any more;
    what operations have printed goes wherever it names one."""

    def unnamed(texts: Texts) -> Texts:
        unnaming = Unnaming(erased)
        if not unnaming.is_named_in(
            [*texts.arguments, texts.reason, texts.waits_for, texts.error], partitions, before
        ):
            return texts
        arguments = tuple(unnaming.document(argument, before) for argument in texts.arguments)
        told = (unnaming.text(one, before) for one in (texts.reason, texts.waits_for, texts.error))
        reason, waits_for, error = told
        return Texts(arguments=arguments, reason=reason, waits_for=waits_for, error=error)

    operations = Operations(staging)
    given = {
        number
        for number, files in all_given(staging).items()
        if any(_is_named_in(path, erased, partitions, before) for path in files)
    }
    changed = set(operations.rewrite(unnamed, given))
    for number in given:
        forget_given(staging, number)
    for operation in operations.newest(KEPT):
        if operation.id in changed or _is_named(staging, operation.id, erased, partitions, before):
            forget(staging, operation.id)


def _is_named(
    staging: Path, operation: int, erased: Erased, partitions: tuple[str, ...], before: str
) -> bool:
    """Whether what an operation printed, or said, names one of them."""
    texts: list[object] = list(read_stderr(staging, operation).splitlines())
    for kind in ("json", "out"):
        texts += _texts_in(file_of(staging, operation, kind))
    return Unnaming(erased).is_named_in(texts, partitions, before)


def _is_named_in(path: Path, erased: Erased, partitions: tuple[str, ...], before: str) -> bool:
    """Whether a file that an operation was given names one of them: in a path, or as a user of a map."""
    texts = _texts_in(path)
    words = {word for text in texts if isinstance(text, str) for word in _WORD.findall(text)}
    return Unnaming(erased).is_named_in([*texts, *sorted(words)], partitions, before)


def _texts_in(path: Path) -> list[object]:
    """What is in a file: a document, or else lines. Nothing where it can't be read."""
    with suppress(OSError):
        content = path.read_bytes()
        try:
            return [json.loads(content)]
        except ValueError:
            return list(content.decode(errors="replace").splitlines())
    return []


def _just_before(run: RunId) -> str:
    """Sorts before a run and after those before it that matter: what is told now was told before it."""
    return run[:-1]


def _filter(path: Path, names: Callable[[bytes], bool]) -> None:
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StagingError(f"{path}: can't be read: {error.strerror}", path=str(path)) from error
    left = [line for line in lines if not names(line)]
    if len(left) < len(lines):
        replace_durably(path, b"".join(left))


def renew_runs(staging: Path, catalog: Catalog, erased: Erased) -> int:
    """Write the archives of runs anew that name mailboxes that were erased, or archives of which nothing is
    left, as if each run had gone on once more. Returns how many. Raises StagingError; AccessError if one is
    encrypted and nobody knows here for whom."""
    from ...proto.archive.run_end import read_run_end, write_run_end  # costs 0.1 s
    from ...worker.staging.sinks import StagedFile

    count = 0
    area = area_at(staging)
    for path in sorted(staging.glob(f"{RUNS}/*/*.mhr")):
        name = str(path.relative_to(staging))
        try:
            with closing(open_local(str(path))) as file:
                sealed = beginning_of(file).sealed
                end = read_run_end(file, area.keys)
        except BackupError:
            continue  # ``verify --fix`` writes it anew from the catalog, which has no names any more
        if not erased.reaches(end.run):
            continue
        told = catalog.with_known_units(Unnaming(erased).run_end(end))
        if told == end:
            continue
        if sealed and area.resealing is None:
            raise AccessError(
                f"{path}: to write it anew takes the recipients, which are not on record here: run `mailhaul "
                "backup` first, then `mailhaul erase --resume`"
            )
        resumed = catalog.renew_run(end.run, end.resumed)
        write_run_end(
            replace(told, resumed=resumed),
            StagedFile(staging / run_archive(end.run, resumed)),
            ArchiveId(os.urandom(ARCHIVE_ID_BYTES)),
            f"mailhaul {__version__}",
            sealing=area.resealing if sealed else None,
        )
        with withdrawn(staging, [name]):
            remove(path)
        count += 1
    return count


def remove(path: Path) -> None:
    """Remove a file or a directory, if it is there. Raises StagingError."""
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StagingError(f"{path}: can't be removed: {error.strerror}", path=str(path)) from error
