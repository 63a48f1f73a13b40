"""Messages a second into one account of a mail server, over IMAP: restored, and restored again.

    python -m mailhaul.bench.micro.over_imap imap://HOST:PORT USER PASSWORD-FILE [--messages N] [--bytes N]

The account is to be empty: the messages go to its folder ``bench``. Half of them are as long as ``--bytes``
says or shorter, one in a hundred is fifty times as long. No archive is read: what is measured is the server
and our way to it, with the reading back of sizes, flags and dates. The second time all of them are there
already, and are compared with what the server gives.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Iterator, Sequence

from mailhaul.proto.records import Folder, Message, Ownership, ServerAccess
from mailhaul.worker.stores.imap.target import ImapTarget

_OWNER = Ownership(0o600, 0, 0)
_BENCH = Folder(name="bench", path=b".bench")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("user")
    parser.add_argument("password_file")
    parser.add_argument("--messages", type=int, default=10_000, help="(default 10000)")
    parser.add_argument("--bytes", type=int, default=8000, help="(default 8000)")
    options = parser.parse_args(arguments)
    target = ImapTarget(options.address, ServerAccess(password_file=os.path.abspath(options.password_file)))
    print("| | messages/s | MB/s | restored | present | told |")
    print("|---|---|---|---|---|---|")
    for way in ("restored", "again"):
        print(f"| {way} | {measure(target, options.user, options.messages, options.bytes)} |")


def measure(target: ImapTarget, user: str, count: int, size: int) -> str:
    began, added, total = time.monotonic(), 0, 0
    with target.open_mailbox(user, b"", [_BENCH]) as mailbox:
        folder = mailbox.open_folder(_BENCH)
        for message, content in mail(count, size):
            added += folder.add(message, [content])
            total += len(content)
        folder.finish()
        mailbox.commit()
        refused, told = mailbox.outcome().refused, len(mailbox.skipped())
    seconds = time.monotonic() - began
    speed = f"{count / seconds:,.0f} | {total / seconds / 1e6:,.1f}"
    return f"{speed} | {added - refused} | {count - added} | {told}"


def mail(count: int, size: int) -> Iterator[tuple[Message, bytes]]:
    """The same each time."""
    chance = random.Random(7)
    text = b"".join(b"%016x" % chance.getrandbits(64) * 4 + b"\n" for _ in range(100 * size // 65 + 1))
    for number in range(1, count + 1):
        long = chance.randrange(size // 10, 2 * size) * (50 if chance.random() < 0.01 else 1)
        content = b"From: a@example.org\nSubject: %d\nMessage-ID: <%d@bench>\n\n" % (number, number)
        content += text[: long // 65 * 65]
        facts = number, b"%d.bench" % number, b":2,S", "cur", "S", b"", 10**18 + number * 10**9, _OWNER
        yield Message(*facts, len(content), bytes(16), ()), content


if __name__ == "__main__":
    main()
