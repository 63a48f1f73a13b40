"""A small LMTP server in a thread that does what a test says; ``delivered`` has what it took."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

Plan = Callable[[bytes], str]
"""What to do with a message: the words of the answer, or ``drop`` (before) or ``lose`` (behind its
delivery)."""


class ScriptedLmtp:
    """``plan`` says what becomes of a message, ``rcpt`` what is answered to a user; so many connections as
    ``drops`` says end there."""

    def __init__(self, plan: Plan = lambda _: "250 2.0.0 taken", rcpt: str = "250 2.1.5 ok") -> None:
        self.plan = plan
        self.rcpt = rcpt
        self.drops = 0
        self.delivered: list[tuple[str, bytes]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(20)
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as lines:

            def say(text: str) -> None:
                connection.sendall(text.encode() + b"\r\n")

            say("220 ready")
            user = ""
            for line in lines:
                word = line[:4].upper()
                if word == b"LHLO":
                    say("250-here\r\n250-SIZE\r\n250 8BITMIME")
                elif word == b"RCPT":
                    if self.drops:
                        self.drops -= 1
                        return
                    user = line.partition(b"<")[2].partition(b">")[0].decode()
                    say(self.rcpt)
                elif word == b"DATA":
                    say("354 go on")
                    content = _content(lines)
                    answer = self.plan(content)
                    if answer.startswith("250") or answer == "lose":
                        self.delivered.append((user, content))
                    if answer in ("lose", "drop"):
                        return
                    say(answer)
                elif word == b"QUIT":
                    say("221 bye")
                    return
                else:
                    say("250 ok")


def _content(lines: Iterable[bytes]) -> bytes:
    found: list[bytes] = []
    for line in lines:
        if line == b".\r\n":
            return b"".join(found)
        found.append(line[1:] if line.startswith(b".") else line)
    raise OSError("half a message")
