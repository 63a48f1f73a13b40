"""The catalog made again from real archives, also where some are gone or damaged."""

from __future__ import annotations

import shutil
from contextlib import closing, suppress
from pathlib import Path

import pytest

from mailhaul.coordinator import rebuilding
from mailhaul.coordinator.backup_set import BackupSet, from_catalog, from_files, opened
from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.holds import Holds, read_holds
from mailhaul.coordinator.purging.doomed import Doomed, write_doomed
from mailhaul.coordinator.purging.purge import purge
from mailhaul.coordinator.purging.report import PurgeRequest
from mailhaul.coordinator.readers import exclusive
from mailhaul.coordinator.rebuilding import rebuild_catalog
from mailhaul.coordinator.retention import RetentionRules
from mailhaul.coordinator.sweeping.locks import sweeping
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.archive.rewriting import rewrite
from mailhaul.proto.archive.stored import StoredMailbox
from mailhaul.proto.errors import DamagedError, LockedError, NotFoundError
from mailhaul.proto.records import Departed, RunId, Stretch
from mailhaul.tests.archives import MemorySink, frames_of, metadata_of
from mailhaul.tests.staged_chains import StagedChain
from mailhaul.worker.archives.opened import open_archive

BOX = b"From: a@example.org\n\n" + b"kept since the first night " * 40


@pytest.fixture
def chain(tmp_path: Path) -> StagedChain:
    """Five nights: mail comes, bob departs, one night brings nothing, carla is new."""
    made = StagedChain(tmp_path / "staging")
    made.run({"anna": {"INBOX": (BOX, b"1")}, "bob": {"INBOX": (b"2",)}})
    made.run({"anna": {"INBOX": (BOX, b"1", b"3")}, "bob": {"INBOX": (b"2",)}})
    made.run({"anna": {"INBOX": (BOX, b"3")}}, departed=["bob"])
    made.run({"anna": {"INBOX": (BOX, b"3")}})
    made.run({"anna": {"INBOX": (BOX, b"3"), "Sent": (b"4",)}, "carla": {"INBOX": (b"5",)}})
    return made


def test_every_moment_is_there_again(chain: StagedChain) -> None:
    runs = list(chain.moments)
    with Catalog.open(chain.staging) as catalog:
        before = list(catalog.histories())
        references = catalog.references(catalog.locations())
    shutil.rmtree(chain.staging / ".mailhaul")
    report = rebuild_catalog(chain.staging)
    assert (report.archives, report.refused, report.damaged, report.missing) == (4, (), (), ())
    with Catalog.open(chain.staging) as catalog:
        assert [
            (history.user, history.run, history.departed, history.archive, history.stored)
            for history in catalog.histories()
        ] == [
            (version.user, version.run, version.departed, version.archive, version.stored)
            for version in before
        ]
        assert catalog.references(catalog.locations()) == references
        with pytest.raises(NotFoundError):  # no archive tells of a night in which nothing had changed
            catalog.resolve_time(runs[3])
    for run in (*runs[:3], runs[4]):
        assert chain.read(run) == chain.moments[run]


@pytest.mark.parametrize("night", [0, 1, 2, 4])
def test_what_can_be_had_without_one_archive_is_had_and_the_rest_named(
    chain: StagedChain, night: int
) -> None:
    runs = list(chain.moments)
    with Catalog.open(chain.staging) as catalog:
        ((archive, gone),) = [(record.archive, record.name) for record in catalog.archives(runs[night])]
        referring = [
            archive_id
            for archive_id, others in catalog.references(catalog.locations()).items()
            if archive in others
        ]
    (chain.staging / gone).unlink()
    report = rebuild_catalog(chain.staging)
    assert report.archives == 3
    assert [skip.path for skip in report.missing] == ([archive.hex()] if referring else [])
    assert all(one.detail.startswith(f"{gone}, referred to by ") for one in report.missing)
    with Catalog.open(chain.staging) as catalog:
        known = [moment.run for moment in catalog.moments("primary", "user")]
        assert known == [run for run in runs if run not in (runs[night], runs[3])]
        assert catalog.missing() == ({archive: gone} if referring else {})
        assert archive not in catalog.parents("primary", "user", ["anna"]).locations
    lost: list[RunId] = []
    for run in known:
        try:
            assert chain.read(run) == chain.moments[run]
        except DamagedError:
            lost.append(run)
    # The first archive holds what all later ones refer to; of the second, one message is kept still; of the
    # third, the metadata of what has not changed since.
    assert lost == {0: known, 1: [run for run in known if run > runs[1]], 2: [runs[4]], 4: []}[night]


