"""The table of contents of a restore: mailboxes from the metadata of archives to the mail store.

    for each mailbox that was chosen
      find    its metadata, in the archive or an earlier one     proto.archive.stored
      for each folder
        read    the messages' pieces, each checked               proto.archive.reader
        write   each message under a temporary name              stores/
      write   the mailbox's other files
      commit  make it durable, then visible                      stores/
      count   what the target lists of it now                    stores/
      tell    that it is done                                    proto.restored

``restore_tasks`` is how engines dispatch it. It needs the archives and nothing else.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from ..groups.paths import LogicalPath, message_path, printable
from ..proto.archive.assembly import Contents
from ..proto.archive.demand import Demand
from ..proto.archive.mailboxes import FolderEntry
from ..proto.archive.stored import StoredMailbox
from ..proto.errors import (
    DamagedError,
    ErasedError,
    FolderStoppedError,
    MessageUnavailable,
    PlaceError,
    StoreError,
    TargetFullError,
    UnreadableError,
    UsageError,
)
from ..proto.ports import Announcer, FolderWriter, MailboxWriter, MailTarget, ProgressSink
from ..proto.records import (
    FOLDERS,
    Folder,
    Message,
    Progress,
    RestoredMailbox,
    RestoreReport,
    RestoreTaskReport,
    Skipped,
    StoredFile,
)
from ..proto.restored import encode
from ..proto.structs import Record, replace
from .archives.opened import OpenArchives
from .arrivals import Arrivals, Slice
from .choice import Choice, Extent, Rescue

_PROGRESS_MESSAGES = 64

_DELETED = "T"


def restore(
    archives: OpenArchives,
    choices: Sequence[Choice],
    target: MailTarget,
    progress: ProgressSink,
    demand: Demand | None = None,
    announcer: Announcer | None = None,
) -> RestoreTaskReport:
    """Restore the chosen parts of the chosen mailboxes, in this order; a mailbox may be chosen several times.
    ``demand`` is what is to be read for that, where it is known.

    What is damaged or can't be written is listed in the report and the rest goes on; so is a mailbox of which
    nothing is written, as it needs what can't be read where it lies now. Each mailbox that is durable is told
    at once. With an ``announcer`` users are told what goes on. Raises TargetFullError if the target has no
    room for more.
    """
    work = _Restore(Contents(archives.data, demand=demand), progress, announcer)
    for choice in choices:
        try:
            stored = StoredMailbox(archives, choice.archive, choice.user)
            layout = [folder.folder for folder in stored.mailbox.folders]
            with target.open_mailbox(choice.to_user, choice.place, layout) as writer:
                work.mailbox(_Source(stored, _whose(choice)), choice, writer)
        except TargetFullError:
            raise  # the others would meet it, too
        except ErasedError as error:
            work.skipped.append(Skipped(str(_whose(choice)), error.code, error.message))
        except DamagedError as error:
            work.lose(str(_whose(choice)), "metadata", error)
        except StoreError as error:
            work.skipped.append(Skipped(str(_whose(choice)), "mailbox", error.message))
        except PlaceError as error:
            work.skipped.append(Skipped(str(_whose(choice)), error.code, error.message))
        work.end_mailbox()
    target.finish()
    return work.report()


def _whose(choice: Choice) -> LogicalPath:
    return LogicalPath(choice.path.partition, choice.path.group, choice.user)


_Wanted = Callable[[Message], Message | None]
"""Gives a message as it is to be restored; None if it is not."""


class _Source(Record):
    """A mailbox as it was stored, and its path."""

    stored: StoredMailbox
    whose: LogicalPath

    def path(self, folder: str) -> str:
        """The path of a folder."""
        return str(replace(self.whose, folder=folder))

    def message_path(self, folder: str, message: Message) -> str:
        whose = self.whose
        named = message.uid or message.base
        return message_path(whose.partition or "", whose.group or "", whose.user or "", folder, named)

    def file_path(self, file: StoredFile) -> str:
        return f"{self.whose}/{printable(file.path)}"


class _Passed(Record):
    """How far a restore has come: messages and their bytes, put into place or found there."""

    messages: int = 0
    size_bytes: int = 0

    def beyond(self, report: RestoreReport) -> _Passed:
        """Farther by a mailbox."""
        return _Passed(
            self.messages + report.restored + report.present,
            self.size_bytes + report.size_bytes + report.present_bytes,
        )


class _Narrowing:
    """Of what a path selects, only what was named (see ``Choice.only``), and is in the portion; all of it
    where nothing was, and there is none."""

    def __init__(self, source: _Source, choice: Choice) -> None:
        self._source = source
        self._only = choice.only
        self._portion = choice.portion
        self._everything = not choice.only or str(source.whose) in choice.only
        self._folders: set[str | None] = set()
        if not self._everything:
            names = [entry.folder.name for entry in source.stored.mailbox.folders]
            for path in choice.only:
                with suppress(UsageError):  # a file, whose path is none of a message or folder
                    self._folders.add(LogicalPath.parse(path).resolve(names).folder)

    def takes_folder(self, folder: FolderEntry) -> bool:
        name = folder.folder.name
        in_portion = self._portion is None or self._portion.has_folder(name)
        return in_portion and (self._everything or name in self._folders)

    def of_folder(self, folder: Folder, selected: _Wanted) -> _Wanted:
        if self._portion is not None:
            selected = _also(self._portion.of_folder(folder), selected)
        if self._everything or self._source.path(folder.name) in self._only:
            return selected
        return _also(lambda message: self._source.message_path(folder.name, message) in self._only, selected)

    def takes_file(self, file: StoredFile, folder: str | None) -> bool:
        if self._portion is not None and not self._portion.files:
            return False
        if self._everything or self._source.file_path(file) in self._only:
            return True
        return folder is not None and self._source.path(folder) in self._only


def _also(holds: Callable[[Message], bool], selected: _Wanted) -> _Wanted:
    return lambda message: selected(message) if holds(message) else None


class _Restore:
    """The counts of a restore while its mailboxes pass by. Those of a mailbox count when it is committed:
    before, nothing of it is durable."""

    def __init__(
        self, contents: Contents, progress: ProgressSink, announcer: Announcer | None = None
    ) -> None:
        self._contents = contents
        self._progress = progress
        self._announcer = announcer
        self._done: list[RestoredMailbox] = []
        self._passed = _Passed()
        self._rest = RestoreReport()
        self._begin_mailbox()

    def _begin_mailbox(self) -> None:
        self._restored = self._present = self._files = self._bytes = self._present_bytes = self._linked = 0
        self._expected: dict[str, int] = {}
        self._ages: list[tuple[int, int]] = []
        self._last_seen_ns = 0
        self.skipped: list[Skipped] = []
        self.damaged: list[Skipped] = []

    def lose(self, path: str, reason: str, error: DamagedError) -> None:
        """Something can't be restored, as it is damaged; or as an archive can't be read, which says nothing
        of what it holds."""
        if isinstance(error, UnreadableError):
            self.skipped.append(Skipped(path, error.code, error.message))
        else:
            self.damaged.append(Skipped(path, reason, error.message))

    def report(self) -> RestoreTaskReport:
        return RestoreTaskReport(mailboxes=tuple(self._done), rest=self._rest)

    def mailbox(self, source: _Source, choice: Choice, writer: MailboxWriter) -> None:
        if choice.rescues:
            self._rescue(source, choice.rescues, writer)
        elif choice.into:
            self._put_below(source, choice, writer)
        else:
            self._put_back(source, choice, writer)
        writer.commit()
        outcome = writer.outcome()
        self._restored -= outcome.refused
        self._bytes -= outcome.refused_bytes
        self.skipped.extend(
            Skipped(f"{source.whose}/{skip.path}", skip.reason, skip.detail) for skip in writer.skipped()
        )
        folders = self._counted(source, self._listed(source, writer), outcome.refused)
        # Before it is told that the mailbox is done: whoever goes on looks at it no more.
        self._announce(choice, [folder.folder for folder in source.stored.mailbox.folders])
        report = RestoreReport(
            restored=self._restored,
            present=self._present,
            files=self._files,
            size_bytes=self._bytes,
            present_bytes=self._present_bytes,
            without_modseq=writer.without_modseq(),
            linked=self._linked,
            skipped=tuple(self.skipped),
            damaged=tuple(self.damaged),
            uids=tuple((str(source.whose), uid) for uid in outcome.uids),
        )
        archive, path, reach = choice.key
        done = RestoredMailbox(
            archive=archive,
            path=path,
            report=report,
            folders=folders,
            reach=reach,
            ages=tuple(self._ages),
            last_seen_ns=self._last_seen_ns,
        )
        self._done.append(done)
        self._passed = self._passed.beyond(report)
        self._begin_mailbox()
        self._tell(source, encode(done))

    def end_mailbox(self) -> None:
        """What was told of a mailbox that is not committed is kept; what was written of it does not count."""
        self._rest += RestoreReport(skipped=tuple(self.skipped), damaged=tuple(self.damaged))
        self._begin_mailbox()

    def _announce(self, choice: Choice, layout: Sequence[Folder]) -> None:
        """With the folders there is something to be told, with the last of the mail nothing any more."""
        if self._announcer is None or not choice.announcement:
            return
        try:
            if choice.reach == FOLDERS:
                self._announcer.announce(choice.to_user, choice.place, layout, choice.announcement)
            elif not choice.reach:
                self._announcer.end_announcement(choice.to_user, choice.place, layout)
        except StoreError as error:
            self.skipped.append(Skipped(str(_whose(choice)), "announcement", error.message))

    def _listed(self, source: _Source, writer: MailboxWriter) -> Mapping[str, int]:
        """What the target lists of what was committed; where it can't that is told."""
        try:
            return writer.listed()
        except StoreError as error:
            self.skipped.append(
                Skipped(str(source.whose), "count", f"what was restored can't be listed: {error.message}")
            )
            return {}

    def _counted(
        self, source: _Source, listed: Mapping[str, int], refused: int
    ) -> dict[str, tuple[int, int]]:
        """What was to be in each folder and what the target lists; where messages are missing that is told,
        but for those that were ``refused`` in one of the folders. There may be more: mail comes meanwhile."""
        counted = {name: (many, listed[name]) for name, many in self._expected.items() if name in listed}
        for name, (expected, there) in counted.items():
            if there < expected - refused:
                detail = f"{expected} messages were to be there, and the target lists {there}"
                self.skipped.append(Skipped(source.path(name), "count", detail))
        return counted

    def _put_back(self, source: _Source, choice: Choice, writer: MailboxWriter) -> None:
        mailbox = source.stored.mailbox
        path = choice.path.resolve([entry.folder.name for entry in mailbox.folders])

        def selected(message: Message) -> Message | None:
            chosen = path.selects_message(message.uid, message.base, message.suffix, message.place)
            return message if chosen else None

        every = path.uid is None and path.name is None
        chosen = [entry for entry in mailbox.folders if path.selects_folder(entry.folder.name)]
        narrowing = _Narrowing(source, choice)
        for folder in filter(narrowing.takes_folder, chosen):
            wanted = narrowing.of_folder(folder.folder, _as_it_is if every else selected)
            if choice.slice is not None:
                arrivals = Arrivals(source.stored, folder)
                if arrivals.has(choice.slice):
                    messages = arrivals.messages(choice.slice)
                    self._folder(source, folder.folder, folder.folder, messages, wanted, writer)
            elif choice.extent is Extent.FRAME:
                self._frame(source, folder.folder, writer)
                if choice.ages:
                    self._add_ages(Arrivals(source.stored, folder), choice.ages)
            else:
                messages = source.stored.messages(folder, path.uid)
                self._folder(source, folder.folder, folder.folder, messages, wanted, writer)
        if choice.slice is not None:
            return  # the other files came with the folders
        directories = {one.folder.path: one.folder.name for one in chosen}
        for file in mailbox.files:
            # A folder takes the files in its own directory along: its keywords, its access list.
            folder_name = None if file.home else directories.get(posixpath.dirname(file.path))
            if (path.folder is None or folder_name) and narrowing.takes_file(file, folder_name):
                self._file(file, source, writer)

    def _put_below(self, source: _Source, choice: Choice, writer: MailboxWriter) -> None:
        """Put back nothing but mail, as new messages in folders below another one."""
        folders = source.stored.mailbox.folders
        narrowing = _Narrowing(source, choice)
        path = choice.path.resolve([entry.folder.name for entry in folders])

        def selected(message: Message) -> Message | None:
            chosen = path.selects_message(message.uid, message.base, message.suffix, message.place)
            return _renumbered(message) if chosen else None

        for folder in folders:
            if path.selects_folder(folder.folder.name) and narrowing.takes_folder(folder):
                below = _added(f"{choice.into}/{folder.folder.name}", folder.folder, writer)
                wanted = narrowing.of_folder(folder.folder, selected)
                messages = source.stored.messages(folder, path.uid)
                self._folder(source, folder.folder, below, messages, wanted, writer)

    def _frame(self, source: _Source, folder: Folder, writer: MailboxWriter) -> None:
        """A folder without its messages."""
        try:
            writer.open_folder(folder).finish()
        except MessageUnavailable as error:
            self.skipped.append(Skipped(source.path(folder.name), error.reason, error.message))

    def _add_ages(self, arrivals: Arrivals, slices: Sequence[Slice]) -> None:
        """How much of a folder comes in each slice, to that of the others."""
        known = self._ages or [(0, 0)] * len(slices)
        amounts = map(arrivals.amount, slices)
        self._ages = [(a + more, b + bytes_) for (a, b), (more, bytes_) in zip(known, amounts, strict=True)]
        self._last_seen_ns = max(self._last_seen_ns, arrivals.last_seen_ns)

    def _rescue(self, source: _Source, rescues: Sequence[Rescue], writer: MailboxWriter) -> None:
        mailbox = source.stored.mailbox
        folders = {entry.folder.name: entry for entry in mailbox.folders}
        for rescue in rescues:

            def rescued(
                message: Message, wanted: frozenset[tuple[bytes, bytes]] = rescue.messages
            ) -> Message | None:
                return _undeleted(message) if (message.base, message.digest) in wanted else None

            folder = folders.get(rescue.folder)
            if folder is None:
                self.damaged.append(Skipped(source.path(rescue.folder), "metadata", "the folder is gone"))
                continue
            into = _added(rescue.into, folder.folder, writer)
            self._folder(source, folder.folder, into, source.stored.messages(folder), rescued, writer)

    def _folder(
        self,
        source: _Source,
        folder: Folder,
        into: Folder,
        messages: Iterable[Message],
        wanted: _Wanted,
        writer: MailboxWriter,
    ) -> None:
        """Write those of these messages of a folder that are wanted, as ``wanted`` gives them."""
        name = folder.name
        try:
            target = writer.open_folder(into)
        except MessageUnavailable as error:
            self.skipped.append(Skipped(source.path(name), error.reason, error.message))
            return
        before = self._restored + self._present
        try:
            try:
                for stored in messages:
                    message = wanted(stored)
                    if message is not None:
                        self._message(message, source, name, stored, target)
            except DamagedError as error:
                self.lose(source.path(name), "metadata", error)
            target.finish()
        except FolderStoppedError as error:
            self.skipped.append(Skipped(source.path(name), error.reason, error.message))
        put = self._restored + self._present - before
        self._expected[into.name] = self._expected.get(into.name, 0) + put

    def _message(
        self, message: Message, source: _Source, folder: str, stored: Message, target: FolderWriter
    ) -> None:
        """Write a message of a folder, as which it was ``stored`` there."""
        try:
            if target.add(message, self._contents.message(message)):
                self._restored += 1
                self._bytes += message.size
            else:
                self._present += 1
                self._present_bytes += message.size
            self._linked += message.link > 0
        except DamagedError as error:
            self.lose(source.message_path(folder, stored), _reason(error), error)
        except MessageUnavailable as error:
            shown = source.message_path(folder, stored)
            self.skipped.append(Skipped(shown, error.reason, error.message))
        if not (self._restored + self._present) % _PROGRESS_MESSAGES:
            self._tell(source)

    def _file(self, file: StoredFile, source: _Source, writer: MailboxWriter) -> None:
        try:
            if writer.add_file(file, () if file.target is not None else self._contents.message(file)):
                self._files += 1
        except DamagedError as error:
            self.lose(source.file_path(file), _reason(error), error)
        except MessageUnavailable as error:
            self.skipped.append(Skipped(source.file_path(file), error.reason, error.message))

    def _tell(self, source: _Source, *done: str) -> None:
        whose = source.whose
        messages = self._passed.messages + self._restored + self._present
        size_bytes = self._passed.size_bytes + self._bytes + self._present_bytes
        label = f"{whose.partition}/{whose.group}"
        self._progress(Progress(label, messages, size_bytes, whose.user or "", done=done))


def _added(name: str, source: Folder, writer: MailboxWriter) -> Folder:
    """A folder of another name for the messages of one. The letters of their keywords mean what they mean in
    the folder that they come from."""
    return replace(writer.new_folder(name), keywords=source.keywords)


def _as_it_is(message: Message) -> Message:
    return message


def _renumbered(message: Message) -> Message:
    """The message as a new one."""
    return replace(message, uid=0, fields=b"")


def _undeleted(message: Message) -> Message:
    """The message as a new one, which nobody has marked as deleted."""
    begin, comma, letters = message.suffix.rpartition(b",")
    return replace(
        _renumbered(message),
        flags=message.flags.replace(_DELETED, ""),
        suffix=begin + comma + letters.replace(_DELETED.encode(), b"") if comma else message.suffix,
    )


def _reason(error: DamagedError) -> str:
    return str(error.facts.get("reason", "damaged"))
