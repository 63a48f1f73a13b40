"""Restoring to a mail server that does what servers do at the worst moment: every message is there once, or
is listed with the server's own words."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import AccessError, FolderStoppedError, MessageUnavailable, StoreError
from mailhaul.proto.records import (
    Folder,
    MailboxOutcome,
    Message,
    Partition,
    ServerAccess,
    Skipped,
    StoredFile,
)
from mailhaul.proto.structs import replace
from mailhaul.proto.target_facts import FateCounts, ServerTalk
from mailhaul.tests.archives import ARCHIVE as STORED
from mailhaul.tests.archives import ARRIVED_NS, in_files, write_archive
from mailhaul.tests.maildirs import file, message
from mailhaul.tests.scripted_imap import FULL, Bye, Drop, Given, Hang, Script, ScriptedImap
from mailhaul.worker.archives.opened import opened_archives
from mailhaul.worker.choice import Choice
from mailhaul.worker.looking.server import look_at_server
from mailhaul.worker.looking.sought import Sought
from mailhaul.worker.stores.imap.target import ImapTarget
from mailhaul.worker.stores.patience import Patience

INBOX = Folder(name="INBOX", path=b"", uidvalidity=7)
ARCHIVE = Folder(name="Archive/2024", path=b".Archive.2024")
MAIL = [f"Subject: {number}\n\nbody {number}\n".encode() for number in range(1, 11)]
SENT = [mail.replace(b"\n", b"\r\n") for mail in MAIL]
PLAIN = "IMAP4rev1 AUTH=PLAIN"

Restored = tuple[MailboxOutcome, Sequence[Skipped], int]


class Restorer:
    """Restores to a scripted server; ``waited`` has how long it waited each time."""

    def __init__(self, password: Path) -> None:
        self._password = password
        self.waited: list[float] = []

    def target(self, server: ScriptedImap, *, verify: bool = False, master: str = "") -> ImapTarget:
        patience = Patience(
            connect_seconds=5, silence_seconds=0.3, attempts=3, first_wait=0.01, sleep=self.waited.append
        )
        access = ServerAccess(password_file=str(self._password), verify=verify, master=master)
        return ImapTarget(f"imap://127.0.0.1:{server.port}", access, patience)

    def __call__(
        self,
        server: ScriptedImap,
        mail: Sequence[bytes | tuple[Message, bytes]] = MAIL,
        folders: Sequence[Folder] = (INBOX,),
        files: Sequence[tuple[StoredFile, bytes]] = (),
        *,
        user: str = "jane",
        target: ImapTarget | None = None,
        **access: object,
    ) -> Restored:
        """Restore the same mail to each folder: the outcome, what was skipped, how many were added."""
        target = target or self.target(server, **access)  # type: ignore[arg-type]
        skipped: list[Skipped] = []
        added = 0
        with target.open_mailbox(user, b"", folders) as mailbox:
            for folder in folders:
                try:
                    writer = mailbox.open_folder(folder)
                    for number, one in enumerate(mail, 1):
                        given = (
                            one if isinstance(one, tuple) else (message(content=one, uid=number + 100), one)
                        )
                        try:
                            added += writer.add(given[0], [given[1][:5], given[1][5:]])
                        except MessageUnavailable as error:
                            skipped.append(Skipped(str(number), error.reason, error.message))
                    writer.finish()
                except FolderStoppedError as error:
                    skipped.append(Skipped(folder.name, error.reason, error.message))
                except MessageUnavailable as error:
                    skipped.append(Skipped(folder.name, error.reason, error.message))
            for stored, content in files:
                mailbox.add_file(stored, [content])
            mailbox.commit()
            return mailbox.outcome(), [*skipped, *mailbox.skipped()], added


@pytest.fixture
def restore(tmp_path: Path) -> Restorer:
    password = tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    return Restorer(password)


@pytest.fixture
def serve() -> Iterator[Callable[..., ScriptedImap]]:
    started: list[ScriptedImap] = []

    def start(**script: object) -> ScriptedImap:
        started.append(ScriptedImap(Script(**script)))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for server in started:
        server.close()


Serve = Callable[..., ScriptedImap]


@pytest.mark.parametrize("literals", ["LITERAL+", "LITERAL-", ""])
@pytest.mark.parametrize("many", ["MULTIAPPEND", ""])
@pytest.mark.parametrize("numbers", ["UIDPLUS", ""])
def test_whatever_a_server_offers(
    restore: Restorer, serve: Serve, literals: str, many: str, numbers: str
) -> None:
    server = serve(capabilities=f"{PLAIN} {literals} {many} {numbers}")
    large = b"Subject: large\n\n" + b"0123456\n" * 200_000
    outcome, skipped, added = restore(server, [*MAIL, large], verify=True)
    assert server.contents("jane") == [*SENT, large.replace(b"\n", b"\r\n")]
    assert (outcome.refused, skipped, added) == (0, [], 11)
    (uids,) = outcome.uids
    assert uids == ("INBOX", 7, "101:111", "INBOX", server.folder("jane").uidvalidity, "1:11")
    assert server.batches == [11] if many else server.batches == [1] * 11

    outcome, skipped, added = restore(server, [*MAIL, large])
    assert (outcome.refused, skipped, added) == (0, [], 0)
    assert outcome.uids == (uids,)
    assert len(server.contents("jane")) == 11


def test_flags_keywords_and_dates(restore: Restorer, serve: Serve) -> None:
    server = serve()
    one = replace(message(content=MAIL[0], flags="FRS"), keywords=("$MDNSent", "NonJunk", "zwei Worte"))
    _, skipped, _ = restore(server, [(one, MAIL[0])])
    (stored,) = server.folder("jane").messages
    assert set(stored.flags) == {"\\Flagged", "\\Answered", "\\Seen", "$MDNSent", "NonJunk"}
    assert stored.date == "13-Sep-2020 12:26:40 +0000"
    assert [(skip.path, skip.reason) for skip in skipped] == [("INBOX", "keyword")]
    assert "zwei Worte" in skipped[0].detail


@pytest.mark.parametrize("many", [FULL, f"{PLAIN} LITERAL+"])
def test_lost_answer(restore: Restorer, serve: Serve, many: str) -> None:
    """It was done: nothing is sent twice."""
    server = serve(capabilities=many, lost={0})
    outcome, skipped, added = restore(server)
    assert server.contents("jane") == SENT
    assert (outcome.refused, skipped, added) == (0, [], 10)
    assert outcome.uids[0].new_uids == "1:10"
    assert server.most_connections <= 4


@pytest.mark.parametrize("fault", [Drop, Bye, Hang])
def test_lost_before_it_was_done(restore: Restorer, serve: Serve, fault: type[Exception]) -> None:
    server = serve(appends=[fault])
    outcome, skipped, added = restore(server)
    assert server.contents("jane") == SENT
    assert (outcome.refused, skipped, added) == (0, [], 10)


def test_slow_is_not_silent(restore: Restorer, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message takes many times as long as a connection may stand still, and is not given up."""
    connect = socket.create_connection

    def narrow(*arguments: Any, **options: Any) -> socket.socket:
        made = connect(*arguments, **options)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 15)  # so that little is on its way
        return made

    monkeypatch.setattr(socket, "create_connection", narrow)
    server = serve(slow_seconds=0.02)
    large = b"Subject: large\n\n" + b"0123456\n" * 100_000
    began = time.monotonic()
    outcome, skipped, added = restore(server, [large])
    assert time.monotonic() - began > 2 * 0.3
    assert (outcome.refused, skipped, added, len(server.batches)) == (0, [], 1, 1)
    assert server.contents("jane") == [large.replace(b"\n", b"\r\n")]


