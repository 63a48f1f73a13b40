"""Those who look: a process of its own, with a thread for each mail host, so that no other work of the
program counts as a wait of the users, and its death is nothing but a time without looks.

A thread looks about once a second, never twice at a time: a server that is slow is looked at less often.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from ...proto.errors import BackupError
from ...proto.records import ServerAccess
from ...proto.structs import Record
from ...worker.stores.address import parse_address
from ...worker.stores.imap.errors import ConnectionLostError
from ...worker.stores.imap.login import read_password
from ...worker.stores.imap.probe import Look, look
from ..dispatch import child
from .settings import HostRules

EVERY_SECONDS = 1.0
"""From the beginning of a look to that of the next."""

BETWEEN_SECONDS = 0.25
"""From the end of a look to the beginning of the next at least."""

BLIND_SECONDS = 5.0
"""The same after one that could not be taken: a server that refuses us is not knocked at each second."""

_PATIENCE_TARGETS = 10
_LEAST_PATIENCE_SECONDS = 2.0


class Began(Record):
    """A look at this host begins."""

    host: str


class Looked(Record):
    """What a look at this host has shown."""

    host: str
    look: Look


class Late(Record):
    """The server did not answer for so long; the look was given up."""

    host: str
    seconds: float


class Blind(Record):
    """A look at this host can't be taken, for this reason."""

    host: str
    why: str


Report = Began | Looked | Late | Blind


def patience_seconds(rules: HostRules) -> float:
    """How long a look may take before it is given up."""
    return max(_LEAST_PATIENCE_SECONDS, _PATIENCE_TARGETS * rules.rules.target_seconds)


def enter(channel: Connection, hosts: Sequence[HostRules]) -> None:
    """Look at these hosts and tell of it, until nobody listens any more. The main function of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    telling = threading.Lock()
    ended = threading.Event()

    def tell(report: Report) -> None:
        with telling:
            try:
                channel.send(report)
            except OSError:
                ended.set()

    threading.Thread(target=child.watch_parent, name="parent", daemon=True).start()
    for host in hosts:
        threading.Thread(target=_look_on, args=(host, tell, ended), name=host.host, daemon=True).start()
    try:
        channel.recv()  # nothing is ever said: this ends when the other side has closed it
    except (EOFError, OSError):
        ended.set()


def _look_on(host: HostRules, tell: Callable[[Report], Any], ended: threading.Event) -> None:
    while not ended.is_set():
        began = time.monotonic()
        tell(Began(host.host))
        report = look_once(host)
        tell(report)
        if isinstance(report, Blind):
            ended.wait(BLIND_SECONDS)
        else:
            ended.wait(max(BETWEEN_SECONDS, began + EVERY_SECONDS - time.monotonic()))


def look_once(host: HostRules) -> Looked | Late | Blind:
    """Look at a host. Never raises."""
    account, patience = host.probe, patience_seconds(host)
    access = ServerAccess(password_file=account.password_file, ca_file=account.ca_file)
    try:
        password = read_password(access)
        return Looked(
            host.host, look(parse_address(account.server), account.user, access, password, patience)
        )
    except ConnectionLostError as error:
        return Late(host.host, patience) if error.silent else Blind(host.host, error.message)
    except BackupError as error:
        return Blind(host.host, error.message)
    except Exception as error:
        # A thread that ended here would be taken for a server that is never looked at again.
        return Blind(host.host, f"{type(error).__name__}: {error}")
