"""A mail server that mail is delivered to over LMTP: everything comes as new mail, and filters run again."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO

from ....groups.paths import printable
from ....proto.errors import ConfigError, FolderStoppedError, MessageUnavailable, StoreError
from ....proto.ports import FolderWriter, MailboxWriter
from ....proto.records import Folder, MailboxOutcome, Message, ServerAccess, Skipped, StoredFile
from ..address import Address, parse_address
from ..bookkeeping import is_bookkeeping
from ..line_ends import with_crlf
from ..patience import Patience
from .conversation import Conversation, LostError, Reply
from .delivered import Delivered

LOST = "as new mail, without flags, keywords, date and folder"
"""What becomes of messages."""

_PATIENCE = Patience()
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@-]{1,200}")
"""Characters that mean nothing but themselves (RFC 5322, 3.2.3): ``jane(x)@HOST`` is an address of jane."""
_MEMORY_BYTES = 4 << 20
_PIECE_BYTES = 1 << 16


class LmtpTarget:
    """A MailTarget (see ``proto.ports``); ``path`` is the server's address. Raises ConfigError."""

    def __init__(self, path: str, access: ServerAccess, patience: Patience = _PATIENCE) -> None:
        try:
            self._address = parse_address(path)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from error
        if not access.delivered:
            raise ConfigError(
                f"{path}: where it is written down what was delivered is not said (--delivered)"
            )
        self._directory = access.delivered
        self._patience = patience

    @contextmanager
    def open_mailbox(
        self,
        user: str,
        _place: bytes = b"",
        layout: Sequence[Folder] = (),  # noqa: ARG002 (all becomes new mail)
    ) -> Iterator[MailboxWriter]:
        if not _ADDRESS.fullmatch(user):
            shown = printable(user.encode("utf-8", "surrogateescape"))
            raise StoreError(f"user {shown!r} can't stand in an address")
        record = Delivered(self._directory, user)
        sending = _Sending(self._address, user, self._patience, record)
        try:
            yield _Mailbox(sending)
        finally:
            sending.close()
            record.close()

    def finish(self) -> None:
        pass  # each mailbox has a connection of its own

    def abandon(self) -> None:
        pass


class _Sending:
    """The way of a user's messages to the server, which goes on after a connection was lost."""

    def __init__(self, address: Address, user: str, patience: Patience, record: Delivered) -> None:
        self._address = address
        self._user = user
        self._patience = patience
        self._record = record
        self._conversation: Conversation | None = None
        self.stopped: FolderStoppedError | None = None
        """Why the server takes nothing more for this user, if it does not."""

    def send(self, folder: str, message: Message, content: Iterable[bytes]) -> bool:
        """Deliver a message; False if that was done before. Raises MessageUnavailable where it is refused, or
        nobody knows; FolderStoppedError when the user takes no more; StoreError."""
        if self.stopped is not None:
            raise self.stopped
        state = self._record.state(folder, message)
        if state == "done":
            return False
        if state == "sent":
            raise MessageUnavailable(_UNKNOWN, reason="unanswered")
        with tempfile.SpooledTemporaryFile(_MEMORY_BYTES) as spool:
            # All of it, before the server hears of it: what is damaged is not sent at all.
            for piece in with_crlf(content):
                spool.write(piece)
            reply = self._answer(folder, message, spool)
        if reply.ok:
            self._record.note(folder, message, "done")
            return True
        self._record.note(folder, message, "refused")
        if reply.of_user or reply.is_full or reply.is_passing:
            reason = "quota" if reply.is_full else "refused" if not reply.is_passing else "busy"
            self.stopped = FolderStoppedError(reply.words, reason=reason)
            raise self.stopped
        raise MessageUnavailable(reply.words, reason="refused")

    def _answer(self, folder: str, message: Message, spool: IO[bytes]) -> Reply:
        """What the server says in the end, after what may pass has been waited for."""
        size = spool.tell()
        last: Reply | LostError
        for wait in (*self._patience.waits(), None):
            try:
                if self._conversation is None:
                    self._conversation = Conversation(self._address, self._patience)
                spool.seek(0)
                pieces = iter(partial(spool.read, _PIECE_BYTES), b"")
                note = partial(self._record.note, folder, message, "sent")
                last = self._conversation.deliver(self._user, size, pieces, note)
                if not last.is_passing:
                    return last
                # Whatever comes of the next attempt: of this one it is known that nothing was delivered.
                self._record.note(folder, message, "refused")
            except LostError as error:
                self.close()
                if error.unanswered:
                    raise MessageUnavailable(f"{error.message}: {_UNKNOWN}", reason="unanswered") from error
                last = error
            if wait is not None:
                wait(0.0)
        if isinstance(last, Reply):
            return last
        self.stopped = FolderStoppedError(last.message, reason=last.code)
        raise self.stopped from last

    def close(self) -> None:
        """Repeatable."""
        if self._conversation is not None:
            self._conversation.close()
            self._conversation = None


_UNKNOWN = (
    "it was sent and not answered, so it may have been delivered, and is not sent again: look for it in the "
    "mailbox"
)


class _Mailbox:
    """A MailboxWriter (see ``proto.ports``)."""

    def __init__(self, sending: _Sending) -> None:
        self._sending = sending
        self._skipped: list[Skipped] = []

    def new_folder(self, name: str) -> Folder:
        return Folder(name=name, path=name.encode("utf-8", "surrogateescape"))

    def open_folder(self, folder: Folder) -> FolderWriter:
        if (stopped := self._sending.stopped) is not None:
            raise MessageUnavailable(stopped.message, reason=stopped.reason)
        return _Folder(self._sending, folder.name, self._skipped)

    def add_file(self, file: StoredFile, content: Iterable[bytes]) -> bool:  # noqa: ARG002 (only mail)
        if is_bookkeeping(file):
            return False
        raise MessageUnavailable(
            "LMTP has no place for a file that is no message: restore it to a directory (--to maildir:DIR), "
            "and bring it to the server from there",
            reason="not-mail",
        )

    def commit(self) -> None:
        """Nothing is left to do: what was delivered is there."""

    def skipped(self) -> Sequence[Skipped]:
        return self._skipped

    def outcome(self) -> MailboxOutcome:
        return MailboxOutcome()

    def without_modseq(self) -> int:
        return 0  # no folder comes back

    def listed(self) -> Mapping[str, int]:
        return {}  # the server can't be asked


class _Folder:
    """A FolderWriter (see ``proto.ports``)."""

    def __init__(self, sending: _Sending, name: str, skipped: list[Skipped]) -> None:
        self._sending = sending
        self._name = name
        self._skipped = skipped
        self._delivered = 0

    def add(self, message: Message, content: Iterable[bytes]) -> bool:
        try:
            new = self._sending.send(self._name, message, content)
        except FolderStoppedError:
            self.finish()
            raise
        self._delivered += new
        return new

    def finish(self) -> None:
        if self._delivered:
            path = printable(self._name.encode("utf-8", "surrogateescape"))
            told = f"{self._delivered} messages were delivered {LOST}; filters may have put them anywhere"
            self._skipped.append(Skipped(path, "delivered", told))
            self._delivered = 0
