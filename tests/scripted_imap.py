"""A small IMAP server in a thread that does what a test says: it loses answers, refuses, falls silent, ends
the connection in the middle, alters what it is given. What it holds is in ``folders``.
"""

from __future__ import annotations

import base64
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

_LITERAL = re.compile(rb"\{(\d+)(\+?)\}\r\n\Z")
_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"|\(([^()]*)\)|([^ ()"]+)')
_WAIT_SECONDS = 20

FULL = "IMAP4rev1 AUTH=PLAIN LITERAL+ MULTIAPPEND UIDPLUS NAMESPACE"
"""The capabilities of a server that has all that helps."""


@dataclass
class Stored:
    """A message as the server keeps it."""

    uid: int
    content: bytes
    flags: tuple[str, ...]
    date: str


@dataclass
class Folder:
    """A folder as the server keeps it."""

    uidvalidity: int
    uidnext: int = 1
    grants: dict[str, str] = field(default_factory=dict)
    messages: list[Stored] = field(default_factory=list)


@dataclass(frozen=True)
class Given:
    """A message as it comes with APPEND."""

    content: bytes
    flags: tuple[str, ...]
    date: str


class Hang(Exception):
    """Say nothing more on this connection."""


class Drop(Exception):
    """Close the connection without a word."""


class Bye(Exception):
    """Close it with one."""


@dataclass
class Script:
    """What the server does. ``appends`` has for each APPEND command that comes, until it is used up: None (do
    it), what to answer instead (a status and words), or a class: ``Drop`` and ``Hang`` before it is done.
    ``lost`` are the numbers of those that are done, and whose answer is lost. ``refuse`` says of a message
    why it is refused, ``alter`` what it becomes; ``ignores`` whether dates and flags are for nothing. After
    each 16 KiB of a message it rests for ``slow_seconds``."""

    capabilities: str = FULL
    separator: str = "/"
    prefix: str = ""
    appends: list[object] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)
    refuse: Callable[[Given], str] = lambda _: ""
    alter: Callable[[bytes], bytes] = lambda content: content
    ignores: bool = False
    slow_seconds: float = 0.0
    reject_create: Callable[[str], str] = lambda _: ""


