"""A restore counts its target afterwards: what is not there, or can't be listed, is not taken for done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.records import FOLDERS, Folder, RestoreReport
from mailhaul.tests.archives import ARCHIVE, in_files, write_archive
from mailhaul.worker.archives.opened import opened_archives
from mailhaul.worker.choice import Choice
from mailhaul.worker.exports.directory_target import DirectoryTarget
from mailhaul.worker.exports.eml_target import EmlFolder
from mailhaul.worker.restore import restore

MAIL = {"jane": {"INBOX": [b"Subject: a\n\na\n", b"Subject: b\n\nb\n"], "Sent": [b"Subject: c\n\nc\n"]}}


def report_of(place: Path, listed: Callable[[EmlFolder], int]) -> RestoreReport:
    """A restore into files of which the listing is this."""
    (place / "a.mha").write_bytes(write_archive(MAIL))

    class Folder(EmlFolder):
        def listed(self) -> int:
            return listed(self)

    target = DirectoryTarget(str(place / "mail"), Folder)
    choice = Choice(archive=ARCHIVE, user="jane", to_user="jane", path=LogicalPath("primary", "user", "jane"))
    with opened_archives(in_files({ARCHIVE: place / "a.mha"})) as archives:
        report = restore(archives, (choice,), target, lambda _: None).total()
    assert report.restored == 3
    return report


def test_all_is_there(tmp_path: Path) -> None:
    assert report_of(tmp_path, EmlFolder.listed).skipped == ()


def test_a_message_is_not_there(tmp_path: Path) -> None:
    (lacking,) = report_of(tmp_path, lambda _: 1).skipped
    assert (lacking.path, lacking.reason) == ("/primary/user/jane/INBOX", "count")
    assert lacking.detail == "2 messages were to be there, and the target lists 1"


def test_it_can_not_be_listed(tmp_path: Path) -> None:
    def broken(_: EmlFolder) -> int:
        raise PermissionError(13, "Permission denied")

    (told,) = report_of(tmp_path, broken).skipped
    assert (told.path, told.reason) == ("/primary/user/jane", "count")
    assert told.detail == "what was restored can't be listed: INBOX: Permission denied"


def test_what_is_told_to_users_before_the_mailbox_is_done(tmp_path: Path) -> None:
    """Who goes on with a restore that is killed looks at what is done no more: the message would stay."""
    (tmp_path / "a.mha").write_bytes(write_archive(MAIL))
    told: list[str] = []

    class Announcing:
        def announce(self, user: str, place: bytes, layout: Sequence[Folder], content: bytes) -> None:
            told.append(f"put {content.decode()}")

        def end_announcement(self, user: str, place: bytes, layout: Sequence[Folder]) -> None:
            told.append("taken away")

    path = LogicalPath("primary", "user", "jane")
    choices = [
        Choice(archive=ARCHIVE, user="jane", to_user="jane", path=path, reach=reach, announcement=b"soon")
        for reach in (FOLDERS, "2026-11-07T03:15:00+00:00", "")
    ]
    with opened_archives(in_files({ARCHIVE: tmp_path / "a.mha"})) as archives:
        target = DirectoryTarget(str(tmp_path / "mail"), EmlFolder)
        restore(
            archives,
            choices,
            target,
            lambda progress: told.extend("done" for _ in progress.done),
            None,
            Announcing(),
        )
    assert told == ["put soon", "done", "done", "taken away", "done"]
