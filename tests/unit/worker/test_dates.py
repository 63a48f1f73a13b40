"""Dates that no archive can hold: the nearest one is stored, and that is reported."""

from __future__ import annotations

from mailhaul.proto.records import Folder
from mailhaul.proto.structs import replace
from mailhaul.tests.maildirs import file, message
from mailhaul.tests.memory_chains import Chain
from mailhaul.worker.stores.memory import Mail, MemoryFolder, MemoryMailbox, MemoryStore

LAST_NS = (1 << 63) - 1
YEAR_2446_NS = 15_032_385_536 * 10**9
"""The last time that ext4 knows."""


def store() -> Mail:
    folder = Folder(name="INBOX", path=b"", uidnext=1)
    mailbox = MemoryMailbox(folders={b"": MemoryFolder(folder, {})})
    for base, date_ns in ((b"1.now", 10**18), (b"2.late", YEAR_2446_NS), (b"3.early", -YEAR_2446_NS)):
        mailbox.folders[b""].messages[base] = message(base, base, date_ns=date_ns), base
    late = replace(file(b"notes", b"x"), mtime_ns=YEAR_2446_NS)
    mailbox.files[False, b"notes"] = late, b"x"
    return {"jane": mailbox}


def test_they_are_stored_as_the_nearest_and_reported() -> None:
    chain = Chain()
    report = chain.run(MemoryStore(store()), ["jane"])
    assert [(skip.path.rpartition("/")[2], skip.reason) for skip in report.skipped] == [
        (";NAME=2.late", "date"),
        (";NAME=3.early", "date"),
        ("notes", "date"),
    ]
    assert all("2262" in one.detail for one in report.skipped)
    ((_, messages),) = chain.mailbox("jane").values()
    assert {base: (one.date_ns, content) for base, (one, content) in messages.items()} == {
        b"1.now": (10**18, b"1.now"),
        b"2.late": (LAST_NS, b"2.late"),
        b"3.early": (-LAST_NS - 1, b"3.early"),
    }
    (mailbox,) = report.mailboxes
    assert (mailbox.listed, mailbox.stored, mailbox.skipped) == (3, 3, 0)