class ScriptedImap:
    """``folders`` by user and name; ``batches`` has how many messages came with each APPEND command;
    ``logins`` the names of who has logged in, the master's first."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.folders: dict[str, dict[str, Folder]] = {}
        self.subscribed: dict[str, set[str]] = {}
        self.batches: list[int] = []
        self.logins: list[tuple[str, str]] = []
        self.open_connections = self.most_connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._next_validity = 1000
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def folder(self, user: str, name: str = "INBOX") -> Folder:
        return self.folders.setdefault(user, {}).setdefault(name, self._new_folder())

    def contents(self, user: str, name: str = "INBOX") -> list[bytes]:
        return [message.content for message in self.folder(user, name).messages]

    def close(self) -> None:
        self._ended.set()
        for one in (self._listener, *self._connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _new_folder(self) -> Folder:
        self._next_validity += 1
        return Folder(self._next_validity)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(_WAIT_SECONDS)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self.open_connections += 1
            self.most_connections = max(self.most_connections, self.open_connections)
        try:
            _Connection(self, connection).serve()
        except Hang:
            self._ended.wait(_WAIT_SECONDS)
        except (OSError, Drop):
            pass
        finally:
            with self._lock:
                self.open_connections -= 1
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


class _Connection:
    def __init__(self, server: ScriptedImap, connection: socket.socket) -> None:
        self._server = server
        self._script = server.script
        self._socket = connection
        self._file = connection.makefile("rb")
        self._user = ""
        self._folder: Folder | None = None

    def serve(self) -> None:
        self._say(f"* OK [CAPABILITY {self._script.capabilities}] ready")
        while True:
            line = self._file.readline()
            if not line:
                return
            tag, _, rest = line.partition(b" ")
            name = rest.split(None, 1)[0].upper().decode()
            if name == "APPEND":
                self._append(tag.decode(), rest)
                continue
            text, literals = self._whole(rest)
            words = _words(text.rstrip(b"\r\n"), literals)[1:]
            if name == "UID":
                name, words = f"UID_{words[0].upper()}", words[1:]
            if name == "LOGOUT":
                self._say("* BYE see you", f"{tag.decode()} OK done")
                return
            answer = getattr(self, f"_on_{name.lower()}")(*words)
            self._say(f"{tag.decode()} {answer or 'OK done'}")

    def _say(self, *lines: str) -> None:
        self._socket.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def _whole(self, line: bytes) -> tuple[bytes, list[bytes]]:
        """A command with its literals, each replaced by a quoted number."""
        literals: list[bytes] = []
        while found := _LITERAL.search(line):
            if not found[2]:
                self._say("+ go on")
            literals.append(self._exactly(int(found[1])))
            line = line[: found.start()] + b'"\0%d"' % (len(literals) - 1) + self._file.readline()
        return line, literals

    def _exactly(self, size: int) -> bytes:
        pieces = []
        while size:
            pieces.append(self._file.read(min(size, 1 << 14)))
            if not pieces[-1]:
                raise Drop
            size -= len(pieces[-1])
            if size:
                time.sleep(self._script.slow_seconds)
        return b"".join(pieces)

    # Commands

    def _on_capability(self) -> None:
        self._say(f"* CAPABILITY {self._script.capabilities}")

    def _on_noop(self) -> None:
        pass

    def _on_authenticate(self, *_: str) -> str:
        self._say("+ ")
        user, master, password = base64.b64decode(self._file.readline()).decode().split("\0")
        return self._on_login(user or master, password, master if user else "")

    def _on_login(self, user: str, password: str, master: str = "") -> str:
        if password != "secret":
            return "NO [AUTHENTICATIONFAILED] no"
        self._server.logins.append((master, user))
        self._user = user
        self._server.folder(user)
        return ""

    def _on_namespace(self) -> None:
        self._say(f'* NAMESPACE (("{self._script.prefix}" "{self._script.separator}")) NIL NIL')

    def _on_list(self, _: str, pattern: str) -> None:
        if not pattern:
            self._say(f'* LIST (\\Noselect) "{self._script.separator}" ""')
            return
        for name in self._server.folders[self._user]:
            self._say(f'* LIST () "{self._script.separator}" "{name}"')

    def _on_lsub(self, *_: str) -> None:
        for name in self._server.subscribed.get(self._user, ()):
            self._say(f'* LSUB () "{self._script.separator}" "{name}"')

    def _on_create(self, name: str) -> str:
        if refused := self._script.reject_create(name):
            return f"NO {refused}"
        if name in self._server.folders[self._user]:
            return "NO [ALREADYEXISTS] it is there"
        self._server.folder(self._user, name)
        return ""

    def _on_subscribe(self, name: str) -> None:
        self._server.subscribed.setdefault(self._user, set()).add(name)

    def _on_getacl(self, name: str) -> None:
        grants = self._server.folder(self._user, name).grants
        self._say(" ".join([f'* ACL "{name}"', *(f'"{who}" {rights}' for who, rights in grants.items())]))

    def _on_setacl(self, name: str, who: str, rights: str) -> str:
        if who == "nobody":
            return "NO [CANNOT] who is that?"
        self._server.folder(self._user, name).grants[who] = rights
        return ""

    def _on_select(self, name: str) -> str:
        folder = self._folder = self._server.folders[self._user].get(name)
        if folder is None:
            return "NO [NONEXISTENT] no such folder"
        self._say(f"* {len(folder.messages)} EXISTS", "* 0 RECENT", "* FLAGS (\\Seen)")
        self._say(f"* OK [UIDVALIDITY {folder.uidvalidity}] ok", f"* OK [UIDNEXT {folder.uidnext}] ok")
        return ""

    _on_examine = _on_select

    def _on_status(self, name: str, _: str) -> None:
        folder = self._server.folder(self._user, name)
        self._say(f'* STATUS "{name}" (UIDNEXT {folder.uidnext} APPENDLIMIT 100)')

    def _on_uid_search(self, *words: str) -> None:
        assert self._folder is not None
        first = int(words[-1].partition(":")[0])
        uids = [message.uid for message in self._folder.messages if message.uid >= first]
        self._say("* SEARCH " + " ".join(map(str, uids)))

    def _on_uid_store(self, uid: str, _: str, flags: str) -> str:
        assert self._folder is not None
        (stored,) = [message for message in self._folder.messages if message.uid == int(uid)]
        if refused := self._script.refuse(
            Given(stored.content, (*stored.flags, *flags.split()), stored.date)
        ):
            return f"NO {refused}"
        stored.flags = (*stored.flags, *flags.split())
        return ""

    def _on_uid_fetch(self, uids: str, wanted: str) -> None:
        assert self._folder is not None
        asked = set(map(int, uids.split(",")))
        for number, stored in enumerate(self._folder.messages, 1):
            if stored.uid not in asked:
                continue
            parts = [f"UID {stored.uid}"]
            content = b""
            if "RFC822.SIZE" in wanted:
                parts.append(f"RFC822.SIZE {len(stored.content)}")
            if "FLAGS" in wanted:
                parts.append(f"FLAGS ({' '.join(stored.flags)})")
            if "INTERNALDATE" in wanted:
                parts.append(f'INTERNALDATE "{stored.date}"')
            if "BODY.PEEK[]" in wanted:
                begin = int(found[1]) if (found := re.search(r"<(\d+)\.(\d+)>", wanted)) else None
                part = f"<{begin}>" if begin is not None else ""
                content = stored.content[begin or 0 :]
                content = content[: int(found[2])] if found else content
                parts.append(f"BODY[]{part} {{{len(content)}}}\r\n")
            end = b")\r\n"
            self._socket.sendall(f"* {number} FETCH ({' '.join(parts)}".encode() + content + end)

    def _append(self, tag: str, line: bytes) -> None:
        text, literals = self._whole(line)
        server, script = self._server, self._script
        number = len(server.batches)
        server.batches.append(len(literals))
        planned = script.appends.pop(0) if script.appends else None
        if isinstance(planned, str):
            self._say(f"{tag} {planned}")
            return
        if planned is Bye:
            self._say("* BYE shutting down")
            raise Drop
        if planned is not None:
            raise planned  # type: ignore[misc]
        words = _words(text.rstrip(b"\r\n"), literals, raw=True)[1:]
        name, given = str(words[0]), list(_given(words[1:], literals))
        folder = server.folders[self._user].get(name)
        if folder is None:
            self._say(f"{tag} NO [TRYCREATE] no such folder")
            return
        for one in given:
            if refused := script.refuse(one):
                self._say(f"{tag} NO {refused}")
                return
        first = folder.uidnext
        for one in given:
            flags, date = ((), "01-Jan-2026 00:00:00 +0000") if script.ignores else (one.flags, one.date)
            folder.messages.append(Stored(folder.uidnext, script.alter(one.content), flags, date))
            folder.uidnext += 1
        if number in script.lost:
            raise Drop
        told = f"[APPENDUID {folder.uidvalidity} {first}:{folder.uidnext - 1}] "
        self._say(f"{tag} OK {told if 'UIDPLUS' in script.capabilities else ''}taken")


def _given(words: list[str], literals: list[bytes]) -> Iterator[Given]:
    for at in range(0, len(words), 3):
        flags, date, literal = words[at : at + 3]
        yield Given(literals[int(literal[1:])], tuple(flags.split()), date)


def _words(text: bytes, literals: list[bytes], *, raw: bool = False) -> list[str]:
    found = []
    for quoted, listed, plain in _TOKEN.findall(text):
        word = quoted or listed or plain
        if word.startswith(b"\0") and not raw:
            word = literals[int(word[1:])]
        found.append(re.sub(rb"\\([\"\\])", rb"\1", word).decode() if quoted else word.decode())
    return found
