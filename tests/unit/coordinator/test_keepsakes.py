"""What is laid beside the archives: it is enough to make the catalog again, and to find one's way."""

from __future__ import annotations

import gzip
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailhaul import __version__
from mailhaul.coordinator import rebuilding as mailhaul_rebuilding
from mailhaul.coordinator.area_id import area_id
from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.catalog.snapshots import KEPT, snapshots
from mailhaul.coordinator.dispatch.engine import Outcome
from mailhaul.coordinator.history import CopyRecord, Version
from mailhaul.coordinator.keepsakes import companions, keep_catalog, name_map, newest_keepsakes
from mailhaul.coordinator.purging.purge import purge
from mailhaul.coordinator.purging.report import PurgeRequest
from mailhaul.coordinator.rebuilding import rebuild_catalog
from mailhaul.coordinator.retention import RetentionRules
from mailhaul.coordinator.run_archives import seal_run_archives
from mailhaul.coordinator.run_ids import newest_given
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import StagingError
from mailhaul.proto.keys.derivation import structure_key
from mailhaul.proto.keys.sealed_files import seal_file
from mailhaul.proto.ports import ProgressSink
from mailhaul.proto.records import ArchiveId, RunId
from mailhaul.proto.structs import replace
from mailhaul.tests.sealed import everything_encrypted
from mailhaul.tests.staged_chains import StagedChain
from mailhaul.worker.archives.names import check_file_name
from mailhaul.worker.keepsake import mailhaul_restore
from mailhaul.worker.keepsake.readme import README, area_of, reader_name


def at_once(
    function: Callable[[Any, ProgressSink], Any], tasks: Sequence[Any], on_progress: ProgressSink
) -> Iterator[Outcome[Any, Any]]:
    """An engine that does it all here and now."""
    for task in tasks:
        yield Outcome(task=task, report=function(task.attempted("localhost", 1), on_progress))


def keeping(last: int) -> PurgeRequest:
    """What is not needed at all is written anew without it."""
    return PurgeRequest(path=LogicalPath(), rules_of=lambda _: RetentionRules(last=last), compact_below=1.0)


def keep(chain: StagedChain) -> None:
    """As at the end of a run."""
    with Catalog.open(chain.staging, write=True) as catalog:
        seal_run_archives(chain.staging, catalog)
        keep_catalog(chain.staging, catalog)


def lose_catalog(staging: Path) -> None:
    for file in (staging / ".mailhaul").glob("catalog.sqlite*"):
        file.unlink()


def _hides(earlier: Sequence[Version], departure: Version) -> bool:
    """A departure that nothing is left of to hide may be gone, or not yet."""
    scope = (departure.partition, departure.group, departure.user)
    return any(
        (version.partition, version.group, version.user) == scope and version.departed is None
        for version in earlier
    )


def told(staging: Path) -> dict[str, object]:
    """All that a catalog tells that archives, and archives of runs, tell too; of references those that a
    version needs, for others may be gone, or not yet."""
    with Catalog.open(staging) as catalog:
        records = list(catalog.archives())
        histories = list(catalog.histories())
        users: dict[ArchiveId, set[str]] = {}
        for history in histories:
            if history.archive is not None:
                users.setdefault(history.archive, set()).add(history.user)
        named = catalog.references([record.archive for record in records])
        return {
            "archives": {
                archive_record.archive: replace(archive_record, sealed=None) for archive_record in records
            },
            "histories": [
                (
                    version.partition,
                    version.group,
                    version.user,
                    version.run,
                    version.departed,
                    version.archive,
                    version.stored,
                    version.size_bytes,
                )
                for place, version in enumerate(histories)
                if version.departed is None or _hides(histories[:place], version)
            ],
            "moments": {scope: catalog.moments(*scope) for scope in catalog.scopes()},
            "forgotten": {scope: catalog.forgotten(*scope) for scope in catalog.scopes()},
            "references": {
                one.archive: needed & set(named[one.archive])
                for one in records
                if (
                    needed := mailhaul_rebuilding.references(staging, one.name, users.get(one.archive, set()))
                )
            },
            "runs": [(run.run, run.state, run.sealed_units) for run in catalog.runs()],
            "missing": catalog.missing(),
            "behind": [*catalog.last_good()],
        }


