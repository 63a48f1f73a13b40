"""The state of a Maildir beside what is stored of it, while others change it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.ports import MailboxState
from mailhaul.proto.records import ArchiveId, Progress, RestoreReport
from mailhaul.proto.restored import decode
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import in_files
from mailhaul.tests.maildirs import DATE_NS, Maildir
from mailhaul.tests.memory_chains import Chain
from mailhaul.tests.trees import snapshot
from mailhaul.worker.archives.opened import opened_archives
from mailhaul.worker.choice import Choice, StateRules
from mailhaul.worker.live.state import Live, restore_state
from mailhaul.worker.stores import maildir_state
from mailhaul.worker.stores.maildir import MaildirStore
from mailhaul.worker.stores.maildir_target import MaildirTarget
from mailhaul.worker.stores.renaming import rename_new

OTHER = "f00d7e3a786d016b9d45000083ecc375"
EXACT = StateRules(exact=True)


class Place:
    """The mailbox of jane with four messages in INBOX and two in Work, backed up."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.box = Maildir(root / "mail" / "jane")
        self.box.folder(".Work")
        self.box.keywords("red", "blue")
        for number in range(1, 5):
            self.box.message(f"{number}.host:2,Sa", b"Subject: %d\n\nhi\n" % number)
        for number in (8, 9):
            self.box.message(f"{number}.host:2,", b"Subject: %d\n\nwork\n" % number, folder=".Work")
        self.box.uidlist(*(f"{uid} :{uid}.host" for uid in range(1, 5)))
        self.box.uidlist("8 :8.host", "9 :9.host", header=f"3 V1501 N10 G{OTHER}", folder=".Work")
        path = str(root / "mail")
        self.target = MaildirTarget(path)
        self.live = Live(store=MaildirStore(path), keeper=self.target, target=self.target)
        self.chain = Chain()
        self.first = self.backup()
        self.told: list[Progress] = []

    def backup(self) -> ArchiveId:
        self.chain.run(self.live.store, ["jane"])
        return self.chain.newest["jane"]

    def restore(
        self,
        rules: StateRules = EXACT,
        path: str = "/primary/user/jane",
        only: Sequence[str] = (),
        archive: ArchiveId | None = None,
    ) -> RestoreReport:
        files = {}
        for archive_id, data in self.chain.archives.items():
            files[archive_id] = self.root / f"{archive_id.hex()}.mha"
            files[archive_id].write_bytes(data)
        choice = Choice(
            archive=archive or self.chain.moments[0].newest["jane"],
            user="jane",
            to_user="jane",
            path=LogicalPath.parse(path),
            only=frozenset(only),
            state=rules,
        )
        with opened_archives(in_files(files)) as archives:
            report = restore_state(archives, [choice], self.live, self.told.append)
        assert self.box.leftovers() == []
        assert not list(self.box.root.rglob("*.lock"))
        return report.total()

    def restore_newest(self) -> RestoreReport:
        """As of the newest backup."""
        return self.restore(archive=self.chain.newest["jane"])

    def names(self) -> dict[str, list[str]]:
        folders = ("", *(path.name for path in self.box.root.glob(".*") if path.is_dir()))
        return {folder: self.box.names(folder) + self.box.names(folder, "new") for folder in sorted(folders)}

    def rename(self, old: str, new: str) -> None:
        (self.box.root / old).rename(self.box.root / new)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_nothing_is_to_be_done(place: Place) -> None:
    before = snapshot(place.box.root)
    report = place.restore()
    assert (report.restored, report.present, report.skipped) == (0, 6, ())
    assert snapshot(place.box.root) == before
    (line,) = place.told[-1].done
    assert decode(line).report == report


