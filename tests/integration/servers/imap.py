"""An IMAP client: records all that a client can see of an account, changes it, remembers it (QRESYNC)."""

from __future__ import annotations

import hashlib
import imaplib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any

PASSWORD = "secret"  # of every account of every server that the tests start
_TIMEOUT_SECONDS = 60

_LISTED = re.compile(rb'\((?P<attributes>[^)]*)\) "/" (?P<name>.+)', re.DOTALL)
_FETCHED = re.compile(
    # Dovecot answers in the order of the question, Cyrus in its own.
    rb"\d+ \((?:UID (?P<uid>\d+) |FLAGS \((?P<flags>[^)]*)\) "
    rb'|INTERNALDATE "(?P<date>[^"]+)" |RFC822\.SIZE (?P<size>\d+) ){4}BODY\[\] \{\d+\}'
)
_CHANGED = re.compile(rb"\d+ \(UID (?P<uid>\d+) FLAGS \((?P<flags>[^)]*)\)")
# That something is new, or worth a look, says nothing of what is stored.
_PASSING = {"\\Recent", "\\Marked", "\\UnMarked"}


@dataclass(frozen=True, slots=True)
class SeenMessage:
    """A message as IMAP shows it; ``date`` is INTERNALDATE as the server words it."""

    flags: frozenset[str]
    date: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class SeenFolder:
    """A folder as IMAP shows it, with its messages by UID."""

    attributes: frozenset[str]
    uidvalidity: int
    uidnext: int = field(compare=False)
    highestmodseq: int = field(compare=False)
    messages: dict[int, SeenMessage]


@dataclass(frozen=True, slots=True)
class SeenAccount:
    """All that IMAP shows of an account. Equal ones look the same to every client, HIGHESTMODSEQ and UIDNEXT
    aside: a restore raises these (see ``raised``)."""

    folders: dict[str, SeenFolder]
    subscribed: frozenset[str]


def differences(before: SeenAccount, after: SeenAccount) -> list[str]:
    """How two accounts differ, a line each; nothing if a client can't tell them apart."""
    found = []
    if before.subscribed != after.subscribed:
        found.append(f"subscriptions: {sorted(before.subscribed)} became {sorted(after.subscribed)}")
    for name in sorted(before.folders | after.folders):
        old, new = before.folders.get(name), after.folders.get(name)
        if old is None or new is None:
            found.append(f"{name}: only {'before' if new is None else 'after'}")
        else:
            found += [f"{name}: {line}" for line in folder_differences(old, new)]
    return found


def raised(before: SeenAccount, after: SeenAccount) -> dict[str, int]:
    """By how much UIDNEXT is higher than it was, folder by folder, where it is another."""
    return {
        name: after.folders[name].uidnext - folder.uidnext
        for name, folder in before.folders.items()
        if after.folders[name].uidnext != folder.uidnext
    }


def folder_differences(old: SeenFolder, new: SeenFolder) -> Iterator[str]:
    """How two folders differ, a line each."""
    for key in ("attributes", "uidvalidity"):
        if getattr(old, key) != getattr(new, key):
            yield f"{key} {getattr(old, key)} became {getattr(new, key)}"
    for uid in sorted(old.messages | new.messages):
        was, now = old.messages.get(uid), new.messages.get(uid)
        if was != now:
            yield f"UID {uid}: {was} became {now}"


@dataclass(frozen=True, slots=True)
class Changes:
    """What a server tells a client that comes back with what it remembers of a folder."""

    flagged: dict[int, frozenset[str]]
    vanished: frozenset[int]
    highestmodseq: int


