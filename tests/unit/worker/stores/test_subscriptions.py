"""The list of subscriptions of a mailbox in use."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mailhaul.worker.stores.file_writer import FileWriter
from mailhaul.worker.stores.notices import Notices
from mailhaul.worker.stores.subscriptions import change, differ, merged

V2 = b"V\t2\n\n"


@pytest.mark.parametrize(
    ("then", "now", "wanted"),
    [
        (V2 + b"INBOX\nArchive\t2024\n", V2, V2 + b"INBOX\nArchive\t2024\n"),
        (V2 + b"INBOX\n", V2 + b"Archive\t2024\nLater\n", V2 + b"Later\nINBOX\n"),
        (b"Archive.2024\nSent\n", V2 + b"Sent\n", V2 + b"Sent\nArchive\t2024\n"),
        (b"Archive/2024\nA.B\n", V2, V2 + b"Archive\t2024\nA.B\n"),
        (V2 + b"Archive\t2024\n", b"Sent\n", b"Archive.2024\n"),
        (V2 + b"Entw&APw-rfe\n", V2, V2 + b"Entw&APw-rfe\n"),
        (V2, V2 + b"Entw&APw-rfe\nEntw\xc3\xbcrfe\n", V2),
        (V2 + b"Sent\n", b"", V2 + b"Sent\n"),
    ],
)
def test_merged(then: bytes, now: bytes, wanted: bytes) -> None:
    folders = ["INBOX", "Archive/2024", "Sent", "Entwürfe"]
    assert merged(then, now, folders) == wanted
    assert merged(then, wanted, folders) == wanted


def test_under_the_lock_of_the_server(tmp_path: Path) -> None:
    (tmp_path / "subscriptions").write_bytes(V2 + b"Sent\n")
    (tmp_path / "subscriptions").chmod(0o640)
    lock = tmp_path / "subscriptions.lock"
    lock.touch()
    timer = threading.Timer(0.2, lock.unlink)
    timer.start()
    files = FileWriter(Notices())
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert differ(fd, V2 + b"INBOX\n", ["Sent"])
        assert change(fd, V2 + b"INBOX\n", ["Sent"], files)
        assert not change(fd, V2 + b"INBOX\n", ["Sent"], files)
        assert not differ(fd, V2 + b"INBOX\n", ["Sent"])
    finally:
        os.close(fd)
        timer.join()
    assert (tmp_path / "subscriptions").read_bytes() == V2 + b"INBOX\n"
    assert (tmp_path / "subscriptions").stat().st_mode & 0o777 == 0o640
    assert not lock.exists()