def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The archives that a rebuild reads, as it reads them."""
    found: list[str] = []
    whole = mailhaul_rebuilding.facts_of

    def counted(staging: Path, file: Path, open_archive: object) -> object:
        found.append(str(file.relative_to(staging)))
        return whole(staging, file, open_archive)  # type: ignore[arg-type]

    monkeypatch.setattr(mailhaul_rebuilding, "facts_of", counted)
    return found


class Life:
    """A staging area in which anything happens, by chance; snapshots are taken now and then."""

    def __init__(self, place: Path, rng: random.Random) -> None:
        self.chain = StagedChain(place)
        self.rng = rng
        self._number = 0
        self._mail: dict[str, dict[str, tuple[bytes, ...]]] = {}

    def run(self) -> None:
        gone = []
        for user in ("anna", "bert", "carl"):
            chance = self.rng.random()
            if chance < 0.5 or not self._mail:
                folder = self._mail.setdefault(user, {"INBOX": ()})
                self._number += 1
                folder["INBOX"] = (*folder["INBOX"][-4:], b"m: %d\n" % self._number + self.rng.randbytes(400))
            elif chance < 0.6 and len(self._mail) > 1 and user in self._mail:
                del self._mail[user]
                gone.append(user)
        self.chain.run({user: dict(folders) for user, folders in self._mail.items()}, departed=gone)
        with Catalog.open(self.chain.staging, write=True) as catalog:
            seal_run_archives(self.chain.staging, catalog)

    def snapshot(self) -> None:
        keep(self.chain)

    def purge(self) -> None:
        last = self.rng.choice([1, 2])
        taken = snapshots(self.chain.staging)
        purge(self.chain.staging, keeping(last), at_once)
        if self.rng.random() < 0.5:  # its program was killed before it took one
            for snapshot in set(snapshots(self.chain.staging)) - set(taken):
                (self.chain.staging / str(snapshot)).unlink()


@settings(max_examples=25)
@given(seed=st.integers(0, 1 << 32), steps=st.integers(1, 9))
@example(seed=338543, steps=7)  # a purge dropped what an older snapshot tells to be referred to
def test_a_snapshot_and_what_is_newer_tell_what_all_archives_tell(
    tmp_path_factory: pytest.TempPathFactory, seed: int, steps: int
) -> None:
    place = tmp_path_factory.mktemp("life")
    life = Life(place / "staging", random.Random(seed))
    life.run()
    work: list[Callable[[], None]] = [life.run, life.run, life.snapshot, life.purge]
    for _ in range(steps):
        life.rng.choice(work)()
    staging = life.chain.staging
    before = told(staging)
    lose_catalog(staging)
    shutil.copytree(staging, place / "other")
    done = rebuild_catalog(staging)
    assert (done.refused, done.damaged, done.missing) == ((), (), ())
    rebuild_catalog(place / "other", every_archive=True)
    quick, full = told(staging), told(place / "other")
    assert quick == full
    if done.origin:
        assert quick["histories"] == before["histories"]
    for moment in life.chain.moments:
        with Catalog.open(staging) as catalog:
            kept = moment in [one.run for one in catalog.moments("primary", "user")]
        if kept:
            assert life.chain.read(moment) == life.chain.moments[moment]
    shutil.rmtree(place)


@pytest.fixture
def chain(tmp_path: Path) -> StagedChain:
    """Three nights, each with a snapshot."""
    made = StagedChain(tmp_path / "staging")
    for night in range(3):
        mail = tuple(b"m: %d\n" % n for n in range(night + 2))
        made.run({user: {"INBOX": mail} for user in ("anna", "bert")})
        keep(made)
    return made


def test_only_newer_archives_are_read(chain: StagedChain, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = chain.run({"anna": {"INBOX": (b"new\n",)}})
    before = told(chain.staging)
    lose_catalog(chain.staging)
    read = read_files(monkeypatch)
    assert rebuild_catalog(chain.staging).origin == str(snapshots(chain.staging)[1])
    assert [newest in name for name in read] == [True]
    assert told(chain.staging)["histories"] == before["histories"]
    lose_catalog(chain.staging)
    rebuild_catalog(chain.staging, every_archive=True)
    assert len(read) == 5


def test_a_sound_catalog_is_made_of_all_archives(chain: StagedChain) -> None:
    """Who asks for it does not trust what is known."""
    assert rebuild_catalog(chain.staging).origin == ""


def test_an_old_catalog_that_came_back_is_merged(chain: StagedChain, tmp_path: Path) -> None:
    """And no run id is given out twice, whatever else was lost."""
    catalog = chain.staging / ".mailhaul" / "catalog.sqlite"
    shutil.copy(catalog, tmp_path / "old")
    newest = chain.run({"anna": {"INBOX": (b"new\n",)}})
    before = told(chain.staging)
    lose_catalog(chain.staging)
    shutil.copy(tmp_path / "old", catalog)
    assert rebuild_catalog(chain.staging).origin == "the catalog as it was"
    assert told(chain.staging)["histories"] == before["histories"]
    shutil.rmtree(chain.staging / ".mailhaul")
    shutil.rmtree(chain.staging / "primary")
    with Catalog.open(chain.staging, write=True) as empty:
        assert newest_given(chain.staging, empty) == newest


@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
def test_a_damaged_snapshot_is_passed_over(chain: StagedChain, share: float) -> None:
    newest, second, oldest = snapshots(chain.staging)
    path = chain.staging / str(newest)
    data = bytearray(path.read_bytes())
    data[int((len(data) - 1) * share)] ^= 0xFF
    path.write_bytes(data)
    lose_catalog(chain.staging)
    assert rebuild_catalog(chain.staging).origin == str(second)
    lose_catalog(chain.staging)
    (chain.staging / str(snapshots(chain.staging)[0])).unlink()  # the rebuild took one
    path.write_bytes(b"")
    (chain.staging / str(second)).write_bytes(gzip.compress(b"no database"))
    assert rebuild_catalog(chain.staging).origin == str(oldest)


def test_where_copies_lie_comes_back(chain: StagedChain) -> None:
    """It is told by no archive; nor is what was freed missing then."""
    with Catalog.open(chain.staging, write=True) as catalog:
        first = next(catalog.archives())
        copy = CopyRecord(place="vault", name=first.name, size_bytes=first.size_bytes, state="kept")
        catalog.put_copy(first.archive, copy)
        catalog.free_staged(first.archive)
        (chain.staging / first.name).unlink()
        keep_catalog(chain.staging, catalog)
    lose_catalog(chain.staging)
    assert rebuild_catalog(chain.staging).missing == ()
    with Catalog.open(chain.staging) as catalog:
        assert [record.place for record in catalog.archive(first.archive).copies] == ["vault"]
        assert catalog.missing() == {}


def test_an_archive_that_is_gone_is_missing_as_long_as_it_is_needed(chain: StagedChain) -> None:
    with Catalog.open(chain.staging) as catalog:
        first, *_ = catalog.archives()
    (chain.staging / first.name).unlink()
    lose_catalog(chain.staging)
    report = rebuild_catalog(chain.staging)
    assert [skip.path for skip in report.missing] == [first.archive.hex()]
    with Catalog.open(chain.staging) as catalog:
        assert catalog.missing() == {first.archive: first.name}


def test_the_newest_snapshots_stay(chain: StagedChain) -> None:
    for _ in range(KEPT):
        keep(chain)
    purge(chain.staging, keeping(9), at_once)
    left = snapshots(chain.staging)
    assert (len(left), left[0].number) == (KEPT, KEPT + 1)
    names = {path.name for path in (chain.staging / "_catalog").iterdir()}
    assert len(names) == 2 * KEPT
    assert not [name for name in names if name.startswith(".")]


def test_a_snapshot_is_never_seen_in_part(chain: StagedChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything left of one that could not be written."""
    before = sorted((chain.staging / "_catalog").iterdir())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with Catalog.open(chain.staging, write=True) as catalog, pytest.raises(StagingError):
        catalog.take_snapshot(chain.staging)
    assert sorted((chain.staging / "_catalog").iterdir()) == before
    assert not (chain.staging / ".mailhaul" / "snapshot.new").exists()