def test_silent_for_good(restore: Restorer, serve: Serve) -> None:
    """Neither the other folders nor the other users wait for it any longer than it takes to see it."""
    server = serve(appends=[Hang] * 100)
    outcome, skipped, added = restore(server, folders=[INBOX, ARCHIVE])
    assert server.contents("jane") == []
    assert added - outcome.refused == 0
    assert [(skip.path, skip.reason) for skip in skipped] == [
        ("INBOX", "connection-lost"),
        ("Archive/2024", "connection-lost"),
    ]
    assert len(server.batches) <= 4


def test_server_that_is_gone(restore: Restorer, serve: Serve) -> None:
    server = serve()
    target = restore.target(server)
    server.close()
    for user in ("jane", "bob"):
        with pytest.raises(StoreError):
            restore(server, user=user, target=target)
    assert len(restore.waited) == 3, "the second user is not waited for"


def test_a_message_on_which_the_connection_is_lost(restore: Restorer, serve: Serve) -> None:
    def poison(given: Given) -> str:
        if given.content == SENT[4]:
            raise Drop
        return ""

    server = serve(refuse=poison)
    outcome, skipped, added = restore(server)
    assert server.contents("jane") == [one for one in SENT if one != SENT[4]]
    assert (outcome.refused, outcome.refused_bytes, added) == (1, len(MAIL[4]), 10)
    ((path, reason, words),) = [(skip.path, skip.reason, skip.detail) for skip in skipped]
    assert (path, reason) == ("INBOX/105", "connection-lost")
    assert "whenever it is sent" in words