def test_flags_keywords_and_places(place: Place) -> None:
    before = place.names()
    place.rename("cur/1.host:2,Sa", "cur/1.host:2,FR,more")
    place.rename("cur/2.host:2,Sa", "cur/2.host:2,z")  # a letter that nobody knows
    place.rename("cur/3.host:2,Sa", ".Work/cur/other.host:2,b")
    place.rename(".Work/cur/8.host:2,", ".Work/new/8.host")
    place.rename(".Work/cur/9.host:2,", "cur/moved:2,T")
    planned = place.restore(replace(EXACT, dry_run=True))
    assert place.names()[""] == ["1.host:2,FR,more", "2.host:2,z", "4.host:2,Sa", "moved:2,T"]
    report = place.restore()
    assert report == planned
    assert (report.flagged, report.moved, report.restored, report.present) == (4, 2, 4, 2)
    assert report.skipped == ()
    assert place.names() == {
        "": ["1.host:2,Sa,more", "2.host:2,Saz", "4.host:2,Sa", "other.host:2,Sa"],
        ".Work": ["moved:2,", "8.host"],
    }
    assert before[""][3] in place.names()[""]
    times = {path.stat().st_mtime_ns for path in place.box.root.rglob("cur/*")}
    assert times == {DATE_NS}
    assert place.restore().restored == 0


def test_a_keyword_gets_a_letter_where_it_is_needed(place: Place) -> None:
    place.box.keywords(*(f"word{number}" for number in range(25)))
    place.rename("cur/1.host:2,Sa", "cur/1.host:2,S")
    report = place.restore(path="/primary/user/jane/INBOX")
    assert report.skipped == ()
    assert place.names()[""][0] == "1.host:2,Sz"
    lines = (place.box.root / "dovecot-keywords").read_text().splitlines()
    assert (len(lines), lines[-1]) == (26, "25 red")

    place.box.keywords(*(f"word{number}" for number in range(26)))
    # Nor can it be known which messages have it already: the server is not asked.
    told = place.restore(path="/primary/user/jane/INBOX").skipped
    assert [skip.reason for skip in told] == ["keyword", "keyword"]
    assert "red" in told[-1].detail
    assert place.names()[""][0] == "1.host:2,S"


