"""One folder on the server, being filled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from imapclient import IMAPClient

from ....groups.paths import printable
from ....proto.errors import FolderStoppedError, MessageUnavailable
from ....proto.records import Folder, MailboxOutcome, Message, Skipped, UidMap
from .answers import sequence
from .delivery import Arrived, Delivery, UserStoppedError
from .errors import ConnectionLostError, RefusedError
from .fetching import uids_from
from .outgoing import Outgoing, Sent, outgoing, sent
from .present import Present
from .read_back import ReadBack
from .session import Session

_READ_BACK_MESSAGES = 1000

Notice = Callable[[Skipped], None]


class ImapFolder:
    """A FolderWriter (see ``proto.ports``). ``name`` is what the folder is called on the server; ``limit``
    how large a message may be there, 0 if it does not say; ``everything`` whether the bytes of all messages
    are read back."""

    def __init__(
        self, session: Session, folder: Folder, name: str, limit: int, notice: Notice, *, everything: bool
    ) -> None:
        self._session = session
        self._folder = folder
        self._name = name
        self._limit = limit
        self._notice = notice
        opened = session.examine(name)
        self._uidvalidity = _number(opened, b"UIDVALIDITY")
        self._new_from = _number(opened, b"UIDNEXT") or 1
        there = session.ask_in(name, partial(uids_from, first=1)) if _number(opened, b"EXISTS") else []
        self._new_from = max([self._new_from, *(uid + 1 for uid in there[-1:])])
        self._present = Present(session, name, there)
        self._delivery = Delivery(session, name, self._new_from, self._arrived, self._refused, self._without)
        self._read_back = ReadBack(session, name, self._altered, everything=everything)
        self._unread: list[Sent] = []
        self._uids: list[tuple[int, int]] = []
        self._handed_over = self._handed_over_bytes = 0
        self._taken = self._taken_bytes = 0
        self._keywords: dict[str, tuple[int, str]] = {}

    def add(self, message: Message, content: Iterable[bytes]) -> bool:
        one = outgoing(message, content)
        with self._stopping():
            uid = self._present.take(one)
        if uid is not None:
            self._number(message.uid, uid)
            one.close()
            return False
        if self._limit and one.size > self._limit:
            one.close()
            raise MessageUnavailable(
                f"{one.size} bytes: the server takes {self._limit} at most", reason="too-large"
            )
        if one.unsaid:
            self._without(one.unsaid, "IMAP can't say it")
        self._handed_over += 1
        self._handed_over_bytes += message.size
        with self._stopping():
            self._delivery.add(one)
        if len(self._unread) >= _READ_BACK_MESSAGES:
            self._look_back()
        return True

    def finish(self) -> None:
        try:
            if self._session.stopped is None:
                with self._stopping():
                    self._delivery.flush()
        finally:
            self._look_back()
            for word, (count, words) in self._keywords.items():
                self._tell(None, "keyword", f"{count} of its messages came back without {word}: {words}")
            self._keywords.clear()

    @property
    def name(self) -> str:
        """What the folder was called."""
        return self._folder.name

    def listed(self) -> int:
        """How many messages the server says that the folder has."""
        return _number(self._session.examine(self._name), b"EXISTS")

    def close(self) -> None:
        """Drop what was not sent. Repeatable."""
        self._delivery.close()

    def outcome(self) -> MailboxOutcome:
        """See ``MailboxWriter``; of this folder."""
        return MailboxOutcome(
            refused=self._handed_over - self._taken,
            refused_bytes=self._handed_over_bytes - self._taken_bytes,
            uids=(self._uid_map(),) if self._uids else (),
        )

    def _uid_map(self) -> UidMap:
        return UidMap(
            folder=self._folder.name,
            uidvalidity=self._folder.uidvalidity,
            uids=sequence([old for old, _ in self._uids]),
            new_folder=self._name,
            new_uidvalidity=self._uidvalidity,
            new_uids=sequence([new for _, new in self._uids]),
        )

    def _number(self, old: int, new: int) -> None:
        if old and new:
            self._uids.append((old, new))

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """What ends here for the user ends for all other folders."""
        try:
            yield
        except ConnectionLostError as error:
            self._session.stopped = UserStoppedError(error.message, reason=error.code)
            raise self._session.stopped from error
        except UserStoppedError as error:
            self._session.stopped = error
            raise

    # What becomes of messages

    def _arrived(self, arrived: Arrived) -> None:
        self._taken += 1
        self._taken_bytes += arrived.outgoing.message.size
        self._unread.append(sent(arrived.outgoing, arrived.uid))

    def _refused(self, one: Outgoing, reason: str, words: str) -> None:
        self._tell(one.message.uid or one.message.base, reason, words)

    def _without(self, keywords: Sequence[str], words: str) -> None:
        for keyword in keywords:
            count, first = self._keywords.get(keyword, (0, words))
            self._keywords[keyword] = (count + 1, first)

    def _altered(self, one: Sent, what: str) -> None:
        self._tell(one.message_uid or one.base, "altered", what)

    def _look_back(self) -> None:
        """Compare what was taken with what the server gives of it."""
        unread, self._unread = self._unread, []
        try:
            if (stopped := self._session.stopped) is not None and stopped.reason == ConnectionLostError.code:
                raise stopped
            numbered = self._numbered(unread)
            for one in numbered:
                self._number(one.message_uid, one.uid)
            self._read_back.check([one for one in numbered if one.uid])
        except (ConnectionLostError, RefusedError, FolderStoppedError) as error:
            if unread:
                self._tell(
                    None,
                    "not-compared",
                    f"{len(unread)} messages were taken and could not be read back: {error.message}",
                )

    def _numbered(self, taken: Sequence[Sent]) -> list[Sent]:
        """The same with UIDs, where the server has not told them; they are looked for by what they hold."""
        lost = [one for one in taken if not one.uid]
        if not lost:
            return list(taken)
        self._session.examine(self._name)
        uids = self._session.ask_in(self._name, partial(uids_from, first=self._new_from))
        there = Present(self._session, self._name, uids)
        found = [one if one.uid else one._replace(uid=there.take(one) or 0) for one in taken]
        for one in found:
            if not one.uid:
                self._altered(one, "it was taken, and is not among what came")
        self._new_from = max([self._new_from, *(one.uid + 1 for one in found)])
        return found

    def _tell(self, message: int | bytes | None, reason: str, detail: str) -> None:
        path = printable(self._folder.name.encode("utf-8", "surrogateescape"))
        if message is not None:
            path += f"/{message if isinstance(message, int) else printable(message)}"
        self._notice(Skipped(path, reason, detail))


def _number(found: object, key: bytes) -> int:
    value = found.get(key, 0) if isinstance(found, dict) else 0
    return value if isinstance(value, int) else 0


def append_limit(client: IMAPClient, name: str) -> int:
    """How large a message may be in a folder; 0 if there is no limit that is told."""
    for word in client.capabilities():
        key, _, value = word.partition(b"=")
        if key == b"APPENDLIMIT":
            if value.isdigit():
                return int(value)
            told = client.folder_status(name, ["APPENDLIMIT"]).get(b"APPENDLIMIT")
            return told if isinstance(told, int) else 0
    return 0
