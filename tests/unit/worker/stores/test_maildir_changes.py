"""What a Maildir's marks notice: every change that matters, whatever was done to hide it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailhaul.worker.packing import hot_path
from mailhaul.worker.packing.entries import Entry
from mailhaul.worker.stores.listing import Listing
from mailhaul.worker.stores.maildir import MaildirStore

from ....known_mail import Known, remember
from ....maildirs import DATE_NS, GUID, Maildir

SECOND = 1_000_000_000


@pytest.fixture
def box(tmp_path: Path) -> Maildir:
    """A mailbox as a server keeps it, which nobody has touched for a moment."""
    box = Maildir(tmp_path / "mail" / "jane" / "Maildir")
    for folder in ("", ".Sent", ".Work"):
        box.folder(folder)
        box.message("1.host,S=3:2,", b"one", folder=folder)
        box.message("2.host,S=3:2,S", b"two", folder=folder)
        box.message("3.host", b"three", folder=folder, place="new")
        box.uidlist("1 :1.host,S=3", "2 :2.host,S=3", "3 :3.host", folder=folder)
        box.keywords("$Forwarded", folder=folder)
    (box.root / "subscriptions").write_text("Sent\nWork\n")
    settle()
    return box


def settle() -> None:
    time.sleep(0.03)


def store(box: Maildir, *, ahead_ns: int = 0, at_ns: int | None = None) -> MaildirStore:
    """The store, with a clock that is so much ahead, or stands still."""
    return MaildirStore(
        f"{box.root.parent.parent}/{{user}}/{box.root.name}",
        now=lambda: time.time_ns() + ahead_ns if at_ns is None else at_ns,
    )


def look(box: Maildir, known: Known | None = None, *, ahead_ns: int = 0, at_ns: int | None = None) -> Known:
    return remember(store(box, ahead_ns=ahead_ns, at_ns=at_ns), "jane", known)


def just_after(path: Path) -> int:
    """A moment in the same tick as the last change of a file, however busy this machine is."""
    return path.stat().st_ctime_ns + 1


def put_times_back(box: Maildir, folder: str, change: Callable[[], object]) -> None:
    """A change that is hidden by giving every directory and file the mtime it had."""
    paths = [
        box.root / folder / name for name in ("", "new", "cur", "tmp", "dovecot-uidlist", "dovecot-keywords")
    ]
    before = [(path, path.stat().st_mtime_ns) for path in paths if path.exists()]
    change()
    for path, time_ns in before:
        if path.exists():
            os.utime(path, ns=(time_ns, time_ns))


def deliver(box: Maildir) -> None:
    path = box.root / ".Sent" / "tmp" / "4.host"
    path.write_bytes(b"four")
    path.rename(box.root / ".Sent" / "new" / "4.host")


def flag(box: Maildir) -> None:
    cur = box.root / ".Sent" / "cur"
    (cur / "1.host,S=3:2,").rename(cur / "1.host,S=3:2,FS")


def see(box: Maildir) -> None:
    (box.root / ".Sent" / "new" / "3.host").rename(box.root / ".Sent" / "cur" / "3.host:2,S")


def expunge(box: Maildir) -> None:
    (box.root / ".Sent" / "cur" / "2.host,S=3:2,S").unlink()


def swap_names(box: Maildir) -> None:
    cur = box.root / ".Sent" / "cur"
    (cur / "1.host,S=3:2,").rename(cur / "x")
    (cur / "2.host,S=3:2,S").rename(cur / "2.host,S=3:2,")
    (cur / "x").rename(cur / "1.host,S=3:2,S")


def rewrite_uidlist(box: Maildir) -> None:
    """As a server does: a new file of the same size in the place of the old one."""
    path = box.root / ".Sent" / "dovecot-uidlist"
    other = path.with_suffix(".tmp")
    other.write_bytes(path.read_bytes().replace(b"2 :2.host", b"9 :2.host"))
    other.rename(path)


def append_to_uidlist(box: Maildir) -> None:
    with (box.root / ".Sent" / "dovecot-uidlist").open("ab") as file:
        file.write(b"4 :4.host\n")


def remove_uidlist(box: Maildir) -> None:
    (box.root / ".Sent" / "dovecot-uidlist").unlink()


def rename_a_keyword(box: Maildir) -> None:
    (box.root / ".Sent" / "dovecot-keywords").write_text("0 $forwarded\n")


def remove_keywords(box: Maildir) -> None:
    (box.root / ".Sent" / "dovecot-keywords").unlink()


CHANGES = [
    deliver, flag, see, expunge, swap_names, rewrite_uidlist, append_to_uidlist, remove_uidlist,
    rename_a_keyword, remove_keywords,
]  # fmt: skip


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_shows(box: Maildir, change: Callable[[Maildir], None], hidden: bool) -> None:
    first = look(box)
    assert all(folder.mark for folder in first.folders.values())
    if hidden:
        put_times_back(box, ".Sent", lambda: change(box))
    else:
        change(box)
    second = look(box, first)
    assert [remembered.folder.name for remembered in second.folders.values() if not remembered.unchanged] == [
        "Sent"
    ]
    assert second["Sent"].trusted is (change is not remove_uidlist)
    assert second["Sent"].names == look(box)["Sent"].names
    settle()
    # Other names, other marks: also against the first state.
    assert look(box)["Sent"].mark not in (b"", first["Sent"].mark)


def mark_of_all(box: Maildir, known: Known | None = None, *, at_ns: int | None = None) -> bytes:
    with store(box, at_ns=at_ns).open_mailbox("jane", known) as mailbox:
        return mailbox.mark()


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_shows_in_the_mark_of_all(
    box: Maildir, change: Callable[[Maildir], None], hidden: bool
) -> None:
    known = look(box)
    first = mark_of_all(box)
    assert first == mark_of_all(box, known) == known.mark != b""
    if hidden:
        put_times_back(box, ".Sent", lambda: change(box))
    else:
        change(box)
    assert first not in (mark_of_all(box), mark_of_all(box, known))
    settle()
    assert mark_of_all(box) == mark_of_all(box, known) not in (b"", first)


@pytest.mark.parametrize(
    "change", ["mode of a folder", "mode of tmp", "times", "list of attributes", "directory", "above", "home"]
)
def test_what_is_recorded_of_directories_shows_in_the_mark_of_all(box: Maildir, change: str) -> None:
    (box.root / ".Sent" / "scripts").mkdir()
    settle()
    known, sent = look(box), box.root / ".Sent"
    first = mark_of_all(box, known)
    assert first == known.mark != b""
    if change == "mode of a folder":
        sent.chmod(0o750)
    elif change == "mode of tmp":
        (sent / "tmp").chmod(0o750)
    elif change == "times":
        os.utime(sent, ns=(1, DATE_NS))
    elif change == "list of attributes":
        try:
            os.setxattr(sent / "tmp", "user.note", b"x")
        except OSError as error:
            pytest.skip(f"no attributes here: {error.strerror}")
    elif change == "directory":
        (sent / "scripts").chmod(0o750)
    elif change == "above":
        box.root.parent.parent.chmod(0o750)
        box.root.parent.chmod(0o711)
    else:
        (box.root.parent / ".dovecot.sieve").mkdir()
    settle()
    assert mark_of_all(box) == mark_of_all(box, known) not in (b"", first)


def test_a_mailbox_that_is_as_it_is_known_is_not_listed(
    box: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = look(box)
    with store(box).open_mailbox("jane", known) as mailbox:
        monkeypatch.setattr(os, "scandir", lambda _: pytest.fail("a directory was listed"))
        assert mailbox.mark() == known.mark != b""
        assert list(mailbox.files()) == known.files
        assert mailbox.files_mark() == known.files_mark != b""


def test_a_folder_that_is_not_wanted_any_more_is_passed_over(box: Maildir) -> None:
    known = look(box)
    with store(box).open_mailbox("jane", known, lambda folder: folder != "Sent") as mailbox:
        assert mailbox.mark() == b""
        assert mailbox.passed_over() == ["Sent"]


def test_what_is_not_as_it_is_known_is_listed_after_all(box: Maildir) -> None:
    """A file that was changed, and mail that came after the first look."""
    known = look(box)
    with (box.root / "subscriptions").open("a") as file:
        file.write("Work/New\n")
    with store(box).open_mailbox("jane", known) as mailbox:
        assert mailbox.mark() == known.mark
        assert list(mailbox.files()) == known.files
        assert mailbox.files_mark() != known.files_mark
        deliver(box)
        found = {folder.folder.name: (folder.unchanged, len(folder)) for folder in mailbox.folders()}
    assert found == {"INBOX": (True, 3), "Sent": (False, 4), "Work": (True, 3)}
    assert mark_of_all(box) != known.mark


def test_a_mailbox_that_is_young_has_no_mark(box: Maildir) -> None:
    for name in ("tmp", "cur", "dovecot-uidlist", ""):
        path = box.root / ".Sent" / name
        path.chmod(path.stat().st_mode & 0o770)
        assert mark_of_all(box, at_ns=just_after(path)) == b""
        settle()


@pytest.mark.parametrize("change", ["index", "directory", "tmp", "read"])
def test_what_a_server_does_all_the_time_is_no_change(box: Maildir, change: str) -> None:
    first = look(box)
    sent = box.root / ".Sent"
    if change == "index":
        (sent / "dovecot.index.log").write_text("x")
    elif change == "directory":
        sent.chmod(0o750)
        os.utime(sent, ns=(1, DATE_NS))
    elif change == "tmp":
        (sent / "tmp" / "half").write_text("x")
    else:
        (sent / "cur" / "1.host,S=3:2,").read_bytes()
    second = look(box, first)
    assert all(folder.unchanged for folder in second.folders.values())
    # The directories' own records are always fresh.
    fresh = look(box)["Sent"].folder
    assert second["Sent"].folder == fresh
    assert (fresh.directories != first["Sent"].folder.directories) is (change != "read")


def test_a_message_in_the_place_of_another_is_found_by_stat(box: Maildir) -> None:
    """Names are never given twice by a server; who gives them twice is found out by ``--thorough``."""
    first = look(box)
    path = box.root / ".Sent" / "cur" / "1.host,S=3:2,"
    path.write_bytes(b"other")
    with store(box).open_mailbox("jane", first) as mailbox:
        for folder in mailbox.folders():
            if folder.folder.name == "Sent":
                assert folder.unchanged
                sizes = {message.base: folder.stat(message).size for message in folder.messages()}
                assert sizes[b"1.host,S=3"] == len(b"other")


def test_a_folder_made_anew_with_the_same_names_is_another_one(box: Maildir) -> None:
    first = look(box)
    sent = box.root / ".Sent"

    def remake() -> None:
        shutil.copytree(sent, box.root / ".copy")
        shutil.rmtree(sent)
        (box.root / ".copy").rename(sent)
        (sent / "cur" / "1.host,S=3:2,").write_bytes(b"another one")

    put_times_back(box, ".Sent", remake)
    second = look(box, first)
    assert (second["Sent"].unchanged, second["Sent"].trusted) == (False, False)
    assert second["Work"].unchanged


def test_messages_deleted_and_made_anew_below_the_same_directory_names(box: Maildir) -> None:
    """A file system likes to give the number of a directory just removed to the next one."""
    first = look(box)
    for place in ("new", "cur"):
        directory = box.root / ".Sent" / place
        shutil.rmtree(directory)
        directory.mkdir()
    box.message("1.host,S=3:2,", b"another", folder=".Sent")
    second = look(box, first)
    assert (second["Sent"].unchanged, second["Sent"].trusted) == (False, False)


@pytest.mark.parametrize("header", ["3 V1501 N100 G" + GUID, "3 V1500 N100 G" + GUID[::-1], "3 V1500 N100"])
def test_a_folder_counted_anew_is_not_trusted(box: Maildir, header: str) -> None:
    first = look(box)
    box.uidlist("1 :1.host,S=3", header=header, folder=".Sent")
    second = look(box, first)
    assert (second["Sent"].unchanged, second["Sent"].trusted) == (False, False)


def test_a_store_that_was_copied_is_another_one(box: Maildir, tmp_path: Path) -> None:
    first = look(box)
    (tmp_path / "copy").mkdir()
    subprocess.run(["cp", "-a", str(box.root.parent.parent), str(tmp_path / "copy")], check=True, timeout=60)
    copy = Maildir.__new__(Maildir)
    copy.root = tmp_path / "copy" / "mail" / "jane" / "Maildir"
    assert (copy.root / "cur").stat().st_mtime_ns == (box.root / "cur").stat().st_mtime_ns
    second = look(copy, first)
    assert {(folder.unchanged, folder.trusted) for folder in second.folders.values()} == {(False, False)}
    assert second.files_mark != first.files_mark
    assert [one.names for one in second.folders.values()] == [one.names for one in first.folders.values()]


def test_a_renamed_folder_has_no_past_under_its_new_name(box: Maildir) -> None:
    first = look(box)
    (box.root / ".Sent").rename(box.root / ".Gone")
    second = look(box, first)
    assert [folder.folder.name for folder in second.folders.values() if not folder.unchanged] == ["Gone"]
    assert not second["Gone"].trusted
    # Whoever knows it under its old path may trust the names in it.
    first.folders[b".Gone"] = first["Sent"]
    third = look(box, first)
    assert (third["Gone"].unchanged, third["Gone"].trusted) == (False, True)


def test_a_change_in_the_same_tick_can_not_hide(box: Maildir) -> None:
    """Without a mark, a folder that was just changed is listed again next time."""
    flag(box)
    at_ns = just_after(box.root / ".Sent" / "cur")
    first = look(box, at_ns=at_ns)
    assert first["Sent"].mark == b""
    assert first["Work"].mark
    second = look(box, first, at_ns=at_ns)
    assert (second["Sent"].unchanged, second["Sent"].trusted) == (False, False)
    assert (second["Work"].unchanged, second["Work"].trusted) == (True, True)


@pytest.mark.parametrize("name", ["dovecot-uidlist", "dovecot-keywords"])
def test_lists_that_are_young_leave_no_mark(box: Maildir, name: str) -> None:
    (box.root / ".Sent" / name).chmod(0o600)
    assert look(box, at_ns=just_after(box.root / ".Sent" / name))["Sent"].mark == b""
    settle()
    assert look(box)["Sent"].mark


def test_a_clock_set_back_leaves_no_marks_until_it_has_caught_up(box: Maildir) -> None:
    behind = look(box, ahead_ns=-3600 * SECOND)
    assert {folder.mark for folder in behind.folders.values()} == {b""}
    assert behind.files_mark == b""
    ahead = look(box, ahead_ns=3600 * SECOND)
    assert all(remembered.mark for remembered in ahead.folders.values())
    # What was marked holds whatever the clock says later: nothing has changed.
    assert all(one.unchanged for one in look(box, ahead, ahead_ns=-3600 * SECOND).folders.values())


def test_mtimes_in_the_future_leave_no_mark(box: Maildir) -> None:
    os.utime(box.root / ".Sent" / "cur", (4e9, 4e9))
    settle()
    assert look(box)["Sent"].mark == b""


@pytest.mark.parametrize(
    "trouble", ["hidden file", "link", "garbled list", "list is a pipe", "keywords are a pipe"]
)
def test_what_has_to_be_told_each_time_leaves_no_mark(box: Maildir, trouble: str) -> None:
    sent = box.root / ".Sent"
    if trouble == "hidden file":
        (sent / "cur" / ".hidden").write_text("x")
    elif trouble == "link":
        (sent / "new" / "link").symlink_to("3.host")
    elif trouble == "garbled list":
        with (sent / "dovecot-uidlist").open("ab") as file:
            file.write(b"what is this\n")
    else:
        path = sent / ("dovecot-uidlist" if trouble == "list is a pipe" else "dovecot-keywords")
        path.unlink()
        os.mkfifo(path)
    settle()
    first = look(box)
    assert first["Sent"].mark == b""
    second = look(box, first)
    assert not second["Sent"].unchanged
    assert (second.skipped, second.files) == (first.skipped, first.files)


def test_a_listing_that_does_not_settle_leaves_no_mark(box: Maildir, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Listing._names
    counted = iter(range(1000))

    def busy(listing: Listing, place: str) -> object:
        if os.readlink(f"/proc/self/fd/{listing._fds[place]}").endswith(".Sent/cur"):
            (box.root / ".Sent" / "cur" / f"9{next(counted)}.host:2,").touch()
        return names(listing, place)

    monkeypatch.setattr(Listing, "_names", busy)
    with store(box).open_mailbox("jane") as mailbox:
        marked = [(folder.folder.name, bool(folder.mark)) for folder in mailbox.folders()]
    assert marked[:3] == [("INBOX", True), ("Sent", False), ("Work", True)]


def test_nothing_of_an_unchanged_mailbox_is_opened_but_its_directories(
    box: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = look(box)
    opened: list[str] = []
    listed: list[str] = []
    open_it, read = os.open, hot_path.entries_in

    def noted_open(path: bytes, *args: object, **more: object) -> int:
        opened.append(os.fsdecode(path))
        return open_it(path, *args, **more)  # type: ignore[arg-type]

    def noted_entries(fd: int) -> Iterator[Entry]:
        listed.append(os.readlink(f"/proc/self/fd/{fd}"))
        return read(fd)

    monkeypatch.setattr(os, "open", noted_open)
    monkeypatch.setattr(hot_path, "entries_in", noted_entries)
    second = look(box, first)
    assert all(folder.unchanged for folder in second.folders.values())
    assert not {"new", "cur", "dovecot-uidlist", "dovecot-keywords"} & set(opened)
    assert sorted(listed) == sorted(str(box.root / name) for name in ("", ".Sent", ".Work"))


def test_a_folder_that_is_not_wanted_is_not_looked_into(
    box: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    (box.root / ".Sent" / "extra").mkdir()
    (box.root / ".Sent" / "extra" / "file").write_text("x")
    (box.root / "scripts").mkdir()
    (box.root / "scripts" / "a").write_text("x")
    opened: list[str] = []
    open_it = os.open

    def noted(path: bytes, *args: object, **more: object) -> int:
        fd = open_it(path, *args, **more)  # type: ignore[arg-type]
        opened.append(os.readlink(f"/proc/self/fd/{fd}"))
        return fd

    monkeypatch.setattr(os, "open", noted)
    found = remember(store(box), "jane", wanted=lambda name: name == "Work")
    assert (list(found.folders), found.passed_over) == ([b".Work"], ["INBOX", "Sent"])
    assert not [
        path for path in opened if path.endswith((".Sent/cur", ".Sent/new", "Maildir/cur", "Maildir/new"))
    ]
    # The mailbox's own files and directories are told with the first folder that is wanted.
    assert {file.path for file in found.files} == {
        b"subscriptions", b"dovecot-keywords", b"scripts/a", b".Work/dovecot-keywords"
    }  # fmt: skip
    assert {directory.path for directory in found["Work"].folder.directories} == {
        b".Work", b".Work/new", b".Work/cur", b".Work/tmp", b".Work/dovecot-uidlist", b"scripts", b""
    }  # fmt: skip


def test_what_came_after_the_first_look_comes_when_messages_are_asked_for(box: Maildir) -> None:
    first = look(box)
    with store(box).open_mailbox("jane", first) as mailbox:
        for folder in mailbox.folders():
            if folder.folder.name == "Sent":
                assert folder.unchanged
                deliver(box)
                box.uidlist("1 :1.host,S=3", "200 :4.host", folder=".Sent")
                assert (len(folder), folder.mark) == (4, first["Sent"].mark)
                assert {listed.base: listed.uid for listed in folder.messages()}[b"4.host"] == 200
                assert folder.folder.uidnext == 201
                for message in folder.messages():
                    folder.open_message(message).close()
    assert not look(box, first)["Sent"].unchanged


def test_an_unchanged_folder_that_is_gone_when_it_is_asked_has_nothing(box: Maildir) -> None:
    first = look(box)
    with store(box).open_mailbox("jane", first) as mailbox:
        found = {}
        for folder in mailbox.folders():
            if folder.folder.name == "Sent":
                (box.root / ".Sent").rename(box.root.parent / "deleted")
                assert (len(folder), list(folder.messages()), folder.trusted) == (0, [], False)
            found[folder.folder.name] = len(folder)
        assert found == {"INBOX": 3, "Sent": 0, "Work": 3}
        assert [(skip.path, skip.reason) for skip in mailbox.skipped()] == [(".Sent", "vanished")]


def test_mail_moved_into_an_unchanged_folder_while_another_is_read(box: Maildir) -> None:
    first = look(box)
    box.message("9.host:2,", b"nine", folder=".Work")
    settle()
    told = []
    with store(box).open_mailbox("jane", first) as mailbox:
        for folder in mailbox.folders():
            if folder.folder.name == "Work":
                (box.root / ".Work" / "cur" / "9.host:2,").rename(box.root / "cur" / "8.host:2,S")
                settle()  # also of what is certain by then a second look leaves no mark
            told.append(
                (folder.folder.name, folder.unchanged, folder.mark == b"", folder.trusted)
                + (() if folder.unchanged else (sorted(message.base for message in folder.messages()),))
            )
    kept = [b"1.host,S=3", b"2.host,S=3", b"3.host"]
    assert told == [
        ("INBOX", True, False, True),
        ("Sent", True, False, True),
        ("Work", False, False, True, [*kept, b"9.host"]),
        ("INBOX", False, True, True, [b"8.host"]),
    ]
    assert first["INBOX"].asked == 1
    assert first["Sent"].asked == 0


@pytest.mark.parametrize("change", ["content", "hidden content", "mode", "new", "gone", "link", "home"])
def test_a_change_of_other_files_shows(box: Maildir, change: str) -> None:
    subscriptions, link = box.root / "subscriptions", box.root / "active"
    link.symlink_to("a.sieve")
    settle()
    first = look(box)
    changed_ns = time.time_ns()
    if change == "content":
        subscriptions.write_text("Sent\n")
    elif change == "hidden content":
        before = subscriptions.stat().st_mtime_ns
        subscriptions.write_text("Work\nSent\n")
        os.utime(subscriptions, ns=(before, before))
    elif change == "mode":
        subscriptions.chmod(0o600)
    elif change == "new":
        (box.root / "scripts").mkdir()
        (box.root / "scripts" / "b.sieve").write_text("keep;")
    elif change == "gone":
        subscriptions.unlink()
    elif change == "link":
        link.unlink()
        link.symlink_to("b.sieve")
    else:
        (box.root.parent / ".dovecot.sieve").write_text("keep;")
    young = look(box, first, at_ns=changed_ns)  # at once, however long this took
    assert young.files_mark == (look(box).files_mark if change == "gone" else b"")
    settle()
    assert look(box).files_mark not in (b"", first.files_mark)
    assert all(folder.unchanged for folder in young.folders.values())


def test_a_file_that_vanished_since_the_mailbox_was_looked_through_is_not_listed(box: Maildir) -> None:
    (box.root / "subscriptions.123").write_text("x")
    with store(box).open_mailbox("jane") as mailbox:
        list(mailbox.folders())
        (box.root / "subscriptions.123").unlink()
        assert b"subscriptions.123" not in {file.path for file in mailbox.files()}
        assert mailbox.skipped() == []


def test_a_file_that_cannot_be_looked_at_leaves_no_mark(box: Maildir) -> None:
    (box.root / "scripts").mkdir()
    (box.root / "scripts" / "a").write_text("x")
    settle()
    with store(box).open_mailbox("jane") as mailbox:
        list(mailbox.folders())
        shutil.rmtree(box.root / "scripts")
        (box.root / "scripts").write_text("no directory any more")
        listed = {file.path for file in mailbox.files()}
        assert b"scripts/a" in listed
        assert mailbox.files_mark() == b""


def _random_change(box: Maildir, choose: random.Random, serial: int) -> None:
    folder = box.root / choose.choice(["", ".Sent", ".Work"])
    cur = folder / "cur"
    names = sorted(os.listdir(cur))
    kind = choose.randrange(6)
    if kind == 0 or not names:
        (cur / f"{serial}.host:2,").write_text(str(serial))
    elif kind == 1:
        (cur / choose.choice(names)).unlink()
    elif kind == 2:
        name = choose.choice(names)
        (cur / name).rename(cur / f"{name.partition(':')[0]}:2,{choose.choice(['', 'S', 'FS'])}")
    elif kind == 3:
        shutil.copytree(folder / "new", folder / "new2")
        shutil.rmtree(folder / "new")
        (folder / "new2").rename(folder / "new")
    elif kind == 4:
        lines = [f"{serial + at} :{name.partition(':')[0]}" for at, name in enumerate(names)]
        box.uidlist(*lines, folder=str(folder.relative_to(box.root)))
    else:
        before = cur.stat().st_mtime_ns
        (cur / choose.choice(names)).unlink()
        (cur / f"{serial}.other:2,").touch()
        os.utime(cur, ns=(before, before))


@pytest.mark.parametrize("seed", range(4))
def test_what_counts_as_unchanged_is_unchanged(tmp_path: Path, seed: int) -> None:
    """Whatever happens, and however shortly before a look: an unchanged folder holds what it held then."""

    def contents(box: Maildir) -> dict[bytes, object]:
        with store(box).open_mailbox("jane") as mailbox:
            return {
                folder.folder.path: (folder.folder.keywords, list(folder.messages()))
                for folder in mailbox.folders()
            }

    choose = random.Random(seed)
    box = Maildir(tmp_path / "mail" / "jane" / "Maildir")
    for folder in (".Sent", ".Work"):
        box.folder(folder)
    known, before = look(box), contents(box)
    unchanged = 0
    for serial in range(60):
        for _ in range(choose.randrange(2)):
            _random_change(box, choose, serial)
        if choose.random() < 0.3:
            settle()
        now, after = look(box, known), contents(box)
        for path, found in now.folders.items():
            unchanged += found.unchanged
            assert not found.unchanged or after[path] == before[path]
        known, before = now, after
    assert unchanged > 40
