"""The table of contents of taking a restore back: what it added and nobody touched since goes.

    for each mailbox that it changed
      before    how it was, in the archive that was kept then             before
      restored  what was put there, in the archives of the backup         proto.archive.stored
      now       what is there, folder by folder                           stores/
      put back  flags and places that it has changed, where they are still so    live.putting_back
      remove    messages that are now, were not before, and are called as a restore calls them
      remove    the folders that it made, its other files, the mailbox: unless anything else is in them
      tell      that it is done                                           proto.restored

What users did since stays: a message that has other flags, lies in another folder, or came since. A message
that is removed is in the backup from which it was restored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from blake3 import blake3

from ..groups.paths import LogicalPath, message_path, printable
from ..groups.renames import NOBODY, Renamed
from ..proto.archive.assembly import Contents
from ..proto.archive.mailboxes import FolderEntry
from ..proto.archive.stored import StoredMailbox
from ..proto.errors import DamagedError, MessageUnavailable, PlaceError, StoreError
from ..proto.ports import FolderReader, MailboxRemover, ProgressSink
from ..proto.records import (
    ArchiveId,
    Folder,
    Listed,
    Message,
    Progress,
    RestoredMailbox,
    RestoreReport,
    RestoreTaskReport,
    Skipped,
    StoredFile,
)
from ..proto.restored import encode
from ..proto.structs import Mutable, Record, field, replace
from .archives.opened import OpenArchives
from .before import not_kept
from .choice import Choice, Extent
from .live.exact import InUse
from .live.putting_back import TOUCHED, PuttingBack, as_it_is
from .stores.renamed_users import names_users, with_new_names
from .stores.restored_names import RestoredNames


class Undone(Record, kw_only=True):
    """What was restored of a mailbox, and the archive that tells how it was ``before``; None: there was
    none."""

    choice: Choice
    before: ArchiveId | None


def undo(
    archives: OpenArchives,
    undone: Sequence[Undone],
    live: InUse,
    progress: ProgressSink,
    *,
    dry_run: bool = False,
    renamed: Renamed = NOBODY,
) -> RestoreTaskReport:
    """Take back what was restored of these mailboxes, the last first; in a ``dry_run`` only find out what
    would go. ``renamed`` are the users who were called differently then. Repeatable. What can't be looked at,
    or stays, is listed in the report."""
    done: list[RestoredMailbox] = []
    rest = RestoreReport()
    removed = 0
    for one in reversed(undone):
        choice = one.choice
        whose = LogicalPath(choice.path.partition, choice.path.group, choice.user)
        try:
            work = _Undo(archives, one, whose, live, renamed, dry_run=dry_run)
            work.run()
        except (DamagedError, PlaceError) as error:
            rest += RestoreReport(skipped=(Skipped(str(whose), error.code, error.message),))
            continue
        except StoreError as error:
            rest += RestoreReport(skipped=(Skipped(str(whose), "mailbox", error.message),))
            continue
        archive, path, _ = choice.key
        told = RestoredMailbox(archive=archive, path=path, report=work.report())
        done.append(told)
        removed += told.report.removed
        progress(Progress(f"{whose.partition}/{whose.group}", removed, 0, choice.user, done=(encode(told),)))
    return RestoreTaskReport(mailboxes=tuple(done), rest=rest)


class _Had(Mutable):
    """What a mailbox held before: lasting names by folder, which files they were, and other files."""

    folders: dict[str, set[bytes]] = field(default_factory=dict)
    inodes: set[int] = field(default_factory=set)
    others: set[tuple[bool, bytes]] = field(default_factory=set)

    def holds(self, folder: str, listed: Listed) -> bool:
        """Whether a message of this name was in this folder."""
        return listed.base in self.folders.get(folder, ())

    def has_moved(self, listed: Listed, message: Message, *, sure: bool) -> bool:
        """Whether the file was in another folder. Of one with several names nobody can say: then it is taken
        for one that was not, unless that has to be ``sure``."""
        return listed.inode in self.inodes and not (sure and message.link)


class _Undo:
    """One mailbox that is taken back."""

    def __init__(
        self,
        archives: OpenArchives,
        undone: Undone,
        whose: LogicalPath,
        live: InUse,
        renamed: Renamed,
        *,
        dry_run: bool,
    ) -> None:
        """Raises DamagedError, PlaceError."""
        choice = undone.choice
        self._choice = choice
        self._whose = whose
        self._archives = archives
        self._live = live
        self._store = live.store
        self._renamed = renamed
        self._dry_run = dry_run
        self._restored = StoredMailbox(archives, choice.archive, choice.user)
        self._before = StoredMailbox(archives, undone.before, choice.to_user) if undone.before else None
        self._removed = self._files = self._flagged = self._moved = 0
        self._skipped: list[Skipped] = []

    def report(self) -> RestoreReport:
        """What became of it."""
        return RestoreReport(
            removed=self._removed,
            files=self._files,
            flagged=self._flagged,
            moved=self._moved,
            skipped=tuple(self._skipped),
        )

    def run(self) -> None:
        """Raises DamagedError, PlaceError, StoreError."""
        choice = self._choice
        if not self._store.stands(choice.to_user):
            return
        if self._before is not None and self._before.entry.listed != self._before.entry.stored:
            self._skipped.append(not_kept(str(self._whose), "some of its messages could not be read"))
            return
        had = self._had()
        chosen = dict(self._chosen())
        added: list[tuple[bytes, list[Listed]]] = []
        made: list[bytes] = []
        with self._store.open_mailbox(choice.to_user, wanted=chosen.__contains__) as reader:
            for folder in reader.folders():
                name = folder.folder.name
                restored = RestoredNames(self._put_into(chosen[name]))
                added.append((folder.folder.path, list(self._added(folder, restored, had))))
                if name not in had.folders:
                    made.append(folder.folder.path)
        files = [
            chosen_file
            for chosen_file in self._chosen_files(chosen)
            if (chosen_file.home, chosen_file.path) not in had.others
        ]
        made += self._put_back(had)
        if self._dry_run:
            self._removed = sum(len(messages) for _, messages in added)
            return
        with self._store.open_removing(choice.to_user) as mailbox:
            for path, messages in added:
                self._remove(mailbox, path, messages)
            for file in files:
                self._remove_file(mailbox, file)
            for path in sorted(dict.fromkeys(made), reverse=True):
                mailbox.remove_folder(path)
            if self._before is None:
                mailbox.remove_mailbox()

    def _put_back(self, had: _Had) -> list[bytes]:
        """Put back what was changed of messages that were there; returns the folders that were made for
        others."""
        choice = self._choice
        if self._before is None or not (choice.state or choice.exactly):
            return []
        back = PuttingBack(self._archives, choice, self._whose, self._before, self._restored, self._live)
        with self._store.open_mailbox(choice.to_user) as reader:
            now = as_it_is(reader)
        back.run(now, dry_run=self._dry_run)
        self._flagged, self._moved, self._files = back.flagged, back.moved, back.files
        self._skipped += back.skipped
        return [
            folder.path
            for name, folder in now.folders.items()
            if back.is_aside(name) and name not in had.folders
        ]

    def _had(self) -> _Had:
        had = _Had()
        if self._before is None:
            return had
        for folder in self._before.mailbox.folders:
            bases = had.folders.setdefault(folder.folder.name, set())
            for message in self._before.messages(folder):
                bases.add(message.base)
                if message.inode:
                    had.inodes.add(message.inode)
        had.others = {(file.home, file.path) for file in self._before.mailbox.files}
        return had

    def _chosen(self) -> Iterator[tuple[str, FolderEntry]]:
        """The folders that were restored, by the name that they got."""
        choice, folders = self._choice, self._restored.mailbox.folders
        path = choice.path.resolve([entry.folder.name for entry in folders])
        for folder in folders:
            if path.selects_folder(folder.folder.name):
                yield f"{choice.into}/{folder.folder.name}" if choice.into else folder.folder.name, folder

    def _put_into(self, folder: FolderEntry) -> Iterator[Message]:
        """The messages of a folder that were to be restored."""
        choice = self._choice
        if choice.state is not None or choice.extent is not Extent.ALL:
            return
        path = choice.path.resolve([entry.folder.name for entry in self._restored.mailbox.folders])
        for message in self._restored.messages(folder, path.uid):
            if path.selects_message(message.uid, message.base, message.suffix, message.place):
                yield message

    def _chosen_files(self, chosen: Mapping[str, FolderEntry]) -> Iterator[StoredFile]:
        if self._choice.into or self._choice.state:
            return
        whole = self._choice.path.folder is None
        places = {entry.folder.path for entry in chosen.values()}
        for file in self._restored.mailbox.files:
            if whole or (not file.home and file.path.rpartition(b"/")[0] in places):
                yield file

    def _added(self, folder: FolderReader, restored: RestoredNames, had: _Had) -> Iterator[Listed]:
        """The messages of a folder that the restore has added, but for those that have been used since."""
        for listed in folder.messages():
            if had.holds(folder.folder.name, listed):
                continue
            try:
                message = restored.find(listed.base, folder.stat(listed).size)
            except MessageUnavailable:  # it goes, or gets another name, at this moment
                continue
            if message is None or had.has_moved(listed, message, sure=self._choice.exactly is None):
                continue
            if _is_untouched(message, listed, folder.folder):
                yield listed
            else:
                self._left(folder.folder.name, listed)

    def _remove(self, mailbox: MailboxRemover, path: bytes, messages: Sequence[Listed]) -> None:
        gone = mailbox.remove_messages(path, messages) if messages else ()
        self._removed += len(gone)
        names = {listed.base for listed in gone}
        for message in messages:
            if message.base not in names:
                self._left(printable(path) or "INBOX", message)

    def _remove_file(self, mailbox: MailboxRemover, file: StoredFile) -> None:
        removed = mailbox.remove_file(self._as_restored(file))
        if removed:
            self._files += 1
        elif removed is not None:
            path = f"{self._whose}/{printable(file.path)}"
            self._skipped.append(Skipped(path, TOUCHED, "it stays: it does not hold what was restored"))

    def _as_restored(self, file: StoredFile) -> StoredFile:
        """The file as it was written, if users were called differently in it."""
        if not any(self._renamed) or not names_users(file):
            return file
        content = b"".join(Contents(self._archives.data).message(file))
        layout = [folder.folder for folder in self._restored.mailbox.folders]
        written = with_new_names(file, content, self._renamed, layout)
        return replace(file, size=len(written), digest=blake3(written).digest(length=len(file.digest)))

    def _left(self, folder: str, listed: Listed) -> None:
        whose = self._whose
        named = listed.uid or listed.base
        path = message_path(whose.partition or "", whose.group or "", whose.user or "", folder, named)
        self._skipped.append(Skipped(path, TOUCHED, "it stays: it has other flags than it was restored with"))


def _is_untouched(message: Message, listed: Listed, folder: Folder) -> bool:
    """Whether a message has the flags that it was restored with; and its keywords, as far as the folder has
    letters for them."""
    lettered = {keyword.lower() for keyword in folder.keywords}
    wanted = {one.lower() for one in message.keywords}
    has = {one.lower() for one in listed.keywords}
    return message.flags == listed.flags and wanted & lettered <= has <= wanted