@pytest.mark.parametrize("words", ["Message contains bare newlines", "[LIMIT] too many copies of a message"])
def test_refused_messages_are_found_in_their_batch(restore: Restorer, serve: Serve, words: str) -> None:
    bad = {SENT[2], SENT[9]}
    server = serve(refuse=lambda one: words if one.content in bad else "")
    outcome, skipped, _ = restore(server)
    assert server.contents("jane") == [one for one in SENT if one not in bad]
    assert [(skip.path, skip.reason, skip.detail) for skip in skipped] == [
        ("INBOX/103", "refused", words),
        ("INBOX/110", "refused", words),
    ]
    assert (outcome.refused, outcome.uids[0].uids) == (2, "101:102,104:109")


def test_quota_stops_one_user(restore: Restorer, serve: Serve) -> None:
    server = serve()
    full = server.folder("jane")
    server.script.refuse = lambda _: "[OVERQUOTA] no room" if len(full.messages) >= 5 else ""
    target = restore.target(server)
    folders = [INBOX, ARCHIVE, Folder(name="Sent", path=b".Sent")]
    outcome, skipped, added = restore(server, folders=folders, target=target)
    assert server.contents("jane") == SENT
    assert (added, outcome.refused) == (20, 10)
    assert [(skip.path, skip.reason, skip.detail) for skip in skipped] == [
        ("Archive/2024", "quota", "[OVERQUOTA] no room"),
        ("Sent", "quota", "[OVERQUOTA] no room"),
    ]
    server.script.refuse = lambda _: ""
    assert restore(server, user="bob", target=target)[1] == []


def test_no_room_in_the_midst(restore: Restorer, serve: Serve) -> None:
    """What fits is there; what does not is counted as such, and told once."""
    server = serve(refuse=lambda one: "[OVERQUOTA] no room" if one.content in SENT[6:] else "")
    outcome, skipped, added = restore(server)
    assert server.contents("jane") == SENT[:6]
    assert added - outcome.refused == 6
    assert [(skip.path, skip.reason) for skip in skipped] == [("INBOX", "quota")]


def test_told_to_wait(restore: Restorer, serve: Serve) -> None:
    server = serve(
        appends=[
            "NO Request is throttled. Suggested Backoff Time: 2500 milliseconds",
            "NO [UNAVAILABLE] later",
        ]
    )
    outcome, skipped, _ = restore(server)
    assert server.contents("jane") == SENT
    assert (outcome.refused, skipped) == (0, [])
    assert restore.waited[0] == 2.5
    assert server.batches == [10, 10, 10]


def test_unavailable_for_good(restore: Restorer, serve: Serve) -> None:
    server = serve(appends=["NO [UNAVAILABLE] later"] * 50)
    outcome, skipped, added = restore(server, folders=[INBOX, ARCHIVE])
    assert added - outcome.refused == 0
    assert [(skip.path, skip.reason) for skip in skipped] == [("INBOX", "busy"), ("Archive/2024", "busy")]
    assert len(server.batches) == 4


def test_folder_that_is_another_one_now(restore: Restorer, serve: Serve) -> None:
    server = serve(appends=[Drop])
    first = server.folder("jane")

    def remake(_: float) -> None:
        server.folders["jane"]["INBOX"] = type(first)(first.uidvalidity + 50)

    target = restore.target(server)
    target._patience = Patience(silence_seconds=5, first_wait=0.01, sleep=remake)
    outcome, skipped, added = restore(server, folders=[INBOX, ARCHIVE], target=target)
    assert server.contents("jane") == []
    assert added - outcome.refused == 10, "the other folder goes on"
    assert [(skip.path, skip.reason) for skip in skipped] == [("INBOX", "uidvalidity")]


def test_folder_that_goes_away(restore: Restorer, serve: Serve) -> None:
    server = serve(appends=["NO [TRYCREATE] no such folder"])
    _, skipped, _ = restore(server)
    assert [(skip.path, skip.reason) for skip in skipped] == [("INBOX", "folder-gone")]


