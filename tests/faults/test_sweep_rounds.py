"""Round after round something goes wrong between a staging area and an object storage and tapes: errors,
broken connections, wrong bytes, lost answers, objects that vanish, tapes that end and are damaged, kill -9 at
any step. Each round lasts until its fault has happened. After each: nothing is counted that is not there, the
next sweeps bring everything to both, the staging area is freed, and from one of the two alone moments are
read.

``--rounds 300`` has so many; what happened in them, and how often, is in the output (``-rP``).
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.fetching import fetch
from mailhaul.coordinator.history import ArchiveRecord
from mailhaul.coordinator.purging.purge import purge
from mailhaul.coordinator.purging.report import PurgeRequest
from mailhaul.coordinator.rebuilding import rebuild_catalog
from mailhaul.coordinator.retention import RetentionRules
from mailhaul.coordinator.settings import SweepRules
from mailhaul.coordinator.sweeping.report import SweepReport
from mailhaul.coordinator.verifying.copies import check_copies, due_copies
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import BackupError
from mailhaul.proto.records import STAGING, RunId
from mailhaul.proto.structs import replace
from mailhaul.worker.destinations import registry
from mailhaul.worker.destinations.s3 import putting
from mailhaul.worker.destinations.s3.bucket import Bucket
from mailhaul.worker.destinations.s3.connection import Connection
from mailhaul.worker.destinations.s3.dialect import keep_dialect
from mailhaul.worker.destinations.s3.place import S3Place
from mailhaul.worker.destinations.settings import Destination, S3Destination, TapeDestination
from mailhaul.worker.destinations.tape import file_library
from mailhaul.worker.destinations.tape.drive import EndOfTapeError
from mailhaul.worker.destinations.tape.file_drive import FileDrive, TapeEnd
from mailhaul.worker.destinations.tape.opening import open_tape
from mailhaul.worker.destinations.tape.stocktaking import take_stock

from ..integration.servers.object_storage import S3Server, moto
from ..staged_chains import State
from ..sweeping import HOUR, Swept, SweptChain
from ..tapes import copies_on, damage
from .http_proxy import Fault, HttpProxy
from .killed import killed_at

pytestmark = pytest.mark.xdist_group("object storage")

PART = 5 << 20
"""The least that servers take; what is longer is put in parts."""

PARTS = 3
NIGHTS = 8
"""So many rounds a site sees; another one begins then."""

KEPT = 2
TRIES = 12
"""So many nights are tried until what is to go wrong does."""

KILLED_BEFORE: list[tuple[Any, str]] = [
    (os, "fsync"),
    (os, "unlink"),
    (Path, "unlink"),
    (Catalog, "put_copies"),
    (Catalog, "free_staged"),
    (Bucket, "ask"),
    (Bucket, "ask_about"),
    (FileDrive, "write_record"),
    (FileDrive, "write_filemark"),
]

ANY_PUT: list[Callable[[], Fault]] = [
    lambda: Fault("answer", "PUT", "", 2, 500),
    lambda: Fault("answer", "PUT", "", 2, 503, "SlowDown"),
    lambda: Fault("answer", "PUT", "", 1, 429, "TooManyRequests"),
    lambda: Fault("answer", "PUT", "", 1, 403, "SignatureDoesNotMatch"),
    lambda: Fault("answer", "PUT", "", 1000, 503, "SlowDown"),
    lambda: Fault("answer", "PUT", "", 1000, 403, "QuotaExceeded"),
    lambda: Fault("reset", "PUT", "", 2),
    lambda: Fault("reset", "PUT", "", 1000),
    lambda: Fault("lost", "PUT"),
    lambda: Fault("half", "PUT"),
    lambda: Fault("spoil", "PUT"),
    lambda: Fault("answer", "HEAD", "", 2, 500),
    lambda: Fault("reset", "HEAD", "", 2),
]
IN_PARTS: list[Callable[[], Fault]] = [
    lambda: Fault("answer", "POST", "uploads", 1, 503, "SlowDown"),
    lambda: Fault("lost", "POST", "uploads"),
    lambda: Fault("answer", "PUT", "partNumber", 2, 500),
    lambda: Fault("half", "PUT", "partNumber"),
    lambda: Fault("spoil", "PUT", "partNumber"),
    lambda: Fault("lost", "PUT", "partNumber"),
    lambda: Fault("reset", "PUT", "partNumber", 1000),
    lambda: Fault("lost", "POST", "uploadId"),
    lambda: Fault("reset", "POST", "uploadId"),
    lambda: Fault("answer", "POST", "uploadId", 1, 503, "SlowDown"),
    lambda: Fault("answer", "POST", "uploadId", 1, 200, "InternalError"),
]
READ: list[Callable[[], Fault]] = [
    lambda: Fault("answer", "GET", "", 2, 500),
    lambda: Fault("answer", "GET", "", 2, 503, "SlowDown"),
    lambda: Fault("reset", "GET", "", 2),
    lambda: Fault("lost", "GET"),
    lambda: Fault("short", "GET"),
]


@dataclass
class Site:
    """A chain, an object storage behind a proxy, and tapes. ``hurt`` are the copies (place and name) that
    were tampered with since they were looked at."""

    place: Path
    server: S3Server
    proxy: HttpProxy
    rng: random.Random
    told: Counter[str] = field(default_factory=Counter)
    hurt: set[tuple[str, str]] = field(default_factory=set)
    sealed: dict[str, bytes] = field(default_factory=dict)
    _digests: dict[tuple[str, str, str], bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        staging = self.place / "staging"
        self.bucket = self.server.new_bucket()
        self.client = self.server.client()
        if self.rng.random() < 0.5:
            told = {"Status": "Enabled"}
            self.client.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration=told)
        cloud = self.server.destination(self.bucket, self.place / "journal", port=self.proxy.port)
        self.cloud = replace(cloud, name="cloud")
        keep_dialect(self.cloud.journal, self.server.dialect())
        self.drive = TapeDestination(
            name="drive",
            state=str(self.place / "state"),
            file=str(self.place / "tapes"),
            record_bytes=10_240,
            capacity_bytes=2 << 20,  # some archives do not fit on one, and every few rounds one is full
        )
        self.chain = SweptChain(staging)
        self.chain.destinations = (self.cloud, self.drive)
        rules = SweepRules(copies=("cloud", "drive"), keep_staged_seconds=0, keep_newest=False)
        self.swept = Swept(self.chain, (self.cloud, self.drive), rules)
        self.state: State = {user: {"INBOX": ()} for user in ("anna", "ben", "carl")}

    def round(self, trouble: Trouble) -> None:
        """Nights and sweeps until something goes wrong in one, and sweeps after which all is well."""
        for number in range(TRIES):
            self.night(in_parts=trouble.in_parts)
            fired = trouble.happens(self, number)
            self.proxy.faults = []
            self.check()
            if fired:
                break
        else:
            pytest.fail(f"{trouble.name}: has not happened")
        self.told[trouble.name] += 1
        print(trouble.name, flush=True)
        if self.rng.random() < 0.3:
            self.purge()
        self.heal()
        self.alone(self.cloud if self.rng.random() < 0.5 else self.drive)

    def night(self, *, in_parts: bool) -> None:
        def mail(size: int) -> bytes:
            return b"Subject: %d\r\n\r\n" % self.rng.getrandbits(60) + self.rng.randbytes(size)

        size = PART + 100_000 if in_parts else 3000
        for folders in self.state.values():
            folders["INBOX"] = tuple(one for one in folders["INBOX"] if self.rng.random() < 0.6)
        user = self.rng.choice(list(self.state))
        self.state[user]["INBOX"] += (mail(size), mail(500))
        self.chain.run({user: dict(folders) for user, folders in self.state.items()})
        self.note()

    def note(self) -> None:
        """What archives were when they were sealed."""
        for path in self.chain.staging.glob("primary/*/*.mha"):
            name = str(path.relative_to(self.chain.staging))
            self.sealed.setdefault(name, blake3(path.read_bytes()).digest())

    def sweep(self) -> SweepReport | None:
        with suppress(BackupError):
            return self.swept.sweep()
        return None

    # What goes wrong; each tells whether it did

    def spoiled(self, fault: Fault) -> bool:
        """The server, or the way to it."""
        self.proxy.faults = [fault]
        self.sweep()
        return bool(fault.fired)

    def spoiled_reading(self, fault: Fault) -> bool:
        """The way from it, when archives are read."""
        self.sweep()
        self.sweep()
        self.proxy.faults = [fault]
        self.alone(self.cloud)
        return bool(fault.fired)

    def vanished(self) -> bool:
        """What was stored is gone afterwards."""
        self.sweep()
        listed = self.client.list_object_versions(Bucket=self.bucket, Prefix="site1/primary/")
        one = self.rng.choice(listed["Versions"])
        self.client.delete_object(Bucket=self.bucket, Key=one["Key"], VersionId=one["VersionId"])
        self.hurt.add(("cloud", one["Key"].removeprefix("site1/")))
        return True

    def killed(self, step: tuple[Any, str], number: int) -> bool:
        """Before one of its first steps of a kind."""
        self.swept.now += HOUR  # what the process knows of the time is lost with it
        return killed_at(self.rng.randrange(1, max(2, 13 >> number)), [step], self.sweep)

    def spoiled_and_killed(self, fault: Fault, number: int) -> bool:
        """Before it tries again."""
        self.proxy.faults = [fault]
        return self.killed((Connection, "pause"), number + 10) and bool(fault.fired)

    def block_damaged(self) -> bool:
        """Any block of any tape can't be read."""
        self.sweep()
        volume = self.rng.choice(self.volumes())
        before = copies_on(self.volumes())
        damage(volume, self.rng.randrange(max(1, volume.stat().st_size // 10_248)))
        after = copies_on(self.volumes())
        self.hurt |= {("drive", one[0]) for one, data in before.items() if after.get(one) != data}
        return True

    def copy_damaged(self) -> bool:
        """A block of an archive."""
        before = set(self.hurt)
        self.block_damaged()
        return self.hurt > before

    def tape_ended(self, *, warned: bool, keeps_refused: bool = False) -> bool:
        """A tape ends long before it is full, with or without a warning."""
        ended = 0
        written = {str(volume) for volume in self.volumes() if volume.stat().st_size}
        left = self.rng.randrange(60_000)
        warning_bytes = self.rng.randrange(1, 40_000) if warned else 0

        class Worn(FileDrive):
            def __init__(self, path: str, end: TapeEnd) -> None:
                if path in written:
                    size = os.stat(path).st_size + left
                    end = TapeEnd(
                        capacity_bytes=size, warning_bytes=warning_bytes, keeps_refused=keeps_refused
                    )
                super().__init__(path, end)

            def _write(self, parts: list[bytes]) -> None:
                nonlocal ended
                try:
                    super()._write(parts)
                except EndOfTapeError:
                    ended += self.name in written
                    raise

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(file_library, "FileDrive", Worn)
            self.sweep()
        return bool(ended)

    def power_cut(self, number: int) -> bool:
        """Before a filemark; a part of what was written last is lost with it."""
        before = {path: path.stat().st_size for path in self.volumes()}
        self.swept.now += HOUR
        if not killed_at(
            self.rng.randrange(1, max(2, 5 - number)), [(FileDrive, "write_filemark")], self.sweep
        ):
            return False
        lost = 0
        for volume in self.volumes():
            size = volume.stat().st_size
            if size > before.get(volume, 0):
                os.truncate(volume, self.rng.randrange(before.get(volume, 0), size))
                lost += 1
        return bool(lost)

    def purge(self) -> None:
        request = PurgeRequest(
            path=LogicalPath(), rules_of=lambda _: RetentionRules(last=KEPT), compact_below=0.9
        )
        purge(self.chain.staging, request, local_engine(0))
        self.note()
        self.told["purged"] += 1

    # What has to be so

    def heal(self) -> None:
        """Copies that were tampered with are found where they are read, and sweeps do the rest."""
        for place in {place for place, _ in self.hurt}:
            due = due_copies(self.swept.records(), [place], None)
            check_copies(
                self.chain.staging,
                due,
                self.swept.destinations,
                local_engine(0),
                lambda _: None,
                lambda: self.swept.now,
            )
        self.hurt.clear()
        self.check()
        for _ in range(3):
            report = self.swept.sweep()
            unsettled = [record for record in self.swept.records() if not _is_settled(record)]
            if not unsettled:
                break
        assert report.exit_code == 0, report
        assert unsettled == []
        self.check()

    def check(self) -> None:
        """What is said to be a copy is one, unless it was tampered with since."""
        there = {
            "cloud": self._objects(),
            "drive": {at: blake3(data).digest() for at, data in copies_on(self.volumes()).items()},
        }
        for record in self.swept.records():
            for copy in record.copies:
                if copy.place == STAGING or copy.state == "lost" or (copy.place, copy.name) in self.hurt:
                    continue
                found = there[copy.place].get((copy.name, copy.version))
                assert found == self.sealed[copy.name], f"counted, and not there: {copy}"
                self.told["copies compared"] += 1
            assert any(copy_record.state in ("kept", "copied") for copy_record in record.copies), (
                f"{record} is lost"
            )

    def _objects(self) -> dict[tuple[str, str], bytes]:
        found = {}
        listed = self.client.list_object_versions(Bucket=self.bucket, Prefix="site1/primary/")
        for one in listed.get("Versions", ()):
            name, version = one["Key"].removeprefix("site1/"), one["VersionId"]
            known = name, version, str(one["LastModified"])
            if known not in self._digests:
                body = self.client.get_object(Bucket=self.bucket, Key=one["Key"], VersionId=version)["Body"]
                self._digests[known] = blake3(body.read()).digest()
            found[name, version] = found[name, ""] = self._digests[known]
        return found

    def volumes(self) -> list[Path]:
        return sorted((self.place / "tapes").glob("*.tap"))

    def alone(self, one: Destination) -> None:
        """From one of the two, with nothing else at hand, in a new staging area."""
        place = self.place / "alone"
        if isinstance(one, TapeDestination):
            one = replace(one, state=str(place / "state"))
            tape = open_tape(one)
            list(take_stock(iter(tape.library.cartridges()), tape.mounts, tape.inventory))
        assert isinstance(one, S3Destination | TapeDestination)
        (place / "staging").mkdir(parents=True)
        told = rebuild_catalog(
            place / "staging", fetch=partial(fetch, place / "staging", one, self.swept.now)
        )
        # Of what lies beside archives there are several on the tapes; a damaged one is named.
        assert [skip.path for skip in told.damaged if skip.path.endswith(".mha")] == []
        assert told.missing == ()
        chain = SweptChain(place / "staging")
        chain.destinations = (one,)
        with Catalog.open(place / "staging") as catalog:
            moments: list[RunId] = [found.run for found in catalog.moments("primary", "user")]
        with Catalog.open(self.chain.staging) as catalog:
            assert moments == [found.run for found in catalog.moments("primary", "user")]
        for run in {moments[-1], self.rng.choice(moments)}:
            assert chain.read(run) == self.chain.moments[run]
            self.told[f"moments read from {one.name} alone"] += 1
        shutil.rmtree(place)


@dataclass(frozen=True)
class Trouble:
    """Something that goes wrong in a night whose archive is so large that it is put ``in_parts``, or is not.
    ``happens`` is told how often it was tried before."""

    name: str
    happens: Callable[[Site, int], bool]
    in_parts: bool = False


def _troubles() -> list[Trouble]:
    """All kinds."""
    kinds = [
        Trouble("object vanished", lambda site, _: site.vanished()),
        Trouble("block of a tape damaged", lambda site, _: site.block_damaged()),
        Trouble("archive on a tape damaged", lambda site, _: site.copy_damaged()),
        Trouble("power cut before a filemark", lambda site, number: site.power_cut(number)),
        Trouble("tape ended early, warned", lambda site, _: site.tape_ended(warned=True)),
        Trouble(
            "tape ended early, warned, and has what it refused",
            lambda site, _: site.tape_ended(warned=True, keeps_refused=True),
        ),
        Trouble("tape ended early without a warning", lambda site, _: site.tape_ended(warned=False)),
    ]
    kinds += [_killed(step) for step in KILLED_BEFORE]
    kinds += [_spoiled(make) for make in ANY_PUT]
    kinds += [_spoiled(make, in_parts=True) for make in IN_PARTS]
    kinds += [_spoiled_reading(make) for make in READ]
    kinds += [_spoiled_and_killed(make) for make in (ANY_PUT[0], ANY_PUT[6], ANY_PUT[8])]
    assert len({kind.name for kind in kinds}) == len(kinds)
    return kinds


def _killed(step: tuple[Any, str]) -> Trouble:
    return Trouble(
        f"kill -9 before {step[0].__name__}.{step[1]}",
        lambda site, number: site.killed(step, number),
        in_parts=step[1] == "ask_about",
    )


def _spoiled(make: Callable[[], Fault], *, in_parts: bool = False) -> Trouble:
    return Trouble(_told(make()), lambda site, _: site.spoiled(make()), in_parts)


def _spoiled_reading(make: Callable[[], Fault]) -> Trouble:
    return Trouble(_told(make()), lambda site, _: site.spoiled_reading(make()))


def _spoiled_and_killed(make: Callable[[], Fault]) -> Trouble:
    return Trouble(
        f"{_told(make())}, and kill -9", lambda site, number: site.spoiled_and_killed(make(), number)
    )


def _told(fault: Fault) -> str:
    what = f"{fault.method} {fault.query}".strip()
    how = f"{fault.status} {fault.code}" if fault.kind == "answer" else fault.kind
    return f"{what}: {how}" + (" for good" if fault.times > 2 else "")


def _is_settled(record: ArchiveRecord) -> bool:
    """Whether both places have it, and the staging area does not."""
    there = sorted((copy.place, copy.state) for copy in record.copies if copy.state != "lost")
    return there == [("cloud", "kept"), ("drive", "kept")]


@contextmanager
def _in_no_time() -> Iterator[None]:
    """Nobody waits before another try; parts are as small as servers take them."""
    with pytest.MonkeyPatch.context() as patch:

        def opened(settings: S3Destination) -> S3Place:
            return S3Place(settings, sleep=lambda _: None)

        patch.setitem(registry._OPENERS, S3Destination, opened)
        patch.setattr(putting, "USUAL_PART_BYTES", PART)
        patch.setattr(putting, "part_bytes", lambda _: PART)
        yield


@pytest.mark.parametrize("part", range(PARTS))
def test_round_after_round_nothing_is_counted_that_is_no_copy(tmp_path: Path, rounds: int, part: int) -> None:
    """Few rounds as a rule; from 300 on as many as are asked for."""
    server, told = moto(), Counter[str]()
    wanted = rounds if rounds >= 300 else max(PARTS, rounds // 12)
    planned = list(enumerate(_planned(wanted)))[part::PARTS]
    with _in_no_time():
        for begin in range(0, len(planned), NIGHTS):
            place = tmp_path / str(begin)
            with HttpProxy(server.port) as proxy:
                site = Site(place, server, proxy, random.Random(begin * PARTS + part))
                for number, trouble in planned[begin : begin + NIGHTS]:
                    try:
                        site.round(trouble)
                    except BaseException as error:
                        error.add_note(f"round {number}, in {place}: {trouble.name}")
                        raise
                told += site.told
            shutil.rmtree(place)
            _tell(told, min(begin + NIGHTS, len(planned)))
    assert told["copies compared"] > len(planned)


def _tell(told: Counter[str], count: int) -> None:
    print(f"{count} rounds:", *(f"  {what}: {times}" for what, times in sorted(told.items())), sep="\n")


def _planned(count: int) -> list[Trouble]:
    """Of every kind about as many, in any order."""
    planned: list[Trouble] = []
    rng = random.Random(count)
    while len(planned) < count:
        kinds = _troubles()
        planned += rng.sample(kinds, len(kinds))
    return planned[:count]
