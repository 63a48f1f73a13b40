"""Messages a second into one account of the servers that the tests start: Dovecot (Maildir, mdbox) and Cyrus.

    python -m mailhaul.bench.micro.over_imap_servers [--messages N] [--bytes N] [--connections 1,4]

Each server is started anew below TMPDIR, as root. ``--connections`` is how many processes write to the
account at once, each over a connection and into a folder of its own: a restore has one. Beside the time that
passes stands the processor time of the client and of the server: on a busy machine it can be compared. What
the disk gives at that moment is told by the lines ``files``: as many processes that only write files of the
same sizes, and make each durable.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from mailhaul.bench.micro.over_imap import mail
from mailhaul.proto.records import Folder, ServerAccess
from mailhaul.tests.integration.servers import cyrus
from mailhaul.tests.integration.servers.dovecot import Dovecot, ensure_owner, free_ports
from mailhaul.tests.integration.servers.imap import PASSWORD
from mailhaul.tests.integration.servers.programs import installed
from mailhaul.worker.stores.imap.target import ImapTarget

ROOT = Path(__file__).resolve().parents[2]


class Server(NamedTuple):
    """A server that runs: its address, and the process at its head."""

    port: int
    master: psutil.Process


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--messages", type=int, default=5000, help="(default 5000)")
    parser.add_argument("--bytes", type=int, default=8000, help="(default 8000)")
    parser.add_argument("--connections", default="1,4", help="(default 1,4)")
    options = parser.parse_args(arguments)
    print("| server | connections | messages/s | MB/s | seconds | CPU client | CPU server | messages told |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for connections in map(int, options.connections.split(",")):
        for name in ("maildir++", "mdbox", "cyrus"):
            with served(name) as server:
                told = measure(server, connections, options.messages, options.bytes)
            print(f"| {name} | {connections} | {told} |", flush=True)
            print(
                f"| files | {connections} | {files(connections, options.messages, options.bytes)} |",
                flush=True,
            )


@contextmanager
def served(name: str) -> Iterator[Server]:
    """The server of this name, new and empty."""
    place = Path(tempfile.mkdtemp(prefix="mh-"))
    place.chmod(0o755)
    server: cyrus.Cyrus | Dovecot
    try:
        if name == "cyrus":
            server = cyrus.Cyrus(cyrus.program(ROOT), place, ["jane"])
        else:
            if reason := ensure_owner():
                sys.exit(reason)
            server = Dovecot(installed(Path), place, name, free_ports())
        server.start()
        try:
            port = server.port if isinstance(server, cyrus.Cyrus) else server.ports.imap
            yield Server(port, _head(place))
        finally:
            server.stop()
    finally:
        shutil.rmtree(place)


def measure(server: Server, connections: int, count: int, size: int) -> str:
    """Restore so many messages of about this size into one account."""
    before, began = _used(server.master), time.monotonic()
    own = _own()
    with multiprocessing.get_context("fork").Pool(connections) as pool:
        parts = [(server.port, number, count // connections, size) for number in range(connections)]
        done = pool.starmap(_fill, parts)
    seconds = time.monotonic() - began
    sent, size_bytes, told = (sum(each) for each in zip(*done, strict=True))
    assert sent == count // connections * connections
    speed = f"{sent / seconds:,.0f} | {size_bytes / seconds / 1e6:,.1f} | {seconds:.1f}"
    return f"{speed} | {_own() - own:.1f} | {_used(server.master) - before:.1f} | {told}"


def files(processes: int, count: int, size: int) -> str:
    """Make as many files durable as there are messages, up to a thousand."""
    count = min(count, 1000) // processes
    began = time.monotonic()
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        total = sum(pool.starmap(_durable, [(count, size)] * processes))
    seconds = time.monotonic() - began
    return f"{count * processes / seconds:,.0f} | {total / seconds / 1e6:,.1f} | {seconds:.1f} | | | "


def _durable(count: int, size: int) -> int:
    total = 0
    with tempfile.TemporaryDirectory(prefix="mh-") as place:
        for message, content in mail(count, size):
            with Path(place, str(message.uid)).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            total += len(content)
    return total


def _fill(port: int, number: int, count: int, size: int) -> tuple[int, int, int]:
    name = f"bench{number}"
    with tempfile.NamedTemporaryFile("w") as password:
        password.write(f"{PASSWORD}\n")
        password.flush()
        target = ImapTarget(f"imap://127.0.0.1:{port}", ServerAccess(password_file=password.name))
        sent = total = 0
        folder = Folder(name=name, path=b"." + name.encode())
        with target.open_mailbox("jane", b"", [folder]) as mailbox:
            writer = mailbox.open_folder(folder)
            for message, content in mail(count, size):
                sent += writer.add(message, [content])
                total += len(content)
            writer.finish()
            mailbox.commit()
            sent -= mailbox.outcome().refused
            return sent, total, len(mailbox.skipped())


def _head(place: Path) -> psutil.Process:
    """The child of ours that has the place in its command."""
    return next(
        child
        for child in psutil.Process(os.getpid()).children()
        if any(str(place) in word for word in child.cmdline())
    )


def _used(master: psutil.Process) -> float:
    """Processor seconds of a server: what has ended counts with who waited for it."""
    total = 0.0
    for one in (master, *master.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += sum(one.cpu_times()[:4])
    return total


def _own() -> float:
    """Processor seconds of the processes that write, as far as they have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
