"""Object storage on real servers: what the port promises, and what only they have."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from mailhaul.proto.errors import ExistsError, LockedUntilError, NotYetError, PlaceError
from mailhaul.proto.structs import replace
from mailhaul.tests.contract.places import Adapter, bucket_adapter
from mailhaul.tests.contract.putting import Pattern
from mailhaul.tests.contract.test_places import (  # noqa: F401
    place,
    test_a_put_can_be_repeated,
    test_a_put_that_was_killed_leaves_nothing,
    test_a_version_that_is_not_there_is_missing,
    test_an_empty_place_has_nothing,
    test_any_part_can_be_read,
    test_hostile_names_are_passed_over,
    test_locked_copies_stay,
    test_names_are_listed_by_how_they_begin,
    test_nothing_is_overwritten,
    test_what_is_put_is_there,
    test_what_is_removed_is_gone,
)
from mailhaul.worker.archives.ports import Copy
from mailhaul.worker.destinations.registry import open_destination
from mailhaul.worker.destinations.s3 import putting
from mailhaul.worker.destinations.s3.dialect import Dialect, keep_dialect
from mailhaul.worker.destinations.s3.probing import probe
from mailhaul.worker.destinations.s3.uploads import Uploads
from mailhaul.worker.destinations.settings import S3Destination

from .servers.object_storage import S3Server, moto
from .servers.rgw import rgw
from .servers.swift import swift

pytestmark = pytest.mark.xdist_group("object storage")

NAME = "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.mha"
SMALL = 2000
PARTS = (8 << 20) + 5
SERVERS = {"rgw": rgw, "swift": swift}


@pytest.fixture(params=sorted(SERVERS))
def server(request: pytest.FixtureRequest, require_tool: Callable[[str], Path]) -> S3Server:
    """Each server, started once."""
    return SERVERS[request.param](require_tool)


@pytest.fixture
def adapter(server: S3Server, tmp_path: Path) -> Adapter:
    """For the contract: an empty bucket of a server."""
    return bucket_adapter(server, tmp_path)


@pytest.fixture
def ceph(require_tool: Callable[[str], Path]) -> S3Server:
    return rgw(require_tool)


@pytest.fixture
def locking(ceph: S3Server, tmp_path: Path) -> S3Destination:
    """A bucket with Object Lock."""
    settings = ceph.destination(ceph.new_bucket(locks=True), tmp_path / "journal", lock="compliance")
    keep_dialect(settings.journal, ceph.dialect())
    return settings


def put(settings: S3Destination, size: int = SMALL, salt: bytes = b"", until: datetime | None = None) -> Copy:
    with closing(open_destination(settings)) as opened:
        return opened.put(NAME, Pattern(size, salt), lock_until=until)


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_the_dialect_of_ceph(ceph: S3Server, tmp_path: Path) -> None:
    with_versions = ceph.dialect()
    assert (with_versions.checks_md5, with_versions.versions, with_versions.locks) == (True, True, True)
    plain = probe(ceph.destination(ceph.new_bucket(), tmp_path / "journal"))
    assert (plain.checks_md5, plain.versions, plain.locks) == (True, False, False)
    # Seen with 16.2: where objects have versions, the condition is passed over and another version is made.
    assert plain.only_new
    assert plain.removes


def test_the_dialect_of_swift(require_tool: Callable[[str], Path]) -> None:
    found = swift(require_tool).dialect()
    assert (found.only_new, found.checks_md5, found.versions, found.locks) == (False, True, False, False)


def test_a_server_that_does_not_lock_is_found_out(
    require_tool: Callable[[str], Path], tmp_path: Path
) -> None:
    server = swift(require_tool)
    settings = server.destination(server.new_bucket(), tmp_path / "journal", lock="compliance")
    with pytest.raises(PlaceError):
        probe(settings)


def test_locks_hold_until_their_end(ceph: S3Server, locking: S3Destination) -> None:
    other = NAME.replace("user", "other")
    with closing(open_destination(locking)) as opened:
        copies = [opened.put(NAME, Pattern(SMALL)), opened.put(other, Pattern(PARTS))]
        for copy in copies:
            until = soon(10)  # for each: on a busy machine the first ones take their time
            locked_until = opened.lock(copy.name, copy.version, until)
            assert locked_until >= until
            told = ceph.client().get_object_retention(
                Bucket=locking.bucket, Key=locking.prefix + copy.name, VersionId=copy.version
            )["Retention"]
            assert (told["Mode"], told["RetainUntilDate"]) == ("COMPLIANCE", locked_until)
            assert opened.lock(copy.name, copy.version, until - timedelta(seconds=5)) == locked_until
            with pytest.raises(LockedUntilError) as locked:
                opened.remove(copy.name, copy.version)
            assert locked.value.facts["until"] == locked_until
        threading.Event().wait(max(0, (until - datetime.now(UTC)).total_seconds() + 1.2))
        for copy in copies:
            opened.remove(copy.name, copy.version)
            assert opened.stat(copy.name, copy.version) is None


def test_what_a_server_drops_is_set_nevertheless(ceph: S3Server, locking: S3Destination) -> None:
    # What is told when an upload in parts begins is dropped there: that is why it is set afterwards.
    client, key = ceph.client(), "probe"
    upload = client.create_multipart_upload(
        Bucket=locking.bucket,
        Key=key,
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=soon(3600),
    )["UploadId"]
    facts = {"Bucket": locking.bucket, "Key": key, "UploadId": upload}
    part = {"PartNumber": 1, "ETag": client.upload_part(**facts, PartNumber=1, Body=b"x")["ETag"]}
    client.complete_multipart_upload(**facts, MultipartUpload={"Parts": [part]})
    with pytest.raises(ClientError):
        client.get_object_retention(Bucket=locking.bucket, Key=key)
    until = soon(3600)
    copy = put(locking, PARTS, until=until)
    assert copy.locked_until is not None
    assert copy.locked_until >= until


def test_a_lock_is_set_on_what_was_there_already(locking: S3Destination) -> None:
    first = put(locking)
    assert first.locked_until is None
    again = put(locking, until=soon(3600))
    assert (again.version, again.locked_until is None) == (first.version, False)


def test_a_legal_hold_has_no_end(ceph: S3Server, locking: S3Destination) -> None:
    copy = put(replace(locking, legal_hold=True), PARTS)
    with closing(open_destination(locking)) as opened:
        with pytest.raises(LockedUntilError, match="legal hold"):
            opened.remove(NAME, copy.version)
        ceph.client().put_object_legal_hold(
            Bucket=locking.bucket,
            Key=locking.prefix + NAME,
            VersionId=copy.version,
            LegalHold={"Status": "OFF"},
        )
        opened.remove(NAME, copy.version)


def test_a_version_is_read_whatever_hides_it(ceph: S3Server, locking: S3Destination) -> None:
    copy = put(locking)
    client, key = ceph.client(), locking.prefix + NAME
    client.put_object(Bucket=locking.bucket, Key=key, Body=b"of somebody else")
    client.delete_object(Bucket=locking.bucket, Key=key)
    with closing(open_destination(locking)) as opened:
        assert opened.stat(NAME) is None
        assert opened.open(NAME, copy.version).read_at(0, SMALL) == Pattern(SMALL).read_at(0, SMALL)
        assert copy.version in {one.version for one in opened.list()}
        assert len(list(opened.list())) == 2


@pytest.mark.parametrize("size", [SMALL, PARTS])
def test_two_that_put_at_once_make_one_of_it(ceph: S3Server, tmp_path: Path, size: int) -> None:
    bucket = ceph.new_bucket()
    made: list[Copy] = []
    refused: list[ExistsError] = []
    start = threading.Barrier(2)

    def work(number: int) -> None:
        settings = ceph.destination(bucket, tmp_path / f"journal{number}")
        keep_dialect(settings.journal, replace(ceph.dialect(), only_new=True, versions=False, locks=False))
        start.wait(30)
        try:
            made.append(put(settings, size))
        except ExistsError as error:
            refused.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert (len(made), refused) == (2, [])
    assert made[0].checksum == made[1].checksum


def test_tags_are_there_after_an_upload_in_parts(ceph: S3Server, tmp_path: Path) -> None:
    bucket = ceph.new_bucket()
    settings = ceph.destination(bucket, tmp_path / "journal", tags=(("what", "mail"),))
    keep_dialect(settings.journal, replace(ceph.dialect(), versions=False, locks=False))
    put(settings, PARTS)
    told = ceph.client().get_object_tagging(Bucket=bucket, Key=settings.prefix + NAME)
    assert told["TagSet"] == [{"Key": "what", "Value": "mail"}]


def test_a_storage_class_that_is_not_there_is_told(ceph: S3Server, tmp_path: Path) -> None:
    settings = ceph.destination(ceph.new_bucket(), tmp_path / "journal", storage_class="GLACIER")
    with pytest.raises(PlaceError, match="storage class"):
        probe(settings)


def test_what_is_cold_is_asked_for_first(tmp_path: Path) -> None:
    server = moto()
    bucket = server.new_bucket()
    settings = server.destination(bucket, tmp_path / "journal", storage_class="GLACIER")
    keep_dialect(settings.journal, Dialect(checks_md5=True))
    copy, end = put(settings, PARTS), "_runs/20261121T031500Z-4f3a.0.0123456789abcdef.mha"
    with closing(open_destination(settings)) as opened:
        opened.put(end, Pattern(SMALL))
        assert opened.open(end).size == SMALL
        with pytest.raises(NotYetError):
            opened.open(NAME, copy.version)
        # What it is has been told beforehand: it need not be thawed to be known again, or told from another.
        assert put(settings, PARTS) == copy
        with pytest.raises(ExistsError):
            put(settings, PARTS, b"other")
    for _ in range(2):
        with closing(open_destination(settings)) as opened:
            opened.request([(NAME, copy.version), (end, "")])
    with closing(open_destination(settings)) as opened:
        assert opened.open(NAME, copy.version).read_at(0, 9) == Pattern(9).read_at(0, 9)


def test_old_uploads_that_nobody_wrote_down_are_given_up(
    ceph: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a staging area that was lost: neither young ones, nor what is written down, nor others'."""
    settings = ceph.destination(ceph.new_bucket(), tmp_path / "journal")
    keep_dialect(settings.journal, ceph.dialect())
    client = ceph.client()

    def begun(key: str) -> str:
        return str(client.create_multipart_upload(Bucket=settings.bucket, Key=key)["UploadId"])

    def left() -> set[str]:
        return {
            one["UploadId"]
            for one in client.list_multipart_uploads(Bucket=settings.bucket).get("Uploads", ())
        }

    forgotten, others = begun(settings.prefix + NAME), begun("elsewhere/a.mha")
    put(settings)
    assert left() == {forgotten, others}
    known = begun(settings.prefix + "b.mha")
    upload = Uploads(settings.journal).begin("b.mha", "token")
    upload.record(known)
    monkeypatch.setattr(putting, "_FORGOTTEN_AFTER", timedelta(minutes=-1))
    put(settings)
    assert left() == {known, others}
    upload.end()


