"""A worker process of the tests of bounded load: reads a mailbox over and over, as fast as it may.

    python -m mailhaul.tests.integration.load_reader HOST BYTES_PER_SECOND MESSAGES_PER_SECOND SIZES

SIZES are those of the messages, with commas. It says ``ready``, takes from stdin until when to read (by
CLOCK_MONOTONIC), and says when it began and ended, how many messages and bytes those were, how many seconds
it booked for bytes and for messages, and how long it was told to wait at most. A line that is empty stands
for reading each message once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from mailhaul.proto.ports import MailStore
from mailhaul.proto.records import Folder
from mailhaul.worker.load import LoadLimits
from mailhaul.worker.load.budget import Budget
from mailhaul.worker.load.ledger import ALLOWANCES, Ledger, host_ledger
from mailhaul.worker.stores.memory import Mail, MemoryStore, MemoryTarget
from mailhaul.worker.stores.throttled import ThrottledStore

from ..maildirs import message


class Counted:
    """A ledger that notes what was booked in it here, and how far ahead."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.seconds = [0.0] * ALLOWANCES
        self.longest_wait_seconds = 0.0

    def book(self, allowance: int, length_ns: int) -> int:
        begins = self._ledger.book(allowance, length_ns)
        self.seconds[allowance] += length_ns / 1e9
        self.longest_wait_seconds = max(self.longest_wait_seconds, (begins - time.monotonic_ns()) / 1e9)
        return begins


def make_store(sizes: list[int]) -> MailStore:
    """One mailbox in memory."""
    mail: Mail = {}
    with MemoryTarget(mail).open_mailbox("jane") as mailbox:
        folder = mailbox.open_folder(Folder(name="INBOX", path=b""))
        for number, size in enumerate(sizes):
            folder.add(message(b"%d" % number, bytes(size)), [bytes(size)])
        folder.finish()
        mailbox.commit()
    return MemoryStore(mail)


def read(store: MailStore) -> Iterator[int]:
    """The size of each message, once read."""
    with store.open_mailbox("jane") as mailbox:
        for folder in mailbox.folders():
            for listed in folder.messages():
                opened = folder.open_message(listed)
                yield len(opened.read(opened.stat.size + 1))
                opened.close()


def main() -> None:
    host, bytes_per_second, messages_per_second, sizes = sys.argv[1:]
    limits = LoadLimits(bytes_per_second=int(bytes_per_second), messages_per_second=int(messages_per_second))
    ledger = Counted(host_ledger(host))
    store = ThrottledStore(make_store([int(one) for one in sizes.split(",")]), Budget(limits, ledger))
    print("ready", flush=True)
    until = float(sys.stdin.readline().strip() or 0)
    begun, messages, size_bytes = time.monotonic(), 0, 0
    while True:
        for size in read(store):
            messages, size_bytes = messages + 1, size_bytes + size
            if 0 < until <= time.monotonic():
                break
        if until <= time.monotonic():
            break
    ended = time.monotonic()
    print(begun, ended, messages, size_bytes, *ledger.seconds, ledger.longest_wait_seconds, flush=True)


if __name__ == "__main__":
    main()
