"""What the server of a drill may write to: the mailbox, and nothing that root reads or writes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mailhaul.worker.proving.scratch_server import given_away


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_of_the_mail_gets_the_mailbox_and_not_the_configuration(tmp_path: Path) -> None:
    place = tmp_path / "place"
    mail = place / "proof" / "Maildir"
    (mail / "cur").mkdir(parents=True)
    (mail / "cur" / "1").write_bytes(b"x")
    (mail / "cur" / "2").symlink_to(tmp_path / "another")
    (tmp_path / "another").touch()
    place.chmod(0o700)
    os.chown(mail, 64_001, 64_002)
    assert given_away(place, mail) == (64_001, 64_002)
    for given in (place / "proof", mail, mail / "cur", mail / "cur" / "1"):
        assert (given.stat().st_uid, given.stat().st_gid) == (64_001, 64_002)
    assert (tmp_path / "another").stat().st_uid == 0
    there = place.stat()
    assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (0, 64_002, 0o710)