def test_looked_at_beforehand(restore: Restorer, serve: Serve, tmp_path: Path) -> None:
    """What is there is known by date and size, each for one; what is too large, by what the server says."""
    server = serve(capabilities=f"{FULL} APPENDLIMIT=60", prefix="INBOX.", separator=".")
    large = b"Subject: large\n\n" + b"0" * 100
    archive = tmp_path / "a.mha"
    archive.write_bytes(write_archive({"jane": {"INBOX": [*MAIL[:3], MAIL[0], large], "a.b": MAIL[:2]}}))
    sought = Sought(
        choice=Choice(
            archive=STORED, user="jane", to_user="jane", path=LogicalPath("primary", "user", "jane")
        ),
        folders=2,
        messages=7,
        size_bytes=1000,
    )
    access = ServerAccess(password_file=str(tmp_path / "password"))
    target = Partition(name="primary", format="imap", path=f"imap://127.0.0.1:{server.port}", access=access)
    restore(server, [(message(content=MAIL[0], uid=1, date_ns=ARRIVED_NS + 1), MAIL[0])])
    with opened_archives(in_files({STORED: archive})) as archives:
        facts = look_at_server(archives, [sought], target, "localhost", 10)
        assert facts.server == ServerTalk(logged_in=1, append_limit=60, too_large=1)
        assert facts.counts == FateCounts(recreated=1, existing=1, renumbered=5, present=1)
        assert facts.troubles == ("/primary/user/jane/a.b would be called INBOX.a_b on the server",)
        server.close()
        facts = look_at_server(archives, [sought], target, "localhost", 10)
        assert (facts.server, len(facts.troubles)) == (ServerTalk(), 1)
    assert server.contents("jane") == SENT[:1]


@pytest.mark.parametrize(
    ("told", "left"), [("APPENDLIMIT=25", 10), ("APPENDLIMIT", 10), ("APPENDLIMIT=500", 11)]
)
def test_what_is_too_large_is_not_sent(restore: Restorer, serve: Serve, told: str, left: int) -> None:
    server = serve(capabilities=f"{FULL} {told}")
    _, skipped, added = restore(server, [*MAIL[:9], b"Subject: s\n\nab\n", b"Subject: s\n\n" + b"0" * 200])
    assert added == left == len(server.contents("jane"))
    assert [skip.reason for skip in skipped] == ["too-large"] * (11 - left)


def test_keyword_that_the_server_does_not_take(restore: Restorer, serve: Serve) -> None:
    server = serve(refuse=lambda one: "[LIMIT] too many keywords" if "odd" in one.flags else "")
    mail = [
        (replace(message(content=one, uid=number), keywords=("good", "odd") if number > 2 else ()), one)
        for number, one in enumerate(MAIL, 1)
    ]
    outcome, skipped, _ = restore(server, mail)
    assert server.contents("jane") == SENT
    assert [stored.flags for stored in server.folder("jane").messages] == [()] * 2 + [("good",)] * 8
    ((path, reason, words),) = [(skip.path, skip.reason, skip.detail) for skip in skipped]
    assert (path, reason, outcome.refused) == ("INBOX", "keyword", 0)
    assert words == "8 of its messages came back without odd: [LIMIT] too many keywords"


def test_what_the_server_alters_is_told(restore: Restorer, serve: Serve) -> None:
    """Also where only a byte is another, of a message that has what servers are known to alter."""
    odd = b"Subject: caf\xe9\n\nx\r\r\n"
    server = serve(
        alter=lambda one: one.replace(b"\xe9", b"X").replace(b"\r\r\n", b"\r\n").replace(b"y 7", b"y 77")
    )
    _, skipped, _ = restore(server, [*MAIL, odd])
    assert [(skip.path, skip.reason) for skip in skipped] == [
        ("INBOX/107", "altered"),
        ("INBOX/111", "altered"),
    ]
    assert restore(server, [odd])[2] == 0, "it is known again"
    assert restore(server, [b"Subject: cafe\n\nx\n"])[2] == 1


def test_dates_and_flags_that_are_ignored(restore: Restorer, serve: Serve) -> None:
    server = serve(ignores=True)
    (skipped,) = restore(server, [(message(content=MAIL[0], flags="S"), MAIL[0])])[1]
    assert skipped.reason == "altered"
    assert skipped.detail == "without \\Seen; the date became 2026-01-01 00:00:00+00:00"