def test_a_forked_process_has_a_client_of_its_own(ceph: S3Server, tmp_path: Path) -> None:
    settings = ceph.destination(ceph.new_bucket(), tmp_path / "journal")
    keep_dialect(settings.journal, replace(ceph.dialect(), versions=False, locks=False))
    with closing(open_destination(settings)) as opened:
        copy = opened.put(NAME, Pattern(PARTS))
        child = os.fork()
        if child == 0:
            try:
                other = NAME.replace("user", "other")
                opened.put(other, Pattern(PARTS))
                os._exit(0 if opened.stat(NAME) is not None else 1)
            except BaseException:
                os._exit(2)
        assert opened.stat(NAME) is not None
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert opened.open(NAME, copy.version).read_at(0, 9) == Pattern(9).read_at(0, 9)


def test_memory_does_not_depend_on_the_size(ceph: S3Server, tmp_path: Path) -> None:
    settings = ceph.destination(ceph.new_bucket(), tmp_path / "journal")
    keep_dialect(settings.journal, replace(ceph.dialect(), versions=False, locks=False))
    code = (
        "import pickle, re, sys\n"
        "from mailhaul.tests.contract.putting import Pattern\n"
        "from mailhaul.worker.destinations.registry import open_destination\n"
        "settings, name, size = pickle.load(sys.stdin.buffer)\n"
        "open_destination(settings).put(name, Pattern(size))\n"
        # Not ru_maxrss: that begins with what the process has that starts this.
        "print(re.search('VmHWM:\\\\s+([0-9]+)', open('/proc/self/status').read())[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps((settings, NAME, 300 << 20)),
        capture_output=True,
        timeout=250,
        check=True,
    )
    assert int(done.stdout) * 1024 <= 200_000_000
