"""What a verification is to look at: archives, and versions of mailboxes with their moments."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.backup_set import BackupSet
from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.history import MailboxVersion
from mailhaul.coordinator.verifying.examination import Examination, examine_files, examine_staging
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import NotFoundError
from mailhaul.proto.records import ArchiveId, Losses, Stretch, Unit
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import in_files
from mailhaul.worker.archives.holdings import described

from ....catalogs import START, archive_id, report, run_id, unchanged, unit

ALL = LogicalPath()


def commit(catalog: Catalog, day: int, units: Iterable[Unit], idle: Iterable[Unit] = ()) -> None:
    """A run of a day; of the idle units it stores nothing."""
    found, nothing = list(units), list(idle)
    when = START + timedelta(days=day)
    catalog.begin_run(run_id(day), when)
    catalog.plan_units([*found, *nothing])
    for one in found:
        before = tuple(archive_id(replace(one, run=run_id(earlier))) for earlier in range(day))
        catalog.commit_unit(report(one, references=before[-1:]), sealed=when)
    for one in nothing:
        catalog.commit_unit(unchanged(one), sealed=when)
    catalog.end_run(run_id(day), when)


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """jane is stored on days 0 and 3, john on days 0 and 1, and gone on day 3; nothing happens on day 2."""
    with Catalog.open(tmp_path, write=True) as catalog:
        commit(catalog, 0, [unit(0, users=("jane", "john"))])
        commit(catalog, 1, [unit(1, users=("john",))])
        commit(catalog, 2, [], [unit(2, users=("jane", "john"))])
        commit(catalog, 3, [unit(3, users=("jane",), departed=("john",))])
    return tmp_path


def seen(examination: Examination) -> dict[str, list[tuple[int, int, int, bool]]]:
    """Of each user: the day of the archive, first and last day, and whether it is so to this day."""
    days = {archive_id(unit(day)): day for day in range(4)}
    dates = {run_id(day): day for day in range(4)}
    return {
        mailbox.user: [
            (days[version.archive], dates[version.first], dates[version.last], version.current)
            for version in mailbox.versions
        ]
        for share in examination.mail
        for mailbox in share.mailboxes
    }


def test_each_version_has_the_moments_at_which_it_holds(staging: Path) -> None:
    examination = examine_staging(staging, ALL)
    assert seen(examination) == {
        "jane": [(0, 0, 2, False), (3, 3, 3, True)],
        "john": [(0, 0, 0, False), (1, 1, 2, False)],
    }
    assert {share.archive: len(share.mailboxes) for share in examination.mail} == {
        archive_id(unit(3)): 1,
        archive_id(unit(1)): 1,
    }
    assert len(examination.archives) == 3
    (jane,) = [mailbox for share in examination.mail for mailbox in share.mailboxes if mailbox.user == "jane"]
    assert (jane.messages, jane.size_bytes) == (18, 18_000)


def test_one_moment(staging: Path) -> None:
    examination = examine_staging(staging, ALL, at=run_id(2))
    assert seen(examination) == {"jane": [(0, 2, 2, False)], "john": [(1, 2, 2, False)]}
    assert {archive.archive for archive in examination.archives} == {archive_id(unit(0)), archive_id(unit(1))}
    assert seen(examine_staging(staging, ALL, at="latest")) == {"jane": [(3, 3, 3, True)]}
    with pytest.raises(NotFoundError):
        examine_staging(staging, LogicalPath.parse("/primary/user/john"), at="latest")


def test_what_was_sealed_since(staging: Path) -> None:
    examination = examine_staging(staging, ALL, since=START + timedelta(days=1))
    assert seen(examination) == {"jane": [(3, 3, 3, True)], "john": [(1, 1, 2, False)]}
    assert len(examination.archives) == 2
    assert len(examination.holdings.locations) == 3, "others may be needed, too"


def test_a_path_takes_what_it_needs(staging: Path) -> None:
    examination = examine_staging(staging, LogicalPath.parse("/primary/user/john"))
    assert list(seen(examination)) == ["john"]
    assert {archive.archive for archive in examination.archives} == {archive_id(unit(0)), archive_id(unit(1))}
    with pytest.raises(NotFoundError):
        examine_staging(staging, LogicalPath.parse("/primary/user/nobody"))
    with pytest.raises(NotFoundError):
        examine_staging(staging, LogicalPath.parse("/elsewhere"))


def test_what_is_kept_for_a_hold_stands_for_its_own_run(staging: Path) -> None:
    with Catalog.open(staging, write=True) as catalog:
        catalog.forget("primary", "user", [run_id(3)], lambda user: user == "john")
    assert seen(examine_staging(staging, ALL)) == {
        "jane": [(3, 3, 3, True)],
        "john": [(0, 0, 0, False), (1, 1, 1, False)],
    }


def test_what_is_lost_and_the_files_of_the_staging_area(staging: Path) -> None:
    archive = archive_id(unit(0))
    with Catalog.open(staging, write=True) as catalog:
        catalog.mark_lost(archive, Losses((Stretch(5, 10),)))
        file = catalog.archive(archive).name
    stranger = staging / "primary" / "user" / "20200101T000000Z-0000.0.0123456789abcdef.mha"
    aside = staging / ".mailhaul" / "damaged" / file.replace(".mha", ".g2.mha")
    for path in (stranger, staging / file, aside):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    examination = examine_staging(staging, ALL)
    assert examination.lost == {archive: Losses((Stretch(5, 10),))}
    assert examination.strangers == ("primary/user/20200101T000000Z-0000.0.0123456789abcdef.mha",)
    assert [described(copy, examination.places) for copy in examination.copies_of(archive)] == [
        str(staging / file),
        str(aside),
    ]
    assert examination.copies_of(ArchiveId(bytes(16))) == ()
    assert examine_staging(staging, LogicalPath.parse("/primary")).strangers == ()


def test_files_that_were_named(tmp_path: Path) -> None:
    archives = in_files({ArchiveId(bytes([n]) * 16): f"{n}.mha" for n in range(2)})
    versions = tuple(
        MailboxVersion(
            partition="primary",
            group="user",
            user=user,
            run=run_id(day),
            shard=0,
            archive=archive,
            folders=1,
            listed=9,
            stored=9,
            skipped=0,
            size_bytes=900,
        )
        for day, archive in enumerate(archives.locations)
        for user in ("jane", "john")
    )
    examination = examine_files(BackupSet(versions=versions, archives=archives), ALL)
    assert [examinee.archive for examinee in examination.archives] == list(archives.locations)
    ((first, second),) = {mailbox.versions for share in examination.mail for mailbox in share.mailboxes}
    assert (first.first, second.last, second.current) == (run_id(0), run_id(1), False)
    with pytest.raises(NotFoundError):
        examine_files(BackupSet(versions=versions, archives=archives), LogicalPath.parse("/x"))
