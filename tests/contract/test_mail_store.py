"""What every adapter of MailStore and MailTarget promises (proto/ports.py)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mailhaul.proto.errors import DamagedError, MessageUnavailable, StoreError
from mailhaul.proto.records import Folder, Listed, Message

from ..maildirs import DATE_NS, GUID, file, message, read_files, read_mailbox
from .conftest import USER, Adapter

INBOX = Folder(
    name="INBOX", path=b"", uidvalidity=1500, uidnext=40, guid=GUID, keywords=("$Forwarded", "", "projectX")
)
SENT = Folder(name="Sent", path=b".Sent", uidvalidity=1501, uidnext=2)
LONG = b"Subject: long\n\n" + b"0123456789" * 300_000


def write(adapter: Adapter, *messages: tuple[Message, bytes], folder: Folder = INBOX) -> list[bool]:
    """Restore messages into one folder; what ``add`` answered for each."""
    with adapter.target.open_mailbox(USER) as mailbox:
        writer = mailbox.open_folder(folder)
        added = [writer.add(one, [content]) for one, content in messages]
        writer.finish()
        mailbox.commit()
    return added


def listed(adapter: Adapter, folder: str = "INBOX") -> dict[bytes, tuple[Listed, bytes]]:
    """The messages of a folder with their bytes, by lasting name."""
    with adapter.store.open_mailbox(USER) as mailbox:
        found = {one.name: messages for one, messages in read_mailbox(mailbox)}
    return {one.base: (one, content) for one, content in found[folder]}


def test_users_are_listed_once_and_sorted(adapter: Adapter) -> None:
    assert list(adapter.store.users()) == []
    for user in ("jane", "bob", "alice@example.org"):
        with adapter.target.open_mailbox(user) as mailbox:
            mailbox.open_folder(INBOX).finish()
            mailbox.commit()
    assert list(adapter.store.users()) == ["alice@example.org", "bob", "jane"]


def test_no_mailbox_no_reader(adapter: Adapter) -> None:
    with pytest.raises(StoreError), adapter.store.open_mailbox("nobody"):
        pass
    assert adapter.store.measure("nobody").messages < 0


def test_what_is_written_is_read(adapter: Adapter) -> None:
    first = message(b"1.host,S=9", b"A: b\n\nccc", suffix=b":2,FSac", uid=7, fields=b"W12 P3")
    fresh = message(b"2.host", LONG, suffix=b"", uid=8, place="new", date_ns=-5_000_000_000)
    odd = message(b"3.\xff\nhost", b"", suffix=b":1,odd", date_ns=3 * DATE_NS)
    write(adapter, (first, b"A: b\n\nccc"), (fresh, LONG), (odd, b""))
    with adapter.store.open_mailbox(USER) as mailbox:
        ((folder, messages),) = read_mailbox(mailbox)
        assert mailbox.skipped() == [] or mailbox.skipped() == ()
    assert (folder.name, folder.path, folder.keywords) == ("INBOX", b"", INBOX.keywords)
    assert (folder.uidvalidity, folder.guid) == (1500, GUID)
    assert folder.uidnext >= 40
    assert messages == [
        (
            Listed(b"1.host,S=9", b":2,FSac", "cur", 7, "FS", b"W12 P3", ("$Forwarded", "projectX")),
            b"A: b\n\nccc",
        ),
        (Listed(b"2.host", b"", "new", 8), LONG),
        (Listed(b"3.\xff\nhost", b":1,odd", "cur", 0), b""),
    ]


def test_dates_and_owners_come_back(adapter: Adapter) -> None:
    one = message(b"1.host", b"x", date_ns=DATE_NS + 1)
    write(adapter, (one, b"x"))
    with adapter.store.open_mailbox(USER) as mailbox:
        for folder in mailbox.folders():
            for each in folder.messages():
                stat = folder.open_message(each).stat
                assert (stat.mtime_ns, stat.owner, stat.size) == (DATE_NS + 1, one.owner, 1)


def test_messages_come_in_the_order_of_uids_and_those_without_last(adapter: Adapter) -> None:
    names = [(b"z", 1), (b"y", 2), (b"x", 30), (b"b", 0), (b"a", 0)]
    write(adapter, *((message(base, b"m", uid=uid), b"m") for base, uid in names))
    assert [(one.base, one.uid) for one, _ in listed(adapter).values()] == [
        (b"z", 1), (b"y", 2), (b"x", 30), (b"a", 0), (b"b", 0)
    ]  # fmt: skip


def test_a_read_gives_what_is_asked_for_until_the_end(adapter: Adapter) -> None:
    write(adapter, (message(b"1.host", LONG), LONG))
    with adapter.store.open_mailbox(USER) as mailbox:
        folders = mailbox.folders()
        folder = next(folders)
        opened = folder.open_message(next(folder.messages()))
        assert opened.stat.size == len(LONG)
        assert opened.read(7) == LONG[:7]
        assert opened.read(2_000_000) == LONG[7:2_000_007]
        assert opened.read(1 << 30) == LONG[2_000_007:]
        assert opened.read(1) == b""
        opened.close()
        opened.close()


def test_a_renamed_message_is_found_and_a_removed_one_told(adapter: Adapter) -> None:
    write(adapter, *((message(base, base, place="new", suffix=b""), base) for base in (b"1", b"2", b"3")))
    with adapter.store.open_mailbox(USER) as mailbox:
        folders = mailbox.folders()
        folder = next(folders)
        one, two, three = folder.messages()
        adapter.rename(b"", b"1", b":2,S")
        adapter.expunge(b"", b"2")
        found = folder.open_message(one)
        assert (found.listed, found.read(9)) == (Listed(b"1", b":2,S", "cur", 0, "S"), b"1")
        with pytest.raises(MessageUnavailable) as gone:
            folder.open_message(two)
        assert gone.value.reason == "vanished"
        adapter.rename(b"", b"3", b":2,")
        adapter.rename(b"", b"3", b":2,RS")
        renamed = folder.open_message(three)
        assert renamed.listed == Listed(b"3", b":2,RS", "cur", 0, "RS")
        for opened in (found, renamed):
            opened.close()


def test_other_files_and_links_come_back(adapter: Adapter) -> None:
    with adapter.target.open_mailbox(USER) as mailbox:
        mailbox.open_folder(INBOX).finish()
        assert mailbox.add_file(file(b"subscriptions", b"Sent\n"), [b"Sent", b"\n"])
        assert mailbox.add_file(file(b"scripts/a.sieve", b"keep;"), [b"keep;"])
        assert mailbox.add_file(file(b"active", target=b"scripts/a.sieve"), [])
        mailbox.commit()
    with adapter.store.open_mailbox(USER) as mailbox:
        list(mailbox.folders())
        found = read_files(mailbox)
        assert found.pop(b"dovecot-keywords", b"0 ")[:2] == b"0 "
        assert found == {
            b"subscriptions": b"Sent\n", b"scripts/a.sieve": b"keep;", b"active": b"-> scripts/a.sieve"
        }  # fmt: skip
        (link,) = [listed_file for listed_file in mailbox.files() if listed_file.target is not None]
        assert mailbox.link_stat(link).mtime_ns == DATE_NS
        (script,) = [one for one in mailbox.files() if one.path == b"scripts/a.sieve"]
        adapter.remove_file(script.path)
        with pytest.raises(MessageUnavailable) as gone:
            mailbox.open_file(script)
        assert gone.value.reason == "vanished"


def test_a_mailbox_is_measured(adapter: Adapter) -> None:
    write(adapter, (message(b"1.h,S=3", b"abc"), b"abc"), (message(b"2.h", b"defgh"), b"defgh"))
    write(adapter, (message(b"1.h", b"ij"), b"ij"), folder=SENT)
    size = adapter.store.measure(USER)
    assert (size.user, size.messages, size.size_bytes) == (USER, 3, 10)


def test_what_is_not_committed_is_not_there(adapter: Adapter) -> None:
    with adapter.target.open_mailbox(USER) as mailbox:
        mailbox.open_folder(INBOX).add(message(b"1", b"x"), [b"x"])
        mailbox.add_file(file(b"subscriptions", b"a"), [b"a"])
    assert list(adapter.store.users()) == []

    write(adapter, (message(b"1", b"x", uid=1), b"x"))
    with adapter.target.open_mailbox(USER) as mailbox:
        mailbox.open_folder(INBOX).add(message(b"2", b"y"), [b"y"])
        mailbox.open_folder(SENT).add(message(b"1", b"x"), [b"x"])
        mailbox.add_file(file(b"subscriptions", b"a"), [b"a"])
    assert list(listed(adapter)) == [b"1"]
    with adapter.store.open_mailbox(USER) as reader:
        assert [folder.folder.name for folder in reader.folders()] == ["INBOX"]
        assert b"subscriptions" not in read_files(reader)


def test_what_is_there_is_not_added_again(adapter: Adapter) -> None:
    one, content = message(b"1", b"x", uid=1), b"x"
    assert write(adapter, (one, content), (one, content)) == [True, False]
    assert write(adapter, (one, content)) == [False]
    assert write(adapter, (message(b"1", b"longer"), b"longer")) == [True]
    assert write(adapter, (message(b"1", b"longer"), b"longer"), (one, content)) == [False, False]
    assert sorted(body for _, body in listed(adapter).values()) == [b"longer", b"x"]


def test_a_folder_that_is_there_gives_new_uids(adapter: Adapter) -> None:
    write(adapter, (message(b"1", b"x", uid=39), b"x"))
    other = Folder(name="INBOX", path=b"", uidvalidity=7, uidnext=1000)
    assert write(adapter, (message(b"2", b"y", uid=39), b"y"), folder=other) == [True]
    found = listed(adapter)
    assert found[b"1"][0].uid == 39
    assert found[b"2"][0].uid == 0 or found[b"2"][0].uid >= 40
    with adapter.store.open_mailbox(USER) as mailbox:
        assert next(iter(mailbox.folders())).folder.uidvalidity == 1500


def test_a_folder_that_is_not_there_keeps_its_uids(adapter: Adapter) -> None:
    write(adapter, (message(b"1", b"x", uid=39), b"x"))
    write(adapter, (message(b"1", b"s", uid=12), b"s"), folder=SENT)
    assert listed(adapter, "Sent")[b"1"][0].uid == 12
    assert listed(adapter)[b"1"][0].uid == 39


def test_keywords_get_the_letters_they_have_in_a_folder(adapter: Adapter) -> None:
    there = Folder(name="INBOX", path=b"", uidvalidity=9, uidnext=1, keywords=("projectX", "own"))
    write(adapter, (message(b"1", b"x", suffix=b":2,ab"), b"x"), folder=there)
    write(adapter, (message(b"2", b"y", suffix=b":2,Sac"), b"y"), folder=INBOX)
    with adapter.store.open_mailbox(USER) as mailbox:
        ((_, messages),) = read_mailbox(mailbox)
    names = {one.base: (one.flags, one.keywords) for one, _ in messages}
    assert names == {b"1": ("", ("own", "projectX")), b"2": ("S", ("$Forwarded", "projectX"))}


def test_an_unknown_keyword_is_told(adapter: Adapter) -> None:
    write(adapter, (message(b"1", b"x", suffix=b":2,"), b"x"))
    with adapter.target.open_mailbox(USER) as mailbox:
        writer = mailbox.open_folder(Folder(name="INBOX", path=b""))
        writer.add(message(b"2", b"y", suffix=b":2,Sq"), [b"y"])
        writer.finish()
        mailbox.commit()
        assert [skip.reason for skip in mailbox.skipped()] == ["keyword"]
    left = listed(adapter)[b"2"][0]
    assert (left.flags, left.keywords) == ("S", ())


def test_a_file_that_is_there_is_left_alone(adapter: Adapter) -> None:
    for content, added in ((b"first", True), (b"second", False)):
        with adapter.target.open_mailbox(USER) as mailbox:
            mailbox.open_folder(INBOX).finish()
            assert mailbox.add_file(file(b"notes", content), [content]) is added
            assert not mailbox.add_file(file(b"notes", content), [content])
            mailbox.commit()
    with adapter.store.open_mailbox(USER) as reader:
        list(reader.folders())
        assert read_files(reader)[b"notes"] == b"first"


def _broken(_: bytes) -> Iterator[bytes]:
    yield b"half of " * 200_000
    raise DamagedError("the other half is lost")


@pytest.mark.parametrize("there", [False, True])
def test_content_that_breaks_off_leaves_nothing(adapter: Adapter, there: bool) -> None:
    if there:
        write(adapter, (message(b"0", b"z"), b"z"))
    with adapter.target.open_mailbox(USER) as mailbox:
        writer = mailbox.open_folder(INBOX)
        with pytest.raises(DamagedError):
            writer.add(message(b"1", b"never"), _broken(b""))
        with pytest.raises(DamagedError):
            mailbox.add_file(file(b"notes", b"never"), _broken(b""))
        assert writer.add(message(b"2", b"y"), [b"y"])
        writer.finish()
        mailbox.commit()
    assert sorted(listed(adapter)) == ([b"0", b"2"] if there else [b"2"])
    with adapter.store.open_mailbox(USER) as reader:
        list(reader.folders())
        assert b"notes" not in read_files(reader)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"../x", b"a/b", b"/etc/x", b"a\0b"])
def test_names_that_lead_elsewhere_are_refused(adapter: Adapter, name: bytes) -> None:
    with adapter.target.open_mailbox(USER) as mailbox:
        writer = mailbox.open_folder(INBOX)
        with pytest.raises(MessageUnavailable):
            writer.add(message(name, b"x", suffix=b""), [b"x"])
        assert writer.add(message(b"1", b"y"), [b"y"])
        writer.finish()
        mailbox.commit()
    assert list(listed(adapter)) == [b"1"]


@pytest.mark.parametrize("path", [b"..", b"../x", b"a/../../x", b"/etc/x", b"a//b", b"a\0b", b"./a"])
def test_paths_that_lead_elsewhere_are_refused(adapter: Adapter, path: bytes) -> None:
    with adapter.target.open_mailbox(USER) as mailbox:
        with pytest.raises(MessageUnavailable):
            mailbox.open_folder(Folder(name="x", path=path))
        with pytest.raises(MessageUnavailable):
            mailbox.add_file(file(path, b"x"), [b"x"])


@pytest.mark.parametrize("target", [b"/etc/passwd", b"..", b"../x", b"a/../../x", b"", b"x\0y"])
def test_links_that_lead_out_are_refused(adapter: Adapter, target: bytes) -> None:
    with adapter.target.open_mailbox(USER) as mailbox:
        with pytest.raises(MessageUnavailable) as refused:
            mailbox.add_file(file(b"link", target=b"../" + target if target[:1] == b"." else target), [])
        assert refused.value.reason == "leads-out"
