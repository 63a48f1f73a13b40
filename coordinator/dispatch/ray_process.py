"""The process that drives Ray for the coordinator: what it is told, what it says, how it begins.

Ray ends the process that drives it when the cluster is lost, without an exception, and waits inside its
calls for as long as it likes. So it gets a process to itself; see docs/decisions/0008-ray.md. This module is
what both processes know of each other.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection

from ...proto.structs import Record
from ..core import HostBack, HostLost, Start, Stop, WorkerLost, WorkerReady
from . import child
from .tuning import HoldBack

LABEL = "mailhaul/host"
"""The label of a node: the host of the configuration that it stands for."""


class Orders(Record, kw_only=True):
    """What the process is to do: connect to ``address`` with this environment, and start actors with this
    pickled function and progress connection, which find the key pair of their host in the directory
    ``keys``."""

    address: str
    environment: Mapping[str, str]
    function: bytes
    connection: bytes
    keys: str = ""


class Send(Record):
    """Give a worker its next task, pickled, and sealed if there are keys in it."""

    worker: int
    task: bytes


Command = Start | Send | Stop | HoldBack


class Connected(Record):
    """The cluster is there, with these hosts. The first that is said."""

    hosts: frozenset[str]


class Alive(Record):
    """The process, and the part of the cluster that holds all together, answer. Said every second."""


class Offered(Record):
    """The public key for which tasks of a worker are to be sealed; said before it is ready. Empty: none."""

    worker: int
    key: str


class Answered(Record):
    """A worker's answer to its task, as ``child.encoded`` made it."""

    worker: int
    answer: bytes


class Broken(Record):
    """The cluster can't be used, and how that shows. The last that is said."""

    how: str


Report = Connected | Alive | Offered | WorkerReady | Answered | WorkerLost | HostLost | HostBack | Broken


def enter(channel: Connection, orders: Orders, log: Connection) -> None:
    """Serve a channel until it is closed. What Ray prints goes to ``log``, which is a file."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=child.watch_parent, name="parent", daemon=True).start()
    for output in (1, 2):
        os.dup2(log.fileno(), output)
    # Ray lets all workers, on every host, look for modules in the directory in which its driver runs.
    os.chdir("/")
    # Ray has no other way in for these, and reads them when it is imported. This process is Ray's own.
    os.environ.update(orders.environment)  # noqa: TID251
    from .ray import drive

    drive(channel, orders)
