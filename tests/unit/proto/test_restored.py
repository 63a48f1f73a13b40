"""What workers tell of a mailbox that is restored, as a line of a journal."""

from __future__ import annotations

import pytest

from mailhaul.proto.records import ArchiveId, RestoredMailbox, RestoreReport, Skipped, UidMap
from mailhaul.proto.restored import decode, encode

MAILBOX = RestoredMailbox(
    archive=ArchiveId(bytes(range(16))),
    path="/primary/user/jané%2F/\udcff",
    report=RestoreReport(
        restored=3,
        present=1,
        files=2,
        size_bytes=4711,
        present_bytes=5,
        without_modseq=1,
        flagged=2,
        moved=1,
        skipped=(Skipped("/primary/user/jane/INBOX/3", "permission", "no\nway \udc80"),),
        damaged=(Skipped("/primary/user/jane/INBOX/4", "block"),),
        uids=(("/primary/user/jane", UidMap("INBOX", 7, "1:3", "INBOX", 8, "9,11:12")),),
    ),
    folders={"INBOX": (4, 4), "Entwürfe": (0, 7)},
    reach="2026-11-07T03:15:00+00:00",
    ages=((3, 4711), (0, 0)),
    last_seen_ns=1_700_000_000_000_000_000,
)


def test_there_and_back() -> None:
    for mailbox in (MAILBOX, RestoredMailbox(archive=MAILBOX.archive, path="/p/g/u", report=RestoreReport())):
        line = encode(mailbox)
        assert line.isascii()
        assert "\n" not in line
        assert decode(line) == mailbox


@pytest.mark.parametrize(
    "line",
    [
        "",
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        encode(MAILBOX)[:-1],
        encode(MAILBOX)[1:],
        '{"archive": "00", "path": "/p"}',
        f'{{"archive": "{"0" * 32}", "path": 3}}',
        f'{{"archive": "{"0" * 32}", "path": "/p", "restored": -1}}',
        f'{{"archive": "{"0" * 32}", "path": "/p", "restored": true}}',
        f'{{"archive": "{"0" * 32}", "path": "/p", "skipped": [["a"]]}}',
        f'{{"archive": "{"0" * 32}", "path": "/p", "skipped": [["a", 1, ""]]}}',
        f'{{"archive": "{"0" * 32}", "path": "/p", "folders": {{"INBOX": [1]}}}}',
        f'{{"archive": "{"0" * 32}", "path": "/p", "folders": []}}',
        f'{{"archive": "{"0" * 32}", "path": "/p", "reach": 3}}',
        f'{{"archive": "{"0" * 32}", "path": "/p", "ages": [[1]]}}',
        f'{{"archive": "{"0" * 32}", "path": "/p", "last_seen_ns": "x"}}',
    ],
)
def test_what_is_no_such_line(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (that of json, too)
        decode(line)