def test_what_goes_along_with_archives(chain: StagedChain, tmp_path: Path) -> None:
    names = newest_keepsakes(chain.staging)
    newest = str(snapshots(chain.staging)[0])
    table = newest.replace(".sqlite.gz", ".names.tsv.gz")
    assert names == [README, reader_name(__version__), newest, table]
    for name in names:
        assert check_file_name(name) == name
    area = area_id(chain.staging)
    assert area_of((chain.staging / README).read_bytes()) == area
    assert dict(companions(chain.staging))[README] == (chain.staging / README).read_bytes()
    (chain.staging / ".mailhaul" / "area-id").unlink()
    assert area_id(chain.staging) == area
    # The reader that lies there is one.
    reader = chain.staging / reader_name(__version__)
    assert reader.read_bytes() == Path(mailhaul_restore.__file__).read_bytes()


def test_the_name_map_tells_where_mail_is(chain: StagedChain) -> None:
    with Catalog.open(chain.staging) as catalog:
        rows = [line.split("\t") for line in name_map("x", catalog) if not line.startswith("#")]
        records = {archive.name: archive for archive in catalog.archives()}
    newest = list(chain.moments)[-1]
    archives = {row[1]: row for row in rows if row[0] == "archive"}
    assert archives.keys() == records.keys()
    for name, row in archives.items():
        record = records[name]
        assert row[2:] == [
            record.archive.hex(),
            "primary",
            "user",
            record.run,
            "0",
            "0",
            str(record.size_bytes),
        ]
    needs = {row[1]: row[2:] for row in rows if row[0] == "needs"}
    (last,) = [name for name in records if newest in name]
    assert set(needs[last]) < records.keys()
    assert [row[1:] for row in rows if row[0] == "mailbox"] == [
        ["primary", "user", user, "4", str(4 * len(b"m: 0\n")), newest, last] for user in ("anna", "bert")
    ]


