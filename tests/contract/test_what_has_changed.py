"""What every adapter of MailStore promises of a mailbox that was stored before (proto/ports.py)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mailhaul.proto.errors import MessageUnavailable
from mailhaul.proto.records import Folder
from mailhaul.proto.structs import replace

from ..known_mail import Known, remember, remembered
from ..maildirs import GUID, file, message, read_mailbox
from .conftest import USER, Adapter

INBOX = Folder(name="INBOX", path=b"", uidvalidity=1500, uidnext=40, guid=GUID)
SENT = Folder(name="Sent", path=b".Sent", uidvalidity=1501, uidnext=2, guid=GUID[::-1])


def fill(adapter: Adapter) -> None:
    """A mailbox of two folders with two messages each, and a file in each folder."""
    with adapter.target.open_mailbox(USER) as mailbox:
        for folder in (INBOX, SENT):
            writer = mailbox.open_folder(folder)
            for uid, base in enumerate((b"1.host", b"2.host"), 1):
                writer.add(message(base, base, uid=uid, suffix=b":2,"), [base])
            writer.finish()
        mailbox.add_file(file(b"subscriptions", b"Sent\n"), [b"Sent\n"])
        mailbox.add_file(file(b".Sent/notes", b"x"), [b"x"])
        mailbox.commit()
    adapter.settle()


def deliver(adapter: Adapter, base: bytes = b"3.host") -> None:
    with adapter.target.open_mailbox(USER) as mailbox:
        writer = mailbox.open_folder(INBOX)
        writer.add(message(base, b"new"), [b"new"])
        writer.finish()
        mailbox.commit()


def add_file(adapter: Adapter, path: bytes) -> None:
    with adapter.target.open_mailbox(USER) as mailbox:
        mailbox.add_file(file(path, b"y"), [b"y"])
        mailbox.commit()


def test_what_has_not_changed_is_not_listed(adapter: Adapter) -> None:
    fill(adapter)
    first = remember(adapter.store, USER)
    assert [(folder.unchanged, folder.trusted, folder.listed) for folder in first.folders.values()] == [
        (False, False, 2)
    ] * 2
    assert first.files_mark
    second = remember(adapter.store, USER, first)
    for path, before in first.folders.items():
        now = second.folders[path]
        assert (now.unchanged, now.trusted, now.mark, now.folder) == (True, True, before.mark, before.folder)
        assert now.mark
    assert (second.files, second.files_mark) == (first.files, first.files_mark)
    assert len({one.mark for one in first.folders.values()}) == 2


def test_what_has_not_changed_is_listed_when_asked_for(adapter: Adapter) -> None:
    fill(adapter)
    with adapter.store.open_mailbox(USER) as mailbox:
        fresh = read_mailbox(mailbox)
    with adapter.store.open_mailbox(USER, remember(adapter.store, USER)) as mailbox:
        assert read_mailbox(mailbox) == fresh
        assert mailbox.skipped() in ([], ())


def flag(adapter: Adapter) -> None:
    adapter.rename(b"", b"1.host", b":2,S")


def expunge(adapter: Adapter) -> None:
    adapter.expunge(b"", b"2.host")


def replace_one(adapter: Adapter) -> None:
    expunge(adapter)
    deliver(adapter)


@pytest.mark.parametrize("change", [deliver, flag, expunge, replace_one])
def test_a_change_shows_in_its_folder_alone(adapter: Adapter, change: Callable[[Adapter], None]) -> None:
    fill(adapter)
    first = remember(adapter.store, USER)
    change(adapter)
    adapter.settle()
    second = remember(adapter.store, USER, first)
    with adapter.store.open_mailbox(USER) as mailbox:
        fresh = {
            folder.path: [listed.base for listed, _ in messages] for folder, messages in read_mailbox(mailbox)
        }
    inbox, sent = second[INBOX.name], second[SENT.name]
    assert (inbox.unchanged, inbox.trusted, inbox.names) == (False, True, fresh[b""])
    assert inbox.mark not in (b"", first[INBOX.name].mark)
    assert (sent.unchanged, sent.names) == (True, fresh[b".Sent"])
    assert remember(adapter.store, USER, second)[INBOX.name].unchanged


def state(adapter: Adapter) -> tuple[bytes, bytes]:
    """The marks of all of a mailbox, none of whose folders is listed."""
    with adapter.store.open_mailbox(USER) as mailbox:
        mark = mailbox.mark()
        assert list(mailbox.files())
        return mark, mailbox.files_mark()


def test_a_mailbox_in_which_nothing_has_changed_has_the_same_marks(adapter: Adapter) -> None:
    fill(adapter)
    first = state(adapter)
    assert all(first)
    assert state(adapter) == first
    with adapter.store.open_mailbox(USER, wanted=lambda folder: folder == INBOX.name) as mailbox:
        assert mailbox.mark() == b"", "what is passed over may have changed"


def new_file(adapter: Adapter) -> None:
    add_file(adapter, b".Sent/more")


def remake(adapter: Adapter) -> None:
    adapter.remake(b"")


@pytest.mark.parametrize("change", [deliver, flag, expunge, replace_one, new_file, remake])
def test_any_change_shows_in_the_marks_of_all(adapter: Adapter, change: Callable[[Adapter], None]) -> None:
    fill(adapter)
    first = state(adapter)
    change(adapter)
    adapter.settle()
    assert state(adapter) != first


def test_a_new_folder_shows_in_the_mark_of_all(adapter: Adapter) -> None:
    fill(adapter)
    first = state(adapter)
    with adapter.target.open_mailbox(USER) as mailbox:
        mailbox.open_folder(Folder(name="New", path=b".New", uidvalidity=7, uidnext=1)).finish()
        mailbox.commit()
    adapter.settle()
    assert state(adapter)[0] != first[0]


def test_a_folder_that_was_made_anew_is_not_trusted(adapter: Adapter) -> None:
    fill(adapter)
    first = remember(adapter.store, USER)
    adapter.remake(b"")
    second = remember(adapter.store, USER, first)
    assert (second[INBOX.name].unchanged, second[INBOX.name].trusted) == (False, False)
    assert (second[SENT.name].unchanged, second[SENT.name].trusted) == (True, True)


@pytest.mark.parametrize("folder", [replace(INBOX, uidvalidity=9), replace(INBOX, guid="0" * 32)])
def test_a_folder_that_was_counted_otherwise_is_not_trusted(adapter: Adapter, folder: Folder) -> None:
    fill(adapter)
    first = remember(adapter.store, USER)
    adapter.remake(b"")
    first.folders[b""] = replace(first[INBOX.name], folder=folder)
    assert not remember(adapter.store, USER, first)[INBOX.name].trusted


def test_a_folder_that_is_known_by_another_path_has_changed(adapter: Adapter) -> None:
    fill(adapter)
    first = remember(adapter.store, USER)
    known = first[SENT.name]
    first.folders[b".Sent"] = replace(known, folder=replace(known.folder, path=b".Old", name="Old"))
    with adapter.store.open_mailbox(USER, first) as mailbox:
        readers = [(folder.unchanged, folder.trusted, len(folder)) for folder in mailbox.folders()]
    assert readers == [(True, True, 2), (False, True, 2)]


def test_without_a_mark_nothing_is_known(adapter: Adapter) -> None:
    fill(adapter)
    first = remember(adapter.store, USER)
    for mark in (b"", b"x" * 7, bytes(32)):
        first.folders[b""].mark = mark
        now = remember(adapter.store, USER, first)[INBOX.name]
        assert (now.unchanged, now.trusted) == (False, False)


def test_mail_that_was_moved_to_an_unchanged_folder_comes_with_another_look(adapter: Adapter) -> None:
    fill(adapter)
    first = remember(adapter.store, USER)
    deliver(adapter)
    adapter.move(b"", b"3.host", b".Sent")
    adapter.settle()
    second = remember(adapter.store, USER, first)
    # INBOX is as it was by then, Sent is not; while Sent is read, mail comes into INBOX.
    known = Known(folders={**second.folders, b".Sent": replace(first[SENT.name], mark=b"")})
    with adapter.store.open_mailbox(USER, known) as mailbox:
        told: list[tuple[bytes, bool, bool]] = []
        for folder in mailbox.folders():
            told.append((folder.folder.path, folder.unchanged, bool(folder.mark)))
            if folder.folder.path == b".Sent":
                adapter.move(b".Sent", b"3.host", b"")
            if len(told) == 3:
                assert [listed.base for listed in folder.messages()] == [b"3.host"]
                assert len(folder) == 1
    assert told == [(b"", True, True), (b".Sent", False, True), (b"", False, False)]
    assert known.folders[b""].asked <= 1


def test_there_is_no_other_look_where_nothing_was_listed(adapter: Adapter) -> None:
    fill(adapter)
    with adapter.store.open_mailbox(USER, remember(adapter.store, USER)) as mailbox:
        told = []
        for folder in mailbox.folders():
            told.append((folder.folder.path, folder.unchanged))
            if folder.folder.path == b".Sent":
                deliver(adapter)
    assert told == [(b"", True), (b".Sent", True)]


def test_a_message_is_looked_at_without_being_opened(adapter: Adapter) -> None:
    fill(adapter)
    with adapter.store.open_mailbox(USER) as mailbox:
        folders = mailbox.folders()
        folder = next(folders)
        one, two = folder.messages()
        for listed in (one, two):
            opened = folder.open_message(listed)
            assert folder.stat(listed) == opened.stat
            opened.close()
        adapter.rename(b"", b"1.host", b":2,FS")
        adapter.expunge(b"", b"2.host")
        assert folder.stat(one).size == len(b"1.host")
        with pytest.raises(MessageUnavailable) as gone:
            folder.stat(two)
        assert gone.value.reason == "vanished"


def test_folders_that_are_not_wanted_are_passed_over(adapter: Adapter) -> None:
    fill(adapter)
    everything = remember(adapter.store, USER)
    assert everything.passed_over == []
    assert {listed_file.path for listed_file in everything.files} >= {b"subscriptions", b".Sent/notes"}
    some = remember(adapter.store, USER, wanted=lambda name: name == "INBOX")
    assert (list(some.folders), some.passed_over) == ([b""], ["Sent"])
    assert {one.path for one in everything.files} - {one.path for one in some.files} >= {b".Sent/notes"}
    # What lies in the mailbox itself is not INBOX's alone.
    others = remember(adapter.store, USER, wanted=lambda name: name != "INBOX")
    assert (list(others.folders), others.passed_over) == ([b".Sent"], ["INBOX"])
    assert {one.path for one in others.files} == {one.path for one in everything.files}


def test_other_files_have_a_mark_of_their_own(adapter: Adapter) -> None:
    fill(adapter)
    marks = [remember(adapter.store, USER).files_mark]
    add_file(adapter, b"more")
    adapter.settle()
    marks.append(remember(adapter.store, USER).files_mark)
    adapter.remove_file(b"more")
    add_file(adapter, b"yet more")
    adapter.settle()
    marks.append(remember(adapter.store, USER).files_mark)
    assert len(set(marks)) == 3
    assert b"" not in marks
    deliver(adapter)
    adapter.rename(b"", b"1.host", b":2,S")
    adapter.settle()
    assert remember(adapter.store, USER).files_mark == marks[-1]


def test_there_is_no_mark_of_files_before_they_were_listed(adapter: Adapter) -> None:
    fill(adapter)
    with adapter.store.open_mailbox(USER) as mailbox:
        assert mailbox.files_mark() == b""
        found = remembered(mailbox)
        assert found.files_mark == mailbox.files_mark() != b""