def test_what_was_damaged_is_told(chain: StagedChain) -> None:
    """Without its directory an archive is read from its beginning; what it needs is found all the same."""
    with Catalog.open(chain.staging) as catalog:
        references = catalog.references(catalog.locations())
    for file in chain.staging.glob("primary/user/*.mha"):
        file.write_bytes(file.read_bytes()[:-200])
    report = rebuild_catalog(chain.staging)
    assert (report.archives, len(report.damaged)) == (4, 4)
    with Catalog.open(chain.staging) as catalog:
        assert {
            archive_id: set(others) for archive_id, others in catalog.references(catalog.locations()).items()
        } == {one: set(others) for one, others in references.items()}
    newest = list(chain.moments)[-1]
    assert chain.read(newest)["anna"] == chain.moments[newest]["anna"]


def test_a_mailbox_that_is_not_there_says_where_it_is(chain: StagedChain) -> None:
    runs = list(chain.moments)

    def why(at: str, user: str) -> str:
        path = LogicalPath("primary", "user", user)
        with pytest.raises(NotFoundError) as error:
            from_catalog(chain.staging, at, [path]).select(path)
        return error.value.message

    gone = why("latest", "bob")
    assert f"run {runs[2]} found it gone from the mail store" in gone
    assert f"--at {runs[1]} has it" in gone
    assert f"first stored in run {runs[4]}" in why(runs[3], "carla")
    assert "holds nothing of it" in why("latest", "nobody")
    with Catalog.open(chain.staging, write=True) as catalog:
        catalog.forget("primary", "user", [runs[0], runs[2]], lambda _user: False)
    assert f"--at {runs[0]} has it" in why("latest", "bob")
    assert "was purged" in why(runs[1], "bob")
    with Catalog.open(chain.staging, write=True) as catalog:
        catalog.forget("primary", "user", [], lambda _user: False)
    assert f"run {runs[2]} found it gone from the mail store" in why("latest", "bob")


def test_a_date_means_what_is_kept_and_a_restore_takes_the_archives_that_it_needs(
    chain: StagedChain,
) -> None:
    runs = list(chain.moments)
    with Catalog.open(chain.staging, write=True) as catalog:
        catalog.forget("primary", "user", [runs[1]], lambda _user: False)
    everything = LogicalPath()
    for at, run in (
        ("2026-08-03", runs[1]),
        ("2026-08-05", runs[4]),
        ("latest", runs[4]),
        (runs[1], runs[1]),
    ):
        backup = from_catalog(chain.staging, at, [everything])
        assert {version.run for version in backup.select(everything)} == {run}, at
        assert all(backup.archives.are_there(location) for location in backup.archives.locations)
    (older,) = {one.archive for one in from_catalog(chain.staging, runs[1], [everything]).versions}
    needed = from_catalog(chain.staging, runs[1], [everything]).needed([older])
    with Catalog.open(chain.staging) as catalog:
        (first,) = [archive.archive for archive in catalog.archives(runs[0])]
    assert set(needed.locations) == {older, first}


