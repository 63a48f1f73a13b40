"""The table of contents of an exact restore: each mailbox becomes as it was, and nothing of it is lost.

    for each mailbox that was chosen
      state      what is there gets its flags and its folder back                 state
      restore    what is not there comes back                                     worker.restore
      set aside  what is there beyond that, into a folder of its own              stores/
      remove     folders that were not there then, once they are empty            stores/
      tell       that it is done                                                  proto.restored

Of folders in which an earlier one has set messages aside nothing is taken away. Where all is as it was,
nothing is changed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from ...groups.paths import LogicalPath, message_path
from ...proto.archive.mailboxes import FolderEntry
from ...proto.archive.stored import StoredMailbox
from ...proto.errors import DamagedError, MessageUnavailable, PlaceError, StoreError
from ...proto.ports import FolderReader, MailRemover, MailTarget, ProgressSink, StateKeeper
from ...proto.records import (
    Folder,
    Listed,
    Message,
    Progress,
    RestoredMailbox,
    RestoreReport,
    RestoreTaskReport,
    Skipped,
)
from ...proto.restored import encode
from ...proto.state import Flags, WantedState
from ...proto.structs import Record, replace
from ..archives.opened import OpenArchives
from ..choice import Choice, Exactly, StateRules
from ..restore import restore
from .content import digest_now
from .state import Live, restore_state

_SET_ASIDE = re.compile(r"Set aside \d{4}-\d{2}-\d{2}(?:/.*)?", re.DOTALL)
_ABSENT = "absent"


def is_set_aside(folder: str) -> bool:
    """Whether messages are set aside in a folder of this name (see ``folder_for``)."""
    return _SET_ASIDE.fullmatch(folder) is not None


class InUse(Record, kw_only=True):
    """A partition in use: as it is read and cleared, as its state is set, and as it is written."""

    store: MailRemover
    keeper: StateKeeper
    target: MailTarget


def restore_exactly(
    archives: OpenArchives, choices: Sequence[Choice], live: InUse, progress: ProgressSink
) -> RestoreTaskReport:
    """Let the mailboxes be as they were, in this order. What can't be read or written is listed, and the rest
    goes on. Each mailbox that is done is told at once. With ``dry_run`` of a choice nothing is changed, and
    the report tells what would be. Raises TargetFullError."""
    done: list[RestoredMailbox] = []
    rest = RestoreReport()
    messages = size_bytes = 0
    for choice in choices:

        def on_each(told: Progress, messages: int = messages, size_bytes: int = size_bytes) -> None:
            # Of a mailbox nothing is told as done before what is beyond it was set aside.
            progress(
                told._replace(
                    messages=messages + told.messages, size_bytes=size_bytes + told.size_bytes, done=()
                )
            )

        work = _Mailbox(archives, choice, live)
        mailbox = work.restore(on_each)
        rest += work.rest
        if mailbox is None:
            continue
        done.append(mailbox)
        messages += mailbox.report.restored + mailbox.report.present
        size_bytes += mailbox.report.size_bytes + mailbox.report.present_bytes
        label = f"{choice.path.partition}/{choice.path.group}"
        lines = () if work.dry_run else (encode(mailbox),)
        progress(Progress(label, messages, size_bytes, choice.user, done=lines))
    return RestoreTaskReport(mailboxes=tuple(done), rest=rest)


class _Mailbox:
    """One mailbox that becomes as it was. ``rest`` is what is to be told if it did not."""

    def __init__(self, archives: OpenArchives, choice: Choice, live: InUse) -> None:
        exactly = choice.exactly or Exactly(aside="")
        self.rest = RestoreReport()
        self.dry_run = exactly.dry_run
        self._archives = archives
        self._choice = choice
        self._live = live
        self._aside = exactly.aside
        self._whose = LogicalPath(choice.path.partition, choice.path.group, choice.user)
        self._skipped: list[Skipped] = []
        self._lacking = 0

    def restore(self, progress: ProgressSink) -> RestoredMailbox | None:
        """Raises TargetFullError."""
        state = self._restored_state()
        archive, path, _ = self._choice.key
        mailbox = RestoredMailbox(archive=archive, path=path, report=RestoreReport())
        if not self.dry_run:
            plain = replace(self._choice, exactly=None)
            done = restore(self._archives, [plain], self._live.target, progress)
            self.rest += done.rest
            if not done.mailboxes:
                return None
            mailbox = done.mailboxes[0]
        only = self._choice.only
        try:
            # Who tries again what failed wants nothing done to what did not, nor to what came since.
            aside = self._set_aside() if not only or str(self._whose) in only else 0
        except (DamagedError, PlaceError) as error:
            self._skipped.append(Skipped(str(self._whose), error.code, error.message))
            aside = 0
        except StoreError as error:
            self._skipped.append(Skipped(str(self._whose), "mailbox", error.message))
            aside = 0
        report = mailbox.report + RestoreReport(
            flagged=state.flagged,
            moved=state.moved,
            aside=aside,
            skipped=(*(each for each in state.skipped if each.reason != _ABSENT), *self._skipped),
            damaged=state.damaged,
        )
        if self.dry_run:
            # What would be moved is one too many where it is, and lacks where it belongs.
            report = replace(
                report,
                aside=report.aside - state.moved,
                restored=self._lacking - state.moved,
                present=state.present,
            )
        return replace(mailbox, report=report)

    def _restored_state(self) -> RestoreReport:
        if not self._stands():
            return RestoreReport()
        choice = replace(self._choice, exactly=None, state=StateRules(exact=True, dry_run=self.dry_run))
        live = Live(store=self._live.store, keeper=self._live.keeper, target=self._live.target)
        return restore_state(self._archives, [choice], live, lambda _told: None).total()

    def _stands(self) -> bool:
        try:
            return self._live.store.stands(self._choice.to_user)
        except StoreError:  # the restore tells of it
            return False

    def _set_aside(self) -> int:
        """Set aside what is there beyond what was; returns how many messages. Raises DamagedError,
        PlaceError, StoreError."""
        stored = StoredMailbox(self._archives, self._choice.archive, self._choice.user)
        folders = stored.mailbox.folders
        path = self._choice.path.resolve([entry.folder.name for entry in folders])
        chosen = {
            folder_entry.folder.name: folder_entry
            for folder_entry in folders
            if path.selects_folder(folder_entry.folder.name)
        }
        if not self._stands():
            self._lacking = sum(one.messages for one in chosen.values())
            return 0
        known = {one.folder.name for one in folders}
        extra: list[tuple[Folder, list[Listed]]] = []
        added: list[Folder] = []
        met: set[str] = set()
        with self._live.store.open_mailbox(self._choice.to_user) as reader:
            for folder in reader.folders():
                name = folder.folder.name
                if name in met:
                    continue  # what came while this was read comes since, and stays
                met.add(name)
                stays = is_set_aside(name)
                if name in chosen:
                    beyond = self._beyond(stored, chosen[name], folder)
                    extra.append((folder.folder, [] if stays else beyond))
                elif path.folder is None and name not in known and not stays:
                    extra.append((folder.folder, list(folder.messages())))
                    added.append(folder.folder)
            place = reader.place
        self._lacking += sum(one.messages for name, one in chosen.items() if name not in met)
        if self.dry_run:
            return sum(len(messages) for _, messages in extra)
        layout = [one.folder for one in folders]
        moved = self._move([(one, messages) for one, messages in extra if messages], place, layout)
        self._remove(added)
        return moved

    def _beyond(self, stored: StoredMailbox, entry: FolderEntry, folder: FolderReader) -> list[Listed]:
        """The messages of a folder that stand for none that it had: by name, else by content. Raises
        DamagedError."""
        there: dict[bytes, list[Listed]] = defaultdict(list)
        for listed in folder.messages():
            there[listed.base].append(listed)
        lacking: dict[int, list[Message]] = defaultdict(list)
        for message in stored.messages(entry):
            if named := there.get(message.base):
                named.pop()
            else:
                lacking[message.size].append(message)
        extra = [
            one for named in there.values() for one in named if not _stands_for_any(folder, one, lacking)
        ]
        self._lacking += sum(map(len, lacking.values()))
        return extra

    def _move(
        self, extra: Sequence[tuple[Folder, list[Listed]]], place: bytes, layout: Sequence[Folder]
    ) -> int:
        if not extra:
            return 0
        into: dict[str, Folder] = {}
        with self._live.target.open_mailbox(self._choice.to_user, place, layout) as writer:
            # Not every client shows folders below one that is none.
            writer.open_folder(writer.new_folder(self._aside)).finish()
            for folder, _ in extra:
                try:
                    into[folder.name] = writer.new_folder(f"{self._aside}/{folder.name}")
                    writer.open_folder(into[folder.name]).finish()
                except MessageUnavailable as error:
                    into.pop(folder.name, None)
                    self._tell(folder, error.reason, error.message)
            writer.commit()
        moved = 0
        with self._live.keeper.open_state(self._choice.to_user) as state:
            for folder, messages in extra:
                if folder.name not in into:
                    continue
                wanted = [WantedState(listed=message, decide=_as_it_is) for message in messages]
                answers = state.put(folder.path, into[folder.name].path, wanted)
                moved += sum(not why for why in answers)
                for listed, why in zip(messages, answers, strict=True):
                    if why and why != "vanished":
                        self._skipped.append(Skipped(self._shown(folder, listed), why, "it is not set aside"))
            self._skipped += (
                Skipped(f"{self._whose}/{skip.path}", skip.reason, skip.detail) for skip in state.skipped()
            )
        return moved

    def _remove(self, added: Sequence[Folder]) -> None:
        """Remove the folders that were not there, those below first; who has anything else in it stays."""
        if not added:
            return
        with self._live.store.open_removing(self._choice.to_user) as mailbox:
            for folder in sorted(added, key=lambda one: one.path, reverse=True):
                if not mailbox.remove_folder(folder.path):
                    self._tell(folder, "left", "the folder was not there then, and stays: something is in it")

    def _tell(self, folder: Folder, reason: str, detail: str) -> None:
        self._skipped.append(Skipped(str(replace(self._whose, folder=folder.name)), reason, detail))

    def _shown(self, folder: Folder, listed: Listed) -> str:
        whose = self._whose
        named = listed.uid or listed.base
        return message_path(whose.partition or "", whose.group or "", whose.user or "", folder.name, named)


def _as_it_is(now: Flags) -> Flags:
    return now


def _stands_for_any(folder: FolderReader, listed: Listed, lacking: dict[int, list[Message]]) -> bool:
    """Whether a message is one of those that seem to be lacking, which is then taken out of them; also if
    nobody can say, as it goes or gets another name at this moment."""
    try:
        same = lacking.get(folder.stat(listed).size)
        if not same:
            return False
        digest = digest_now(folder, listed)
    except MessageUnavailable:
        return True
    for at, message in enumerate(same):
        if message.digest == digest:
            del same[at]
            return True
    return False
