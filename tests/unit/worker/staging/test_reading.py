"""Reading for other hosts: only archives, only with a grant for them, only some at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailhaul.proto.errors import AccessError, StagingError
from mailhaul.proto.wire.envelopes import Bytes, Find, Found, Read, Refused
from mailhaul.proto.wire.grants import Grant
from mailhaul.worker.archives.names import excerpt_name
from mailhaul.worker.staging.partial import partial_path
from mailhaul.worker.staging.reading import MOST_REQUESTS, Answer, OpenRequests, Request, answer

FILE = "primary/user/x.0.0123456789abcdef.mha"
ANY = Grant("read", "store01", "", 0, 10**12)


@pytest.fixture
def area(tmp_path: Path) -> Path:
    path = tmp_path / FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"0123456789")
    return tmp_path


def find(file: str) -> Request:
    return Request(b"c", Find(5, b"", file))


def read(file: str, offset: int, length: int, epoch: int = -1) -> Request:
    return Request(b"c", Read(5, b"", file, offset, length), epoch)


def refused(told: Answer) -> str:
    assert isinstance(told.envelope, Refused)
    assert (told.envelope.what, told.envelope.number) == ("request", 5)
    return told.envelope.code


def test_finding_and_reading(area: Path) -> None:
    assert answer(area, find(FILE)) == Answer(b"c", Found(5, 10))
    assert answer(area, read(FILE, 2, 3)) == Answer(b"c", Bytes(5, 2), b"234")
    assert answer(area, read(FILE, 8, 30)) == Answer(b"c", Bytes(5, 8), b"89")
    assert answer(area, read(FILE, 30, 30)) == Answer(b"c", Bytes(5, 30), b"")


def test_what_is_not_there(area: Path) -> None:
    assert refused(answer(area, find("primary/user/y.0.0123456789abcdef.mha"))) == "not-found"
    assert refused(answer(area, read("primary/other/y.0.0123456789abcdef.mha", 0, 1))) == "not-found"


def test_what_is_no_archive(area: Path) -> None:
    (area / "primary/user/link.0.0123456789abcdef.mha").symlink_to(area / FILE)
    (area / "primary/user/directory.0.0123456789abcdef.mha").mkdir()
    os.mkfifo(area / "primary/user/fifo.0.0123456789abcdef.mha")
    for name in ("link.0", "directory.0", "fifo.0", "../user/x.0"):
        assert refused(answer(area, find(f"primary/user/{name}.mha"))) == "access"
        assert refused(answer(area, read(f"primary/user/{name}.mha", 0, 1))) == "access"


def test_a_draft_only_with_its_epoch(area: Path) -> None:
    name = "primary/user/y.0.0123456789abcdef.mha"
    partial_path(area / name, 3).write_bytes(b"draft")
    assert answer(area, read(name, 0, 5, 3)).payload == b"draft"
    assert refused(answer(area, read(name, 0, 5, 2))) == "not-found"
    assert refused(answer(area, read(name, 0, 5))) == "not-found"
    assert refused(answer(area, find(name))) == "not-found"


@pytest.mark.parametrize(
    ("grant", "epoch"),
    [
        (ANY, -1),
        (Grant("read", "store01", FILE, 0, 10**12), -1),
        (Grant("write", "store01", FILE, 7, 10**12), 7),
    ],
)
def test_with_a_grant(grant: Grant, epoch: int) -> None:
    asked = Find(5, b"", FILE)
    assert OpenRequests().admit(b"c", asked, grant) == Request(b"c", asked, epoch)


@pytest.mark.parametrize(
    "grant",
    [
        Grant("read", "store01", "primary/user/y.0.0123456789abcdef.mha", 0, 10**12),
        Grant("write", "store01", "primary/user/y.0.0123456789abcdef.mha", 0, 10**12),
        Grant("write", "store01", "", 0, 10**12),
    ],
)
def test_without_one(grant: Grant) -> None:
    with pytest.raises(AccessError):
        OpenRequests().admit(b"c", Find(5, b"", FILE), grant)


def test_some_at_a_time() -> None:
    requests, asked = OpenRequests(), Read(5, b"", FILE, 0, 1)
    for _ in range(MOST_REQUESTS):
        requests.admit(b"a", asked, ANY)
    with pytest.raises(StagingError) as caught:
        requests.admit(b"a", asked, ANY)
    assert caught.value.retryable
    requests.admit(b"b", asked, ANY)
    requests.answered(b"a")
    requests.admit(b"a", asked, ANY)
    for _ in range(MOST_REQUESTS):
        requests.answered(b"a")
    requests.answered(b"gone")
    for _ in range(MOST_REQUESTS):
        requests.admit(b"a", asked, ANY)


def test_what_was_kept_before_a_restore(area: Path) -> None:
    """And nothing else that lies beside it."""
    kept = area / ".mailhaul" / "restores" / "20261121T031500Z-4f3a" / "before.1.0011223344556677"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"kept")
    name = str(kept.relative_to(area))
    sent = f"{name}.0123456789abcdef"
    partial_path(area / sent, 2).write_bytes(b"draft")
    assert answer(area, find(name)) == Answer(b"c", Found(5, 4))
    assert answer(area, read(name, 1, 2)).payload == b"ep"
    assert answer(area, read(sent, 0, 5, 2)).payload == b"draft"
    assert refused(answer(area, find(sent))) == "not-found"
    kept.with_name("order.json").write_bytes(b"{}")
    for wrong in ("order.json", "before.1.0011223344556677.unkept", "../../grants.key"):
        assert refused(answer(area, find(f"{kept.parent.relative_to(area)}/{wrong}"))) == "access"


def test_excerpts_are_read_as_archives_are(area: Path) -> None:
    """An archive that has left the staging area is known to the other hosts from these."""
    name = excerpt_name(FILE)
    assert refused(answer(area, find(name))) == "not-found"
    (area / name).parent.mkdir(parents=True)
    (area / name).write_bytes(b"excerpt")
    assert answer(area, find(name)) == Answer(b"c", Found(5, 7))
    assert answer(area, read(name, 2, 3)) == Answer(b"c", Bytes(5, 2), b"cer")
    for wrong in (
        f"_metadata/{FILE}",
        "_metadata/x.mhx",
        "_metadata/../primary/user/x.0.0123456789abcdef.mhx",
    ):
        assert refused(answer(area, find(wrong))) in ("access", "not-found")
    (area / "_metadata" / "linked").symlink_to(area / "_metadata" / "primary")
    assert refused(answer(area, find(name.replace("primary", "linked")))) == "access"