def test_a_snapshot_in_clear_does_not_take_the_place_of_a_sealed_one(tmp_path: Path) -> None:
    """Somebody has put it there who has no key."""
    with everything_encrypted():
        chain = StagedChain(tmp_path / "staging")
        chain.run({"anna": {"INBOX": (b"m: 1\n",)}})
        keep(chain)
        sealed = snapshots(chain.staging)[0]
        with Catalog.open(chain.staging, write=True) as catalog:
            planted = catalog.take_snapshot(chain.staging)
        assert planted
        assert (planted.sealed, snapshots(chain.staging)[0]) == (False, planted)
        later = chain.staging / str(replace(planted, run=RunId(f"3{planted.run[1:]}")))
        shutil.copy(chain.staging / str(planted), later)
        lose_catalog(chain.staging)
        assert rebuild_catalog(chain.staging).origin == str(sealed)
        assert all(snapshot.sealed for snapshot in snapshots(chain.staging)), "what is in clear goes"


@pytest.mark.parametrize("wrong", ["damaged", "foreign", "renamed"])
def test_a_sealed_snapshot_that_is_not_what_it_should_be_is_passed_over(tmp_path: Path, wrong: str) -> None:
    with everything_encrypted():
        chain = StagedChain(tmp_path / "staging")
        for night in range(3):
            chain.run({"anna": {"INBOX": tuple(b"m: %d\n" % n for n in range(night + 2))}})
            keep(chain)
        before = told(chain.staging)
        newest, second, _ = snapshots(chain.staging)
        assert newest.sealed
        path = chain.staging / str(newest)
        if wrong == "damaged":
            path.write_bytes(path.read_bytes()[:-1])
        elif wrong == "foreign":
            path.write_bytes(b"".join(seal_file(path.name, [b"x"], structure_key(bytes(32)))))
        else:  # an older one in its place
            path.write_bytes((chain.staging / str(second)).read_bytes())
        lose_catalog(chain.staging)
        assert rebuild_catalog(chain.staging).origin == str(second)
        assert told(chain.staging)["histories"] == before["histories"]
