"""One mailbox, from the mail store to the archive, compared with how it was stored last.

as one look tells       keep the stored mailbox                  unit_archive
for each folder that is asked for
  unchanged   note its stored frames                         unit_archive
  else        take over what is known, read what is new      folder_backup
take over the folders that nobody asked for
take over or read the mailbox's other files                  file_backup
as it was     keep the stored mailbox                        unit_archive
else          a checkpoint: this mailbox is complete         proto.archive.writer
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ..groups.paths import LogicalPath, printable
from ..groups.selection import Verdict
from ..proto.archive.columns import BEYOND, clamped
from ..proto.errors import DamagedError, MessageUnavailable, StoreError
from ..proto.ports import FolderReader, MailboxReader
from ..proto.records import FolderLoss, MailboxSummary, Skipped, StoredFile
from ..proto.structs import Record, replace
from .comparing.known import UNACCOUNTED, KnownMessages, KnownVersion
from .comparing.known_tally import KnownTally
from .file_backup import FileBackup
from .folder_backup import FolderBackup, Reliance, Tally
from .unit_archive import LateMailbox, Unchanged, UnitArchive

NOT_ASKED = "not-asked"
"""Why a folder is not stored that is there: the run was over others only, and it was never stored before."""

_REFUSED = ("permission", "io-error")


class MailboxOutcome(Record, kw_only=True):
    """What became of a mailbox. ``to_write``: the unit needs an archive for it. ``read`` of its messages were
    read."""

    summary: MailboxSummary
    skipped: tuple[Skipped, ...]
    read: int
    to_write: bool
    losses: tuple[FolderLoss, ...] = ()


class Approach(Record, kw_only=True):
    """How a mailbox is looked at: which of its folders are asked for, and how far what was stored of it is
    relied upon. ``told`` is called now and then."""

    judge: Callable[[str], Verdict]
    reliance: Reliance
    told: Callable[[LateMailbox], object]


class MailboxBackup:
    """Puts a mailbox into the archive of its unit. ``path`` is its logical one."""

    def __init__(
        self,
        mailbox: MailboxReader,
        path: LogicalPath,
        known: KnownVersion | None,
        archive: UnitArchive,
        approach: Approach,
    ) -> None:
        self._mailbox = mailbox
        self._path = path
        self._known = known
        self._archive = archive
        self._approach = approach
        self._late = LateMailbox(archive, path.user or "")
        reliance = approach.reliance
        self._files = FileBackup(
            mailbox, self._late, path, known if reliance.refer else None, reuse=reliance.reuse
        )
        self._tally = Tally()
        self._skipped: list[Skipped] = []
        self._losses: tuple[FolderLoss, ...] = ()
        self._tallies: dict[bytes, KnownTally] = {}  # by the path of the stored folder
        self._marks: dict[bytes, bytes] = {}  # by the path of the folder
        self._mark = b""
        self._entered = False  # any folder that was asked for could be read

    def run(self) -> MailboxOutcome:
        """Put all of it that can be read into the archive; what can't is told.

        Raises StoreError if no folder of it can be read, AlreadyStored if an earlier attempt has stored it,
        DamagedError if what was stored of it last is damaged and it has to be read as if nothing were known
        of it, StagingError.
        """
        self._mark = self._mailbox.mark()
        if self._known is not None and self._is_all_as_stored(self._known):
            self._archive.keep(Unchanged(user=self._path.user or ""))
            return self._outcome_as_stored(self._known, (), to_write=False)
        try:
            for folder in self._mailbox.folders():
                self._folder(folder)
            self._refuse_unreadable()
            self._take_over_what_is_not_asked_for()
            self._take_over(self._unreadable())
            self._files.read()
            self._files.take_over(lambda file: self._is_not_asked_for(file) or self._is_unreadable(file))
        except StoreError as error:
            if not self._entered:
                raise
            # The mailbox became unreadable half-way: keep what there is, and what there was, and say so.
            self._skip(str(self._path), "mailbox", error.message)
            self._take_over(self._unseen())
            self._files.take_over()
        self._end_pursuit()
        for skip in self._mailbox.skipped():
            self._skip(f"{self._path}/{skip.path}", skip.reason, skip.detail)
        return self._end()

    def _is_all_as_stored(self, known: KnownVersion) -> bool:
        """Whether the marks tell that nothing has changed in all of the mailbox. It was stored whole then, or
        there would be none."""
        reliance = self._approach.reliance
        return (
            known.mark != b""
            and known.mark == self._mark
            and reliance.reuse
            and reliance.refer
            and not reliance.thorough
            and self._is_at_home(known)
            and known.whole
            and self._files.are_as_stored()
            and not self._mailbox.skipped()
        )

    def _refuse_unreadable(self) -> None:
        """Raise StoreError if there are folders and none of them can be read."""
        refused = [skip for skip in self._mailbox.skipped() if skip.reason in _REFUSED]
        if refused and not self._entered:
            first = refused[0]
            raise StoreError(f"none of its folders can be read; {first.path}: {first.detail or first.reason}")

    def _folder(self, folder: FolderReader) -> None:
        path = folder.folder.path
        comes_again = path in self._marks
        stored = self._stored(folder)
        self._marks[path] = b""
        self._entered = self._entered or folder.unchanged or folder.complete or len(folder) > 0
        if stored is not None and not comes_again and self._is_unchanged(folder, stored):
            self._keep_folder(stored)
            self._late.end_folder(folder.folder, folder.mark)
            self._marks[path] = folder.mark
        else:
            key = stored.folder.path if stored is not None else path
            self._marks[path] = FolderBackup(
                folder,
                self._tallies.setdefault(key, KnownTally(stored)),
                self._late,
                replace(self._path, folder=folder.folder.name),
                version=self._known,
                reliance=self._approach.reliance,
                tally=self._tally,
                told=lambda: self._approach.told(self._late),
            ).run()
        if stored is None or (not comes_again and folder.folder != stored.folder):
            self._tally.differs = True
        for directory in folder.folder.directories if not comes_again else ():
            if clamped(directory.mtime_ns) != directory.mtime_ns:
                self._skip(f"{self._path}/{printable(directory.path)}", "date", BEYOND)

    def _stored(self, folder: FolderReader) -> KnownMessages | None:
        """The folder as it was stored, under this path or another one."""
        if self._known is None:
            return None
        here, guid = self._known.folder(folder.folder.path), folder.folder.guid
        if here is not None and here.folder.guid in ("", guid):
            return here
        return self._known.renamed(guid) or here

    def _is_unchanged(self, folder: FolderReader, stored: KnownMessages) -> bool:
        reliance = self._approach.reliance
        intact = self._known is not None and self._known.intact and stored.whole
        return folder.unchanged and intact and reliance.reuse and not reliance.thorough and bool(stored.mark)

    def _keep_folder(self, stored: KnownMessages) -> None:
        known = self._tallies.setdefault(stored.folder.path, KnownTally(stored))
        known.meet(0, stored.count)
        self._tally.listed += stored.count
        for pointer in stored.frames:
            self._late.keep(stored, pointer)

    # Folders that are not looked at

    def _take_over_what_is_not_asked_for(self) -> None:
        unseen = list(self._unseen())
        known = {messages.folder.name for messages in unseen}
        for name in self._mailbox.passed_over():
            where = str(replace(self._path, folder=name))
            if self._approach.judge(name) is Verdict.EXCLUDED:
                self._skip(where, "excluded")
            elif name not in known:
                self._skip(where, NOT_ASKED)
        self._take_over(
            known_messages
            for known_messages in unseen
            if self._approach.judge(known_messages.folder.name) is Verdict.PASSED_OVER
        )

    def _take_over(self, folders: Iterable[KnownMessages]) -> None:
        """Folders as they were stored, but for those in whose place there is another one now."""
        for folder in folders if self._approach.reliance.refer else ():
            if folder.folder.path in self._marks:
                continue
            if not folder.whole:
                raise DamagedError(
                    "the messages of a folder are lost that is not looked at", reason="metadata"
                )
            self._marks[folder.folder.path] = b""
            self._keep_folder(folder)
            self._late.end_folder(folder.folder, folder.mark)

    def _unseen(self) -> Iterator[KnownMessages]:
        """The stored folders that the mailbox has not shown, nor under another path."""
        if self._known is not None:
            for path, messages in self._known.folders.items():
                if path not in self._tallies:
                    yield messages

    def _end_pursuit(self) -> None:
        """Report the messages that were listed, and could not be read for being gone."""
        tally = self._tally
        ended = tally.pursuit.end(self._tallies.values(), held_still=self._mailbox.held_still())
        tally.listed -= ended.void
        tally.left_out += len(ended.skipped)
        tally.skipped += ended.skipped
        self._losses = ended.losses

    def _unreadable(self) -> list[KnownMessages]:
        """Stored folders that are there but could not be entered, or lie below a directory that could not:
        the mailbox says so."""
        refused = self._refused()
        return [messages for messages in self._unseen() if _is_in(messages.folder.path, refused)]

    def _is_unreadable(self, file: StoredFile) -> bool:
        """Whether a stored file lies in a directory that could not be entered."""
        path = b"../" + file.path if file.home else file.path
        return _is_in(path, self._refused())

    def _refused(self) -> frozenset[str]:
        return frozenset(skip.path for skip in self._mailbox.skipped() if skip.reason in _REFUSED)

    def _is_not_asked_for(self, file: StoredFile) -> bool:
        """Whether a file lies in a stored folder that nobody asked for."""
        above = file.path.rpartition(b"/")[0]
        for path, messages in self._known.folders.items() if self._known is not None else ():
            prefix = path + b"/" if path else b""
            if not file.home and above in (path, prefix + b"cur", prefix + b"new"):
                return self._approach.judge(messages.folder.name) is Verdict.PASSED_OVER
        return False

    # The end

    def _end(self) -> MailboxOutcome:
        known, tally = self._known, self._tally
        vanished = sum(known_tally.vanished for known_tally in self._tallies.values())
        for messages in self._unseen():
            tally.differs = True
            if self._approach.judge(messages.folder.name) is not Verdict.EXCLUDED:
                vanished += messages.count
        skipped = [*self._skipped, *tally.skipped, *self._files.skipped]
        changed = tally.differs or vanished > 0 or known is None or self._is_another(known, skipped)
        to_write = changed or tally.anew or self._files.anew
        if known is not None and not self._late.is_begun and not to_write:
            return self._keep(known, skipped, to_write=not self._is_at_home(known))
        summary = self._write(skipped, tally.added, vanished, changed)
        to_write = to_write or not self._is_at_home(known)
        return MailboxOutcome(
            summary=summary,
            skipped=tuple(skipped),
            read=tally.read,
            to_write=to_write,
            losses=self._losses,
        )

    def _is_another(self, known: KnownVersion, skipped: list[Skipped]) -> bool:
        """Whether something beside the folders differs."""
        return (
            self._mailbox.place != known.mailbox.place
            or _lasting(skipped) != _lasting(known.mailbox.skipped)
            or self._files.differ
        )

    def _is_at_home(self, known: KnownVersion | None) -> bool:
        """Whether the version before is how this group has the mailbox now: it can stand for this one."""
        if known is None or known.elsewhere:
            return False
        return (known.header.partition, known.header.group) == (self._path.partition, self._path.group)

    def _keep(self, known: KnownVersion, skipped: list[Skipped], *, to_write: bool) -> MailboxOutcome:
        fresh = {
            path: mark
            for path, mark in self._marks.items()
            if mark and path in known.folders and mark != known.folders[path].mark
        }
        files_mark = self._files.mark if self._files.mark != known.files_mark else b""
        user = self._path.user or ""
        now = self._whole_mark(skipped)
        mark = now if now != known.mark else b""
        as_stored = known.same_store and not fresh and not files_mark and not mark
        self._archive.keep(
            Unchanged(user=user, marks=None if as_stored else fresh, files_mark=files_mark, mark=mark)
        )
        return self._outcome_as_stored(known, skipped, to_write=to_write)

    def _outcome_as_stored(
        self, known: KnownVersion, skipped: Sequence[Skipped], *, to_write: bool
    ) -> MailboxOutcome:
        entry = known.entry
        summary = MailboxSummary(
            partition=self._path.partition or "",
            group=self._path.group or "",
            user=entry.user,
            folders=entry.folders,
            listed=entry.listed,
            stored=entry.stored,
            skipped=entry.listed - entry.stored,
            size_bytes=entry.size_bytes,
            changed=False,
        )
        return MailboxOutcome(
            summary=summary,
            skipped=tuple(skipped),
            read=self._tally.read,
            to_write=to_write,
            losses=self._losses,
        )

    def _write(self, skipped: list[Skipped], added: int, vanished: int, changed: bool) -> MailboxSummary:
        writer, _ = self._late.begin()
        for file in self._files.stored:
            try:
                writer.add_file(file)
            except MessageUnavailable as error:
                skipped.append(Skipped(f"{self._path}/{printable(file.path)}", error.reason, error.message))
        if self._tally.listed != self._late.messages + self._tally.left_out:
            detail = f"{self._tally.listed} messages listed, {self._late.messages} stored"
            # In front: where there are too many, the last ones are not recorded.
            skipped.insert(0, Skipped(str(self._path), UNACCOUNTED, detail))
        stored = writer.end_mailbox(
            self._path.user or "",
            self._mailbox.place,
            max(self._tally.listed, self._late.messages),
            self._late.size_bytes,
            tuple(skipped),
            files_mark=self._files.mark,
            mark=self._whole_mark(skipped),
            added=added,
            vanished=vanished,
            changed=changed,
        )
        return stored.summary(self._path.partition or "", self._path.group or "")

    def _whole_mark(self, skipped: Sequence[Skipped]) -> bytes:
        """The mark that stands for all of the mailbox: none if anything was skipped, or has no mark."""
        is_whole = self._files.mark and all(self._marks.values()) and not skipped and not self._losses
        return self._mark if is_whole and self._tally.left_out == 0 else b""

    def _skip(self, path: str, reason: str, detail: str = "") -> None:
        self._skipped.append(Skipped(path, reason, detail))


def _is_in(path: bytes, refused: frozenset[str]) -> bool:
    """Whether a path is among those that were refused (as the mailbox prints them), or below one of them."""
    names = path.split(b"/") if path else []
    above = (printable(b"/".join(names[:depth])) for depth in range(1, len(names) + 1))
    return "." in refused or any(one in refused for one in above)


def _lasting(skipped: Iterable[Skipped]) -> list[Skipped]:
    """What a mailbox could not give, whatever was asked for."""
    return sorted((skip for skip in skipped if skip.reason != NOT_ASKED), key=str)
