"""A mail server of a few commands, which answers as late as a test wants: a user that waits is made here."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress


class SlowImap:
    """Listens on a loopback port until it is closed. ``delay_seconds`` is how long a log-in takes; with
    ``hangs`` nothing is answered at all, with ``refuses`` the password is wrong. A context manager."""

    def __init__(self) -> None:
        self.delay_seconds = 0.0
        self.hangs = False
        self.refuses = False
        self.sessions = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> SlowImap:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                channel, _ = self._server.accept()
                self._open.append(channel)
                self.sessions += 1
                threading.Thread(target=self._serve, args=(channel,), daemon=True).start()

    def _serve(self, channel: socket.socket) -> None:
        if self.hangs:
            return
        with suppress(OSError, ValueError), channel, channel.makefile("rwb") as file:
            file.write(b"* OK ready\r\n")
            file.flush()
            for line in file:
                tag, word = line.split()[:2]
                answer = b"OK done"
                match word.upper():
                    case b"CAPABILITY":
                        file.write(b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\n")
                    case b"AUTHENTICATE":
                        time.sleep(self.delay_seconds)
                        answer = b"NO [AUTHENTICATIONFAILED] no" if self.refuses else answer
                    case b"EXAMINE":
                        file.write(b"* 1 EXISTS\r\n")
                    case b"FETCH":
                        file.write(b"* 1 FETCH (FLAGS () BODY[]<0> {7}\r\nhello\r\n)\r\n")
                file.write(tag + b" " + answer + b"\r\n")
                file.flush()