def test_a_folder_that_is_gone_and_another_in_its_place(place: Place) -> None:
    """The one is known by its GUID, wherever it is; for mail of one that is gone it is made anew."""
    place.rename(".Work", ".Done")
    place.box.folder(".Work")
    place.rename(".Done/cur/8.host:2,", ".Done/cur/8.host:2,F")
    report = place.restore()
    assert (report.flagged, report.moved, report.skipped) == (1, 0, ())
    for name in ("8.host:2,", "9.host:2,"):
        place.rename(f".Done/cur/{name}", f"cur/{name}")
    for one in (".Done", ".Work"):
        for path in sorted((place.box.root / one).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (place.box.root / one).rmdir()
    assert place.restore(path="/primary/user/jane/Work").moved == 2
    assert place.names()[".Work"] == ["8.host:2,", "9.host:2,"]
    assert (place.box.root / ".Work" / "dovecot-uidlist").read_bytes().startswith(b"3 V1501 ")


def test_what_is_gone_is_told_by_folder(place: Place) -> None:
    for number in (1, 2):
        (place.box.root / f"cur/{number}.host:2,Sa").unlink()
    new = place.box.message("new.host:2,", b"Subject: 7\n\nhi\n")  # of the same size
    os.utime(new, ns=(DATE_NS + 1, DATE_NS + 1))
    (told,) = place.restore().skipped
    assert (told.path, told.reason, told.detail[:2]) == ("/primary/user/jane/INBOX", "absent", "2 ")
    assert "new.host:2," in place.names()[""]


def test_a_name_that_an_expunged_message_had_is_never_used(place: Place) -> None:
    place.rename("cur/3.host:2,Sa", ".Work/cur/3.host:2,")
    report = place.restore()
    assert (report.moved, report.skipped) == (1, ())
    assert place.names()[""] == ["1.host:2,Sa", "2.host:2,Sa", "3.host_r1:2,Sa", "4.host:2,Sa"]
    assert place.restore().restored == 0, "and it is known by its new name"


def test_what_was_done_since_the_newest_backup(place: Place) -> None:
    place.rename("cur/1.host:2,Sa", "cur/1.host:2,")
    place.rename("cur/2.host:2,Sa", "cur/2.host:2,b")
    later = place.chain
    place.backup()
    place.rename("cur/1.host:2,", "cur/1.host:2,R")
    place.rename("cur/2.host:2,b", "cur/2.host:2,")
    place.rename("cur/4.host:2,Sa", "cur/4.host:2,F")
    rules = StateRules(later=later.newest["jane"])
    assert place.restore(rules).flagged == 2
    assert place.names()[""] == ["1.host:2,RSa", "2.host:2,Sa", "3.host:2,Sa", "4.host:2,F"]
    assert place.restore(rules).flagged == 0

    archive = place.chain.newest["jane"]
    place.chain.archives[archive] = place.chain.archives[archive][:100]
    report = place.restore(rules)
    assert [skip.reason for skip in report.skipped] == ["later"]
    assert place.names()[""][3] == "4.host:2,FSa", "without it flags are put together"


def test_only_what_failed(place: Place) -> None:
    for number in (1, 2):
        place.rename(f"cur/{number}.host:2,Sa", f"cur/{number}.host:2,")
    assert place.restore(only=["/primary/user/jane/INBOX/2"]).flagged == 1
    assert place.names()[""][:2] == ["1.host:2,", "2.host:2,Sa"]


class Meanwhile:
    """A StateKeeper that lets something happen before each call."""

    def __init__(self, keeper: MaildirTarget, happens: Callable[[], object]) -> None:
        self._keeper = keeper
        self._happens = happens

    @contextmanager
    def open_state(self, user: str) -> Iterator[MailboxState]:
        with self._keeper.open_state(user) as state:
            self._happens()
            yield state


def test_what_happens_between_the_look_and_the_deed(place: Place) -> None:
    """A flag that is set meanwhile counts as all others; who has gone is told."""

    def happens() -> None:
        if "1.host:2," in place.names()[""]:
            place.rename("cur/1.host:2,", "cur/1.host:2,F")
            (place.box.root / "cur/2.host:2,").unlink()

    for number in (1, 2, 3):
        place.rename(f"cur/{number}.host:2,Sa", f"cur/{number}.host:2,")
    place.live = replace(place.live, keeper=Meanwhile(place.target, happens))
    report = place.restore(StateRules())
    assert [(skip.path, skip.reason) for skip in report.skipped] == [
        ("/primary/user/jane/INBOX/2", "vanished")
    ]
    assert place.names()[""] == ["1.host:2,FSa", "3.host:2,Sa", "4.host:2,Sa"]


def test_killed_in_the_midst(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it ends, no message is there twice or not at all, and once more does the rest."""
    before = place.names()
    for number in (1, 2):
        place.rename(f"cur/{number}.host:2,Sa", f"cur/{number}.host:2,")
    for number in (3, 4):
        place.rename(f"cur/{number}.host:2,Sa", f".Work/cur/x{number}.host:2,")
    for most in range(5):
        done = 0

        def some(source: int, name: bytes, target: int, new: bytes, most: int = most) -> None:
            nonlocal done
            done += 1
            if done > min(most, 1):
                raise KeyboardInterrupt
            rename_new(source, name, target, new)

        monkeypatch.setattr(maildir_state, "rename_new", some)
        with suppress(KeyboardInterrupt):
            place.restore()
        assert sum(map(len, place.names().values())) == 6
    monkeypatch.setattr(maildir_state, "rename_new", rename_new)
    place.restore()
    after = place.names()
    assert after[".Work"] == before[".Work"]
    assert after[""] == ["1.host:2,Sa", "2.host:2,Sa", "x3.host:2,Sa", "x4.host:2,Sa"]


def test_the_lock_is_held_for_moments(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two turns whoever waits gets it."""
    monkeypatch.setattr(maildir_state, "_LOCKED_SECONDS", 0)
    held: list[bool] = []
    free: list[bool] = []

    def renamed(source: int, name: bytes, target: int, new: bytes) -> None:
        held.append((place.box.root / "dovecot-uidlist.lock").exists())
        rename_new(source, name, target, new)

    monkeypatch.setattr(maildir_state, "rename_new", renamed)
    monkeypatch.setattr(
        time,
        "sleep",
        lambda _: free.append(not (place.box.root / "dovecot-uidlist.lock").exists()),
    )
    for number in (1, 2, 3):
        place.rename(f"cur/{number}.host:2,Sa", f"cur/{number}.host:2,")
    assert place.restore().flagged == 3
    assert held == [True] * 3
    assert free == [True] * 2


def test_a_mailbox_that_is_not_there(place: Place) -> None:
    os.rename(place.box.root, place.root / "away")
    report = place.restore()
    assert [(skip.path, skip.reason) for skip in report.skipped] == [("/primary/user/jane", "mailbox")]
