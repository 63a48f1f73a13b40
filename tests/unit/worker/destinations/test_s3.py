"""The parts of object storage that need no server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    SSLError,
)

from mailhaul.proto.errors import (
    AccessError,
    DamagedError,
    PlaceError,
    PlaceFullError,
    PlaceUnavailableError,
)
from mailhaul.tests.contract.putting import Pattern
from mailhaul.worker.destinations.s3.answers import Meaning, meaning_of, translated
from mailhaul.worker.destinations.s3.credentials import read_credentials
from mailhaul.worker.destinations.s3.dialect import Dialect, keep_dialect, kept_dialect
from mailhaul.worker.destinations.s3.pace import Pace
from mailhaul.worker.destinations.s3.parts import (
    AT_HAND_BYTES,
    MOST_PARTS,
    USUAL_PART_BYTES,
    ReadOnce,
    digest_of,
    on_their_way,
    part_bytes,
)
from mailhaul.worker.destinations.s3.uploads import Uploads

MIB = 1 << 20
TIB = 1 << 40


def answer(status: int, code: str = "") -> ClientError:
    return ClientError(
        {"Error": {"Code": code or str(status)}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject"
    )


@pytest.mark.parametrize("size", [0, 1, USUAL_PART_BYTES, 48 << 30, 79 << 30, 1 * TIB, 5 * TIB])
def test_parts_are_neither_too_many_nor_too_short(size: int) -> None:
    length = part_bytes(size)
    assert -(-size // length) <= MOST_PARTS
    assert 5 * MIB <= length <= 5 << 30


@pytest.mark.parametrize("size", [1, 48 << 30, 400 << 30])
def test_the_parts_on_their_way_fit_into_memory(size: int) -> None:
    length = part_bytes(size)
    # One is being read meanwhile.
    assert (on_their_way(length, 16) + 1) * length <= AT_HAND_BYTES
    assert on_their_way(length, 1) == 1


def test_what_is_read_once_is_told_by_its_digest() -> None:
    source = Pattern(3 * MIB + 5)
    reading = ReadOnce(source)
    buffer = bytearray(MIB)
    parts = []
    while reading.left:
        parts.append(bytes(reading.fill(buffer)))
    assert [len(part) for part in parts] == [MIB, MIB, MIB, 5]
    assert b"".join(parts) == source.read_at(0, source.size)
    assert reading.digest == blake3(b"".join(parts)).digest()


def test_a_source_that_ends_early_is_told() -> None:
    source = Pattern(10)
    source.read_at = lambda offset, length: b"12345"[offset:]  # type: ignore[method-assign]
    with pytest.raises(DamagedError):
        digest_of(source)


@pytest.mark.parametrize(
    ("error", "meaning", "ours"),
    [
        (answer(503, "SlowDown"), Meaning.BUSY, PlaceUnavailableError),
        (answer(429), Meaning.BUSY, PlaceUnavailableError),
        (answer(503), Meaning.BUSY, PlaceUnavailableError),
        (answer(500), Meaning.UNKNOWN, PlaceUnavailableError),
        (answer(502), Meaning.UNKNOWN, PlaceUnavailableError),
        (answer(200, "InternalError"), Meaning.UNKNOWN, PlaceUnavailableError),
        (answer(400, "BadDigest"), Meaning.SPOILT, PlaceUnavailableError),
        (answer(403, "AccessDenied"), Meaning.DENIED, AccessError),
        (answer(403), Meaning.DENIED, AccessError),
        (answer(403, "SignatureDoesNotMatch"), Meaning.SIGNATURE, AccessError),
        (answer(403, "InvalidAccessKeyId"), Meaning.STRANGER, AccessError),
        (answer(400, "ExpiredToken"), Meaning.STRANGER, AccessError),
        (answer(403, "QuotaExceeded"), Meaning.FULL, PlaceFullError),
        (answer(507), Meaning.FULL, PlaceFullError),
        (answer(403, "RequestTimeTooSkewed"), Meaning.REFUSED, PlaceError),
        (answer(404, "NoSuchBucket"), Meaning.REFUSED, PlaceError),
        (answer(404), Meaning.MISSING, PlaceError),
        (answer(400, "InvalidArgument"), Meaning.REFUSED, PlaceError),
        (EndpointConnectionError(endpoint_url="http://h"), Meaning.UNKNOWN, PlaceUnavailableError),
        (ConnectTimeoutError(endpoint_url="http://h"), Meaning.UNKNOWN, PlaceUnavailableError),
        (ConnectionResetError(), Meaning.UNKNOWN, PlaceUnavailableError),
        (SSLError(endpoint_url="https://h", error="expired"), Meaning.REFUSED, PlaceError),
        (NoCredentialsError(), Meaning.STRANGER, AccessError),
    ],
    ids=str,
)
def test_answers_and_what_they_mean(error: Exception, meaning: Meaning, ours: type[PlaceError]) -> None:
    assert meaning_of(error) is meaning
    found = translated(error, meaning, "vault", "name")
    assert type(found) is ours
    assert found.message.startswith("vault: name: ")
    assert found.facts["words"]


def test_a_wrong_clock_is_told() -> None:
    error = answer(403, "RequestTimeTooSkewed")
    assert "clock" in translated(error, meaning_of(error), "vault", "name").message


def test_credentials_are_read_as_a_shell_would(tmp_path: Path) -> None:
    path = tmp_path / "key.env"
    path.touch(mode=0o600)
    path.write_text(
        "# of the sweep\n\nexport AWS_ACCESS_KEY_ID='key'\nAWS_SECRET_ACCESS_KEY=se=cret\n"
        "OTHER=x\nAWS_SESSION_TOKEN=\n"
    )
    found = read_credentials(str(path))
    assert (found.key, found.secret, found.session) == ("key", "se=cret", "")
    assert "cret" not in repr(found)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_credentials_that_lie_open_are_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.env"
    path.write_text("AWS_ACCESS_KEY_ID=k\nAWS_SECRET_ACCESS_KEY=s\n")
    path.chmod(mode)
    with pytest.raises(AccessError, match="chmod 600"):
        read_credentials(str(path))


@pytest.mark.parametrize(
    "text", ["", "AWS_ACCESS_KEY_ID=k\n", "#AWS_SECRET_ACCESS_KEY=s\nAWS_ACCESS_KEY_ID=k"]
)
def test_credentials_without_a_key_are_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.env"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(AccessError, match="is not there"):
        read_credentials(str(path))
    with pytest.raises(AccessError):
        read_credentials(str(tmp_path / "nowhere"))


def test_a_dialect_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "journal"
    assert kept_dialect(str(place)) is None
    dialect = Dialect(only_new=True, locks=True)
    keep_dialect(str(place), dialect)
    assert kept_dialect(str(place)) == dialect
    (place / "dialect.json").write_text('{"only_new": true}')
    assert kept_dialect(str(place)) is None


def test_uploads_are_written_down_until_they_end(tmp_path: Path) -> None:
    uploads = Uploads(str(tmp_path / "journal"))
    assert list(uploads.orphans()) == []
    upload = uploads.begin("a/b.mha", "token1")
    upload.record("id 1")
    assert uploads.known_ids() == {"id 1"}
    assert list(uploads.orphans()) == []  # somebody works at it
    upload.leave()
    (orphan,) = uploads.orphans()
    assert (orphan.name, orphan.token, orphan.id) == ("a/b.mha", "token1", "id 1")
    assert list(uploads.orphans()) == []
    orphan.end()
    assert list((tmp_path / "journal").iterdir()) == []


def test_an_upload_whose_id_was_not_written_whole_has_none(tmp_path: Path) -> None:
    uploads = Uploads(str(tmp_path))
    uploads.begin("a", "t").leave()
    with (tmp_path / "t.upload").open("a") as file:
        file.write("id with no en")
    (orphan,) = uploads.orphans()
    assert (orphan.name, orphan.id) == ("a", "")
    orphan.leave()
    (tmp_path / "t.upload").write_bytes(b"{torn")
    assert list(uploads.orphans()) == []


def test_a_process_that_is_killed_leaves_an_orphan(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from mailhaul.worker.destinations.s3.uploads import Uploads\n"
        "Uploads(sys.argv[1]).begin('a', 't').record('id')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60, check=False)
    (orphan,) = Uploads(str(tmp_path)).orphans()
    assert orphan.id == "id"
    orphan.end()


def test_requests_keep_their_pace() -> None:
    now = [100.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(10, now=lambda: now[0], sleep=sleep)
    for _ in range(50):
        pace.spend()
    assert now[0] == pytest.approx(104, abs=0.2)
    Pace(0, sleep=sleep).spend()


def test_the_library_is_imported_only_when_it_is_needed() -> None:
    code = (
        "import sys\n"
        "import mailhaul.worker.destinations.registry\n"
        "sys.exit(any(one.startswith('botocore') for one in sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == os.EX_OK
