"""Delivering over LMTP to a server that refuses, falls silent, loses answers: nothing is delivered twice."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mailhaul.proto.errors import ConfigError, FolderStoppedError, MessageUnavailable, StoreError
from mailhaul.proto.records import Folder, ServerAccess
from mailhaul.tests.maildirs import message
from mailhaul.tests.scripted_lmtp import Plan, ScriptedLmtp
from mailhaul.worker.stores.address import parse_address
from mailhaul.worker.stores.lmtp.conversation import Conversation, stuffed
from mailhaul.worker.stores.lmtp.target import LmtpTarget
from mailhaul.worker.stores.patience import Patience

JANE = "jane@example.org"
INBOX = Folder(name="INBOX", path=b"")
MAIL = [b"Subject: %d\n\n.body\n..\n.\n" % number for number in range(5)]
SENT = [mail.replace(b"\n", b"\r\n") for mail in MAIL]


@pytest.fixture
def server() -> Iterator[ScriptedLmtp]:
    made = ScriptedLmtp()
    yield made
    made.close()


class Restorer:
    def __init__(self, place: Path) -> None:
        self.place = place / "delivered"
        self.waited: list[float] = []

    def __call__(
        self, server: ScriptedLmtp, mail: Sequence[bytes] = MAIL, user: str = JANE
    ) -> tuple[int, list[tuple[str, str]]]:
        """How many messages were delivered, and what was told, by message (its UID) or folder, with why."""
        patience = Patience(silence_seconds=5, attempts=2, first_wait=0.01, sleep=self.waited.append)
        access = ServerAccess(delivered=str(self.place))
        target = LmtpTarget(f"lmtp://127.0.0.1:{server.port}", access, patience)
        added = 0
        told: list[tuple[str, str]] = []
        with target.open_mailbox(user) as mailbox:
            folder = mailbox.open_folder(INBOX)
            try:
                for uid, content in enumerate(mail, 1):
                    try:
                        added += folder.add(message(content=content, uid=uid), [content[:9], content[9:]])
                    except MessageUnavailable as error:
                        told.append((str(uid), error.reason))
                folder.finish()
            except FolderStoppedError as error:
                told.append(("INBOX", error.reason))
            mailbox.commit()
            told += [(skip.path, skip.reason) for skip in mailbox.skipped()]
        target.finish()
        return added, told


@pytest.fixture
def restore(tmp_path: Path) -> Restorer:
    return Restorer(tmp_path)


def once(of: bytes, answer: str) -> Plan:
    """This answer to the first attempt of one message."""
    left = [answer]

    def plan(content: bytes) -> str:
        return left.pop() if content == of and left else "250 2.0.0 taken"

    return plan


def test_all_is_delivered_once(restore: Restorer, server: ScriptedLmtp) -> None:
    assert restore(server) == (5, [("INBOX", "delivered")])
    assert server.delivered == [(JANE, one) for one in SENT]
    assert restore(server) == (0, [])
    assert restore(server, user="bob")[0] == 5


@pytest.mark.parametrize("answer", ["drop", "451 4.3.0 later"])
def test_tried_again(restore: Restorer, server: ScriptedLmtp, answer: str) -> None:
    """A connection that is lost before all was sent, or an answer that passes, costs time only."""
    if answer == "drop":
        server.drops = 1
    else:
        server.plan = once(SENT[2], answer)
    assert restore(server) == (5, [("INBOX", "delivered")])
    assert [content for _, content in server.delivered] == SENT
    assert len(restore.waited) == 1


@pytest.mark.parametrize("fault", ["lose", "drop"])
def test_a_lost_answer_is_not_guessed(restore: Restorer, server: ScriptedLmtp, fault: str) -> None:
    server.plan = once(SENT[2], fault)
    assert restore(server) == (4, [("3", "unanswered"), ("INBOX", "delivered")])
    # Nor is it later: that it may have come is told again.
    assert restore(server) == (0, [("3", "unanswered")])
    there = sorted(content for _, content in server.delivered)
    assert there == (SENT if fault == "lose" else [*SENT[:2], *SENT[3:]])


def test_killed_in_the_midst(restore: Restorer, server: ScriptedLmtp) -> None:
    """What was written down before the end is gone on with; a line that was cut is none."""
    restore(server, MAIL[:2])
    (record,) = restore.place.iterdir()
    lines = record.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    record.write_bytes(b"".join(lines[:3]) + lines[3][:10])
    assert restore(server) == (3, [("2", "unanswered"), ("INBOX", "delivered")])
    assert [content for _, content in server.delivered] == SENT


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("552 5.2.2 full", "quota"), ("452 4.2.2 full", "quota"), ("451 4.3.0 later", "busy")],
)
def test_a_user_that_takes_no_more(restore: Restorer, server: ScriptedLmtp, answer: str, reason: str) -> None:
    server.plan = lambda content: answer if content == SENT[2] else "250 2.0.0 taken"
    assert restore(server) == (2, [("INBOX", reason), ("INBOX", "delivered")])
    server.plan = lambda _: "250 2.0.0 taken"
    assert restore(server) == (3, [("INBOX", "delivered")])
    assert [content for _, content in server.delivered] == SENT


def test_a_server_that_goes_after_it_refused(restore: Restorer, server: ScriptedLmtp) -> None:
    """What was answered was not delivered: it is sent the next time."""

    def plan(content: bytes) -> str:
        if content == SENT[2]:
            server.drops = 9
            return "451 4.3.0 later"
        return "250 2.0.0 taken"

    server.plan = plan
    assert restore(server) == (2, [("INBOX", "connection-lost"), ("INBOX", "delivered")])
    server.plan, server.drops = lambda _: "250 2.0.0 taken", 0
    assert restore(server) == (3, [("INBOX", "delivered")])
    assert [content for _, content in server.delivered] == SENT


def test_interrupted_in_a_message(server: ScriptedLmtp) -> None:
    """Whoever is interrupted leaves at once: in the midst of a message no answer comes to QUIT."""

    def interrupted() -> Iterator[bytes]:
        yield MAIL[0]
        raise KeyboardInterrupt

    address = parse_address(f"lmtp://127.0.0.1:{server.port}")
    conversation = Conversation(address, Patience(silence_seconds=30))
    with pytest.raises(KeyboardInterrupt):
        conversation.deliver(JANE, 100, interrupted(), lambda: None)
    began = time.monotonic()
    conversation.close()
    assert time.monotonic() - began < 20
    assert server.delivered == []


def test_a_message_that_is_refused(restore: Restorer, server: ScriptedLmtp) -> None:
    server.plan = lambda content: "554 5.6.0 bad" if content == SENT[0] else "250 2.0.0 taken"
    assert restore(server) == (4, [("1", "refused"), ("INBOX", "delivered")])


def test_a_user_that_is_not_there(restore: Restorer, server: ScriptedLmtp) -> None:
    server.rcpt = "550 5.1.1 no such user"
    assert restore(server) == (0, [("INBOX", "refused")])
    assert server.delivered == []


def test_each_user_has_a_record(restore: Restorer, server: ScriptedLmtp) -> None:
    users = ["a/b", "a%2Fb", "..", "../x", "x" * 199 + "y", "x" * 199 + "z", "X", "x"]
    for user in users:
        assert restore(server, MAIL[:1], user)[0] == 1
    assert len(list(restore.place.iterdir())) == len(users)
    assert {path.name for path in restore.place.parent.iterdir()} == {"delivered"}


@pytest.mark.parametrize(
    "user", ["a b", "jane>", "jane\r\nDATA", "j\xe4ne", "", "(x)jane", "jane,", "x:jane;"]
)
def test_users_that_are_no_address(restore: Restorer, server: ScriptedLmtp, user: str) -> None:
    with pytest.raises(StoreError, match="can't stand in an address"):
        restore(server, user=user)


def test_a_record_that_can_not_be_kept(restore: Restorer, server: ScriptedLmtp) -> None:
    """Then nothing is sent."""
    restore.place.write_text("no directory")
    with pytest.raises(StoreError, match="can't be written down"):
        restore(server)
    assert server.delivered == []
    with pytest.raises(ConfigError, match="--delivered"):
        LmtpTarget("lmtp://127.0.0.1:24", ServerAccess())


def test_a_server_that_is_gone(restore: Restorer, server: ScriptedLmtp) -> None:
    server.close()
    assert restore(server) == (0, [("INBOX", "connection-lost")])


@pytest.mark.parametrize("piece", [1, 2, 3, 100])
def test_dots(piece: int) -> None:
    content = b".\r\n..\r\na.\r\n\r\n.b\r\n.c"
    pieces = [content[at : at + piece] for at in range(0, len(content), piece)]
    assert b"".join(stuffed(pieces)) == b"..\r\n...\r\na.\r\n\r\n..b\r\n..c\r\n"
    assert b"".join(stuffed([])) == b""