def test_of_two_generations_of_a_bare_archive_the_greater_one_counts(
    chain: StagedChain, tmp_path: Path
) -> None:
    old = min(chain.staging.glob("primary/user/*.mha"))
    sink = MemorySink()
    with closing(chain.archive(str(old.relative_to(chain.staging)))) as archive:
        sink.begin()
        rewrite(
            archive,
            sink,
            stretches=[Stretch(0, archive.directory.data_bytes)],
            metadata=metadata_of(archive, {"anna"}),
        )
    new = tmp_path / "new.mha"
    new.write_bytes(sink.data)
    for files in ([old, new], [new, old]):
        backup = from_files(files)
        assert [version.user for version in backup.versions] == ["anna"]
        assert [backup.archives.path(location) for location in backup.archives.locations] == [str(new)]
    assert [mailbox_version.user for mailbox_version in from_files([old]).versions] == ["anna", "bob"]


def broken(data: bytes, kinds: set[FrameType], share: int) -> bytes:
    """Every second frame of these kinds is damaged, beginning with the first or with the second."""
    made = bytearray(data)
    for number, frame in enumerate(one for one in frames_of(data) if one.header.type in kinds):
        if number % 2 == share:
            made[frame.end - 1] ^= 1
    return bytes(made)


@pytest.mark.parametrize("cut", [0, 1, 200])
def test_copies_of_a_bare_archive_are_used_together(chain: StagedChain, tmp_path: Path, cut: int) -> None:
    """Of two copies each has only half of its frames; also both in one file."""
    old = min(chain.staging.glob("primary/user/*.mha"))
    data = old.read_bytes()
    wanted = chain.moments[next(iter(chain.moments))]
    halves = [broken(data, {FrameType.BLOCK, FrameType.MESSAGES, FrameType.MAILBOX}, n) for n in (0, 1)]
    halves[0] = halves[0][: len(data) - cut]
    files = [tmp_path / "a.mha", tmp_path / "b.mha"]
    for file, half in zip(files, halves, strict=True):
        file.write_bytes(half)
        assert mail_of(from_files([file])) != wanted
    assert mail_of(from_files(files)) == mail_of(from_files(files[::-1])) == wanted
    assert from_files(files).damaged == ()
    both = tmp_path / "both.mha"
    both.write_bytes(halves[0] + halves[1])
    assert mail_of(from_files([both])) == wanted


def mail_of(backup: BackupSet) -> dict[str, dict[str, tuple[bytes, ...]]]:
    """What can be read of all mailboxes of a set."""
    found: dict[str, dict[str, tuple[bytes, ...]]] = {}
    with opened(backup) as archives:
        data = Contents(archives.data)
        for version in backup.versions:
            with suppress(DamagedError):
                stored = StoredMailbox(archives, version.archive, version.user)
                for folder in stored.mailbox.folders:
                    mail = found.setdefault(version.user, {}).setdefault(folder.folder.name, ())
                    for message in stored.messages(folder):
                        mail += (b"".join(data.message(message)),)
                    found[version.user][folder.folder.name] = mail
    return found


def test_of_a_bare_archive_without_directory_every_other_one_may_be_needed(chain: StagedChain) -> None:
    files = sorted(chain.staging.glob("primary/user/*.mha"))
    whole = from_files(files)
    (first,) = {version.archive for version in whole.versions if version.run == next(iter(chain.moments))}
    assert len(whole.needed([first]).locations) == 1
    assert len(whole.archives.locations) == 4
    files[0].write_bytes(files[0].read_bytes()[:-200])
    assert len(from_files(files).needed([first]).locations) == 4


def archive_of(chain: StagedChain, night: int) -> Path:
    with Catalog.open(chain.staging) as catalog:
        (record,) = catalog.archives(list(chain.moments)[night])
    return chain.staging / record.name


def spoiled(file: Path, kind: FrameType, which: slice) -> None:
    data = bytearray(file.read_bytes())
    for frame in frames_of(bytes(data), kind)[which]:
        data[frame.end - 1] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("what", ["deleted", "one frame", "both frames"])
