"""What goes wrong between us and a real object storage: nothing is stored twice or half, nothing is left
behind, and what can't be done is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mailhaul.proto.errors import AccessError, DamagedError, PlaceError, PlaceUnavailableError
from mailhaul.proto.structs import replace
from mailhaul.tests.contract.putting import Pattern
from mailhaul.tests.integration.servers.object_storage import S3Server
from mailhaul.tests.integration.servers.rgw import rgw
from mailhaul.worker.archives.ports import Copy
from mailhaul.worker.destinations.s3.dialect import keep_dialect
from mailhaul.worker.destinations.s3.place import S3Place
from mailhaul.worker.destinations.settings import S3Destination

from .http_proxy import Fault, HttpProxy

pytestmark = pytest.mark.xdist_group("object storage")

NAME = "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.mha"
SMALL = 2000
PARTS = (8 << 20) * 2 + 77


@dataclass
class Bench:
    """A destination behind a proxy, in a bucket with versions, where all that was ever stored is seen."""

    server: S3Server
    proxy: HttpProxy
    settings: S3Destination
    waits: list[float] = field(default_factory=list)

    @property
    def client(self) -> Any:
        return self.server.client()

    def open(self, **changes: Any) -> S3Place:
        return S3Place(replace(self.settings, **changes), sleep=self.waits.append)

    def put(self, size: int = PARTS, salt: bytes = b"") -> Copy:
        with closing(self.open()) as place:
            return place.put(NAME, Pattern(size, salt))

    def versions(self) -> list[str]:
        listed = self.client.list_object_versions(Bucket=self.settings.bucket)
        return [one["VersionId"] for one in listed.get("Versions", ())]

    def uploads(self) -> int:
        return len(self.client.list_multipart_uploads(Bucket=self.settings.bucket).get("Uploads", ()))

    def written_down(self) -> int:
        return len(list(Path(self.settings.journal).glob("*.upload")))

    def check_stored_once(self, copy: Copy, size: int = PARTS) -> None:
        """Exactly one object was ever made, of the right bytes, and nothing is left of its way."""
        assert self.versions() == [copy.version]
        body = self.client.get_object(Bucket=self.settings.bucket, Key=self.settings.prefix + NAME)["Body"]
        assert body.read() == Pattern(size).read_at(0, size)
        assert (self.uploads(), self.written_down()) == (0, 0)
        self.proxy.check()

    def check_nothing_stored(self) -> None:
        assert (self.versions(), self.uploads(), self.written_down()) == ([], 0, 0)
        self.proxy.check()


@pytest.fixture
def bench(require_tool: Callable[[str], Path], tmp_path: Path) -> Iterator[Bench]:
    server = rgw(require_tool)
    bucket = server.new_bucket()
    server.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    with HttpProxy(server.port) as proxy:
        settings = server.destination(bucket, tmp_path / "journal", port=proxy.port)
        keep_dialect(settings.journal, server.dialect())
        yield Bench(server, proxy, settings)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("answer", "PUT", "partNumber", 2, 500),
        Fault("answer", "PUT", "partNumber", 3, 503, "SlowDown"),
        Fault("answer", "PUT", "partNumber", 2, 429, "TooManyRequests"),
        Fault("answer", "PUT", "partNumber", 1, 403, "AccessDenied"),
        Fault("answer", "PUT", "partNumber", 1, 403, "SignatureDoesNotMatch"),
        Fault("answer", "PUT", "partNumber", 1, 400, "RequestTimeout"),
        Fault("reset", "PUT", "partNumber", 2),
        Fault("lost", "PUT", "partNumber", 2),
        Fault("half", "PUT", "partNumber", 2),
        Fault("spoil", "PUT", "partNumber", 2),
        Fault("answer", "POST", "uploads", 1, 503, "ServiceUnavailable"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.method}-{fault.query}-{fault.code}",
)
def test_parts_arrive_in_the_end(bench: Bench, fault: Fault) -> None:
    bench.proxy.plan(fault)
    bench.check_stored_once(bench.put())
    assert bench.waits


@pytest.mark.parametrize(
    "fault",
    [
        Fault("answer", "PUT", "", 2, 503, "SlowDown"),
        Fault("reset", "PUT"),
        Fault("lost", "PUT"),  # the second try finds what the first one has stored
        Fault("half", "PUT"),
        Fault("spoil", "PUT"),
    ],
    ids=lambda fault: fault.kind,
)
def test_a_small_file_is_stored_once(bench: Bench, fault: Fault) -> None:
    bench.proxy.plan(fault)
    bench.check_stored_once(bench.put(SMALL), SMALL)


def test_a_lost_answer_to_the_end_of_an_upload_is_found_out(bench: Bench) -> None:
    bench.proxy.plan(Fault("lost", "POST", "uploadId"))
    bench.check_stored_once(bench.put())
    assert bench.proxy.count("POST", "uploadId") == 1


def test_an_error_that_calls_itself_a_success(bench: Bench) -> None:
    bench.proxy.plan(Fault("answer", "POST", "uploadId", 1, 200, "InternalError"))
    with pytest.raises(PlaceUnavailableError):
        bench.put()
    bench.check_nothing_stored()
    bench.check_stored_once(bench.put())


@pytest.mark.parametrize("kind", ["reset", "answer"])
def test_an_upload_that_is_not_completed_is_given_up(bench: Bench, kind: Any) -> None:
    bench.proxy.plan(Fault(kind, "POST", "uploadId", 1, 503))
    with pytest.raises(PlaceUnavailableError):
        bench.put()
    bench.check_nothing_stored()
    bench.check_stored_once(bench.put())


def test_what_is_refused_in_the_middle_is_given_up(bench: Bench) -> None:
    bench.proxy.plan(Fault("answer", "PUT", "partNumber", 1, 403, "QuotaExceeded"))
    with pytest.raises(PlaceError, match="QuotaExceeded") as full:
        bench.put()
    assert full.value.code == "place-full"
    bench.check_nothing_stored()


def test_who_is_away_is_not_asked_for_ever(bench: Bench) -> None:
    away = Fault("reset", "PUT", "partNumber", 1000)
    gone = Fault("reset", "DELETE", "uploadId", 1000)
    bench.proxy.plan(away, gone)
    with pytest.raises(PlaceUnavailableError):
        bench.put()
    assert away.fired < 40
    assert gone.fired < 10
    assert (bench.uploads(), bench.written_down()) == (1, 1)
    bench.proxy.faults = []
    with closing(bench.open()) as place:
        assert place.stat(NAME) is None
        assert (bench.uploads(), bench.written_down()) == (0, 0)
    bench.check_stored_once(bench.put())


def test_a_key_that_does_not_fit_is_not_tried_for_ever(bench: Bench) -> None:
    credentials = Path(bench.settings.credentials)
    credentials.write_text(credentials.read_text().replace(bench.server.secret, "another"))
    with closing(bench.open()) as place, pytest.raises(AccessError, match="403"):
        place.stat(NAME)
    assert len(bench.proxy.seen) <= 3


def test_an_answer_that_breaks_off_is_asked_for_again(bench: Bench) -> None:
    copy = bench.put()
    bench.proxy.plan(Fault("short", "GET", "", 2), Fault("answer", "GET", "", 1, 503, "SlowDown"))
    with closing(bench.open()) as place:
        assert place.open(NAME, copy.version).read_at(5, 9 << 20) == Pattern(PARTS).read_at(5, 9 << 20)
    bench.proxy.check()


def test_one_stretch_is_one_request_of_its_size(bench: Bench) -> None:
    copy = bench.put()
    with closing(bench.open()) as place:
        file = place.open(NAME, copy.version)
        bench.proxy.seen.clear()
        assert len(file.read_at(7 << 20, 3 << 20)) == 3 << 20
    (seen,) = bench.proxy.seen
    assert (seen.method, seen.status, seen.received_bytes) == ("GET", 206, 3 << 20)


def test_what_vanishes_afterwards_is_told(bench: Bench) -> None:
    copy = bench.put()
    with closing(bench.open()) as place:
        file = place.open(NAME, copy.version)
        bench.client.delete_object(
            Bucket=bench.settings.bucket, Key=bench.settings.prefix + NAME, VersionId=copy.version
        )
        assert place.stat(NAME, copy.version) is None
        with pytest.raises(DamagedError, match="is not there any more"):
            file.read_at(0, 10)


def test_a_bucket_that_is_gone_is_no_missing_file(bench: Bench) -> None:
    with closing(bench.open(bucket="never-made")) as place, pytest.raises(PlaceError, match="no bucket"):
        place.stat(NAME)


def test_a_server_that_is_not_there_is_unavailable(bench: Bench) -> None:
    with closing(bench.open(endpoint="http://127.0.0.1:9")) as place:
        with pytest.raises(PlaceUnavailableError):
            place.stat(NAME)
    assert len(bench.waits) == 5