def test_every_byte_is_compared_if_asked(restore: Restorer, serve: Serve) -> None:
    server = serve(alter=lambda one: one.replace(b"body 8", b"body 0"))
    assert restore(server)[1] == []
    server.folder("jane").messages.clear()
    (skipped,) = restore(server, verify=True)[1]
    assert (skipped.path, skipped.reason) == ("INBOX/108", "altered")


def test_same_content_twice(restore: Restorer, serve: Serve) -> None:
    """Two messages are two, and stay two however often they are restored."""
    server = serve()
    for _ in range(2):
        restore(server, [MAIL[0], MAIL[1], MAIL[0]])
        assert server.contents("jane") == [SENT[0], SENT[1], SENT[0]]


def test_names_of_folders(restore: Restorer, serve: Serve) -> None:
    server = serve(
        prefix="INBOX.", separator=".", reject_create=lambda name: "[CANNOT] reserved" * ("Files" in name)
    )
    names = ("INBOX", "Archive", "Archive/a.b", "Archive/a_b", "Entwürfe", "end ", "Files", "bad\nline")
    folders = [Folder(name=name, path=b"." + name.encode()) for name in names]
    listed = file(b"subscriptions", b"")
    _, skipped, _ = restore(
        server, MAIL[:1], folders, [(listed, b"V\t2\n\nArchive\ta.b\nEntw&APw-rfe\nINBOX\n")]
    )
    assert set(server.folders["jane"]) == {
        *("INBOX", "INBOX.Archive", "INBOX.Archive.a_b~2", "INBOX.Archive.a_b", "INBOX.Entw&APw-rfe"),
        *("INBOX.end ", "INBOX.bad_line"),
    }
    assert server.subscribed["jane"] == {"INBOX", "INBOX.Archive.a_b~2", "INBOX.Entw&APw-rfe"}
    assert [(skip.path, skip.reason) for skip in skipped] == [
        ("Files", "refused"),
        ("Archive/a.b", "renamed"),
        ("bad%0Aline", "renamed"),
    ]


def test_what_has_no_place_is_told(restore: Restorer, serve: Serve) -> None:
    server = serve()
    with pytest.raises(MessageUnavailable, match="no place"):
        restore(server, [], files=[(file(b"dovecot-acl", b"x"), b"x")])
    restore(server, [], files=[(file(b"dovecot-keywords", b"x"), b"x")])


def test_access_lists(restore: Restorer, serve: Serve) -> None:
    """Rights are given to those who have none there; what IMAP can't say, or the server not do, is told."""
    server = serve(capabilities=f"{FULL} ACL")
    folder = server.folder("jane", "Archive/2024")
    folder.grants["bob"] = "lr"
    content = b'user=bob lrwsti\n"user=jim jones" lr\nuser=nobody l\ngroup=staff lr\nowner lrwstipekxa\n'
    listed = file(b".Archive.2024/dovecot-acl", content)
    _, skipped, _ = restore(server, MAIL[:1], [ARCHIVE], [(listed, content)])
    assert folder.grants == {"bob": "lr", "jim jones": "lr"}
    assert [(skip.path, skip.reason, skip.detail) for skip in skipped] == [
        ("Archive/2024", "acl", "nobody did not get the rights 'l': [CANNOT] who is that?"),
        ("Archive/2024", "acl", "IMAP can't say this right: 'group=staff lr'"),
    ]
    restore(server, MAIL[:1], [ARCHIVE], [(listed, content.replace(b'jones" lr', b'jones" lrw'))])
    assert folder.grants["jim jones"] == "lr"


def test_no_password_in_the_clear(restore: Restorer, serve: Serve) -> None:
    server = serve(capabilities="IMAP4rev1 LOGINDISABLED")
    with pytest.raises(AccessError, match="offers no encryption"):
        restore(server)
    assert server.logins == []
    assert restore.waited == []


def test_password(restore: Restorer, serve: Serve, tmp_path: Path) -> None:
    server = serve()
    restore(server, MAIL[:1], master="admin")
    assert server.logins == [("admin", "jane")]
    (tmp_path / "password").write_text("wrong\n")
    with pytest.raises(StoreError, match=r"does not let jane in: \[AUTHENTICATIONFAILED\] no"):
        restore(server)
    os.chmod(tmp_path / "password", 0o644)
    with pytest.raises(Exception, match="read by others"):
        restore.target(server)