def test_a_mailbox_that_is_gone_stays_so_without_the_archive_that_told_it(
    chain: StagedChain, what: str
) -> None:
    """The next archive told it once more."""
    teller = archive_of(chain, 2)
    if what == "deleted":
        teller.unlink()
    else:
        spoiled(teller, FrameType.DEPARTED, slice(1) if what == "one frame" else slice(None))
    files = sorted(chain.staging.glob("primary/user/*.mha"))
    rebuild_catalog(chain.staging)
    with Catalog.open(chain.staging) as catalog:
        assert set(catalog.known_users("primary", "user")) == {"anna", "carla"}
    bare = from_files(files)
    path = LogicalPath("primary", "user", "bob")
    assert {version.user for version in bare.versions} == {"anna", "carla"}
    with pytest.raises(NotFoundError, match="name no archive from then on"):
        bare.select(path)
    assert from_files(files[:2]).select(path)


def test_a_departure_is_told_by_every_later_archive_and_one_that_came_back_is_there(
    chain: StagedChain,
) -> None:
    third = list(chain.moments)[2]
    assert from_files([archive_of(chain, 4)]).absent
    with closing(open_archive(LocalFile(str(archive_of(chain, 4))))) as archive:
        assert archive.departures() == (Departed("bob", "removed", "", third),)
    chain.run({"anna": {"INBOX": (b"7",)}, "bob": {"INBOX": (b"back",)}, "carla": {"INBOX": (b"5",)}})
    chain.run({"anna": {"INBOX": (b"8",)}, "bob": {"INBOX": (b"back",)}, "carla": {"INBOX": (b"5",)}})
    with closing(open_archive(LocalFile(str(archive_of(chain, 6))))) as archive:
        assert archive.departures() == ()
    rebuild_catalog(chain.staging)
    with Catalog.open(chain.staging) as catalog:
        assert set(catalog.known_users("primary", "user")) == {"anna", "bob", "carla"}
    files = sorted(chain.staging.glob("primary/user/*.mha"))
    (bob,) = from_files(files).select(LogicalPath("primary", "user", "bob"))
    assert bob.run == list(chain.moments)[6]


def test_an_archive_that_a_purge_had_yet_to_delete_brings_nobody_back(chain: StagedChain) -> None:
    """A mailbox in it has departed; the archive that told so is deleted."""
    first, _, third, *_ = chain.moments
    with Catalog.open(chain.staging) as catalog:
        dead, tombstone = (archive.name for run in (first, third) for archive in catalog.archives(run))
    chain.run({"anna": {"INBOX": (b"6",)}, "carla": {"INBOX": (b"5",)}})
    last = list(chain.moments)[-1]
    left = (chain.staging / dead).read_bytes()
    request = PurgeRequest(path=LogicalPath(), rules_of=lambda _: RetentionRules(last=1))
    report = purge(chain.staging, request, local_engine(0))
    assert {deleted.file for deleted in report.deleted} >= {dead, tombstone}
    (chain.staging / dead).write_bytes(left)
    write_doomed(chain.staging, [Doomed(dead)])
    rebuild_catalog(chain.staging)
    with Catalog.open(chain.staging) as catalog:
        assert set(catalog.known_users("primary", "user")) == {"anna", "carla"}
    assert chain.read(last) == chain.moments[last]


def test_nobody_sweeps_or_frees_meanwhile(chain: StagedChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that is made or removed, and an archive that leaves the staging area, would be in the catalog
    otherwise than they are."""
    with sweeping(chain.staging, "vault"), pytest.raises(LockedError, match="another sweep to vault goes on"):
        rebuild_catalog(chain.staging, destinations=["tape", "vault"])
    refused: list[str] = []

    def look(staging: Path) -> Holds:
        for lock in (exclusive(staging, 0), sweeping(staging, "vault")):
            try:
                with lock:
                    raise AssertionError("somebody could change what the rebuild finds")
            except LockedError as error:
                refused.append(error.message.partition(" (")[0])
        return read_holds(staging)

    monkeypatch.setattr(rebuilding, "read_holds", look)
    assert rebuild_catalog(chain.staging, destinations=["tape", "vault"]).archives == 4
    assert refused == ["archives are being read", "another sweep to vault goes on"]