class Imap:
    """A connection that is logged in. A command that the server refuses is an AssertionError."""

    def __init__(self, port: int, user: str) -> None:
        self._client = imaplib.IMAP4("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
        self._client.login(user, PASSWORD)
        self._ended = False

    def __enter__(self) -> Imap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and not self._ended:
            self._client.logout()
        else:
            self._client.shutdown()

    def view(self, *folders: str) -> SeenAccount:
        """Everything, of these folders or of all. Changes nothing, not even what is recent."""
        marks = self.folders()
        return SeenAccount(
            folders={name: self.view_folder(name, marks[name]) for name in folders or marks},
            subscribed=frozenset(self._names("LSUB")),
        )

    def folders(self) -> dict[str, frozenset[str]]:
        """The folders by name, each with what LIST says of it."""
        return self._names("LIST")

    def view_folder(self, name: str, attributes: Iterable[str] = ()) -> SeenFolder:
        return SeenFolder(
            frozenset(attributes),
            self.uidvalidity(name),
            self._count(name, "UIDNEXT"),
            self._count(name, "HIGHESTMODSEQ"),
            self.messages(name),
        )

    def uidvalidity(self, folder: str) -> int:
        return self._count(folder, "UIDVALIDITY")

    def uids(self) -> list[int]:
        """Of all messages of the opened folder."""
        return [int(uid) for uid in self._ask("UID", "SEARCH", "ALL")[0].split()]

    def messages(self, folder: str, first: int = 1) -> dict[int, SeenMessage]:
        """The messages of a folder by UID, from UID ``first`` on. Leaves the folder opened read-only."""
        self.open(folder, readonly=True)
        seen = {}
        wanted = "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])"
        for answer in self._ask("UID", "FETCH", f"{first}:*", wanted):
            if isinstance(answer, tuple):
                found = _FETCHED.fullmatch(answer[0])
                assert found, answer[0]
                seen[int(found["uid"])] = SeenMessage(
                    _flags(found["flags"]), found["date"].decode(), int(found["size"]), digest(answer[1])
                )
        # "5:*" means the last message at least, even if its UID is smaller.
        return {uid: message for uid, message in seen.items() if uid >= first}

    def open(self, folder: str, *, readonly: bool = False) -> None:
        kind, answer = self._client.select(quoted(folder), readonly)
        assert kind == "OK", answer

    def opened_uidvalidity(self) -> int:
        """What the server has said as it opened the folder."""
        told: dict[str, list[Any]] = dict(self._client.untagged_responses)
        return int(told["UIDVALIDITY"][-1])

    def look(self) -> int:
        """How many messages the opened folder has, as a client that stays connected is told."""
        self._ask("NOOP")
        return int(self._client.response("EXISTS")[1][-1] or -1)

    def bye(self) -> str:
        """What the server says as it ends the connection at the next command; "" if it does not."""
        try:
            self._client.noop()
        except imaplib.IMAP4.abort as error:
            self._ended = True
            return str(error)
        return ""

    @contextmanager
    def idle(self) -> Iterator[Callable[[], bytes]]:
        """Wait (IDLE) in the opened folder: gives what returns the next line that is told of it."""
        tag = self._client._new_tag()
        self._client.send(tag + b" IDLE\r\n")
        assert self._client.readline().startswith(b"+ ")
        # Now and then the server only says that it is still there.
        told = (line.strip() for line in iter(self._client.readline, b"") if not line.startswith(b"* OK"))
        yield lambda: next(told)
        with suppress(OSError):  # of a connection that the server has ended
            self._client.send(b"DONE\r\n")
        lines = iter(self._client.readline, b"")
        self._ended = not any(line.startswith(tag) for line in lines)

    def make_folder(self, name: str, *, subscribed: bool = True) -> None:
        self._ask("CREATE", quoted(name))
        if subscribed:
            self._ask("SUBSCRIBE", quoted(name))

    def delete_folder(self, name: str) -> None:
        self._ask("DELETE", quoted(name))

    def rename_folder(self, name: str, new: str) -> None:
        self._ask("RENAME", quoted(name), quoted(new))

    def save(
        self, folder: str, message: bytes, flags: Iterable[str] = (), when: datetime | None = None
    ) -> int:
        """APPEND; returns the UID."""
        date = imaplib.Time2Internaldate(when) if when is not None else ""
        kind, answer = self._client.append(quoted(folder), f"({' '.join(flags)})", date, message)
        assert kind == "OK", answer
        return int(self._code("APPENDUID").split()[1])

    def flag(self, uids: Iterable[int] | str, change: str, *flags: str) -> None:
        """STORE in the opened folder; ``change`` is "+", "-" or ""."""
        self._ask("UID", "STORE", uid_set(uids), f"{change}FLAGS.SILENT", f"({' '.join(flags)})")

    def expunge(self, uids: Iterable[int] | str) -> None:
        """Remove messages of the opened folder for good."""
        self.flag(uids, "+", "\\Deleted")
        self._ask("UID", "EXPUNGE", uid_set(uids))

    def copy(self, uids: Iterable[int], folder: str) -> None:
        """COPY from the opened folder."""
        self._ask("UID", "COPY", uid_set(uids), quoted(folder))
        self._code("COPYUID")

    def unsubscribe(self, name: str) -> None:
        self._ask("UNSUBSCRIBE", quoted(name))

    def move(self, uids: Iterable[int], folder: str) -> dict[int, int]:
        """MOVE from the opened folder; returns the old UIDs with the new ones."""
        self._ask("UID", "MOVE", uid_set(uids), quoted(folder))
        _, old, new = self._code("COPYUID").split()
        return dict(zip(_numbers(old), _numbers(new), strict=True))

    def resync(self, folder: str, uidvalidity: int, highestmodseq: int, known: str = "") -> Changes:
        """Open a folder as a client that knew it in this state, with these UIDs (default: all up to the last
        one that the server has), and take in what the server tells of it."""
        self._client.enable("QRESYNC")
        self._client.untagged_responses.clear()
        memory = f"{uidvalidity} {highestmodseq} {known}".rstrip()
        self._ask("SELECT", quoted(folder), f"(QRESYNC ({memory}))")
        told: dict[str, list[Any]] = dict(self._client.untagged_responses)
        flagged = [_CHANGED.match(line) for line in told.get("FETCH", [])]
        vanished = (line.removeprefix(b"(EARLIER) ").decode() for line in told.get("VANISHED", []))
        return Changes(
            flagged={int(one["uid"]): _flags(one["flags"]) for one in flagged if one},
            vanished=frozenset(number for line in vanished for number in _numbers(line)),
            highestmodseq=int(told["HIGHESTMODSEQ"][0]),
        )

    def _names(self, command: str) -> dict[str, frozenset[str]]:
        names = {}
        for answer in self._ask(command, '""', "*"):
            # A name with a quote or a backslash comes as a literal.
            line = b"".join(answer) if isinstance(answer, tuple) else answer
            found = _LISTED.fullmatch(re.sub(rb"\{\d+\}", b"", line)) if line else None
            if found:
                names[_unquoted(found["name"])] = _flags(found["attributes"])
        return names

    def _ask(self, command: str, *arguments: str) -> list[Any]:
        """Send one command; returns the untagged answers to it."""
        if command == "UID":
            kind, answer = self._client.uid(*arguments)
        else:
            # imaplib knows no SELECT with parameters and would quote nothing anyhow.
            kind, answer = self._client._simple_command(command, *arguments)
        assert kind == "OK", (command, arguments, answer)
        if command == "SELECT":
            self._client.state = "SELECTED"
        if command in ("LIST", "LSUB", "STATUS"):
            return [one for one in self._client.response(command)[1] if one is not None]
        return answer

    def _count(self, folder: str, key: str) -> int:
        (answer,) = self._ask("STATUS", quoted(folder), f"({key})")
        return int(answer.rpartition(b" ")[2].removesuffix(b")"))

    def _code(self, name: str) -> str:
        """The arguments of a response code of the last command."""
        (value,) = self._client.response(name)[1]
        assert value is not None, f"no {name}"
        return str(value, "ascii")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def quoted(name: str) -> str:
    """A folder's name in a command."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def uid_set(uids: Iterable[int] | str) -> str:
    return uids if isinstance(uids, str) else ",".join(map(str, uids))


def _unquoted(name: bytes) -> str:
    text = name.decode("ascii")
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


def _flags(listed: bytes) -> frozenset[str]:
    return frozenset(listed.decode("ascii").split()) - _PASSING


def _numbers(sequence: str) -> list[int]:
    """``3:5,9`` written out."""
    ranges = (part.partition(":")[::2] for part in sequence.split(","))
    return [number for first, last in ranges for number in range(int(first), int(last or first) + 1)]
