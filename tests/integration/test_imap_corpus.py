"""Real and hostile mail into other servers over IMAP: every message is there byte by byte, but for what the
server itself makes of it, and that is listed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailhaul.proto.errors import MessageUnavailable
from mailhaul.proto.records import Folder, MailboxOutcome, ServerAccess, Skipped
from mailhaul.proto.structs import replace
from mailhaul.tests.corpora import corpus
from mailhaul.tests.faults.tcp_proxy import Proxy
from mailhaul.tests.integration.servers.cyrus import ADMIN, Cyrus
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.imap import PASSWORD, SeenMessage, digest
from mailhaul.tests.integration.servers.programs import both_servers
from mailhaul.tests.maildirs import DATE_NS, file, message
from mailhaul.worker.stores.imap.answers import numbers
from mailhaul.worker.stores.imap.target import ImapTarget
from mailhaul.worker.stores.line_ends import with_crlf
from mailhaul.worker.stores.patience import Patience

BOX = Folder(name="Box", path=b".Box")

StartDovecot = Callable[..., Dovecot]
StartCyrus = Callable[..., Cyrus]


HOSTILE = (
    b"",
    b"\n",
    b"x",
    b"no header at all\n",
    b"Subject: caf\xe9\n\nheader beyond ASCII\n",
    b"Subject: returns\n\nCR CR LF\r\r\nand a CR at the end\r",
    b"Subject: bare\n\na CR\rin the midst\n",
    b"Subject: nothing\n\na NUL\0 in the body, \xff\xfe\n",
    b"Subject: long\n\n" + b"x" * 20_000 + b"\n",
    b"Subject: dots\n\n.\n..\n" + b"\n" * 50,
    b"Subject: binary\nContent-Transfer-Encoding: binary\n\n" + bytes(range(1, 256)) + b"\n",
    b"X-A: " + b"y" * 70_000 + b"\nSubject: wide\n\n",
    b"Subject: open\nContent-Type: multipart/mixed; boundary=a\n\n--a\n--a\n",
)
"""What servers are known to alter, or might."""


class Restored:
    """What became of messages that were restored to a server, which were numbered from 1."""

    def __init__(self, target: ImapTarget, user: str, mail: Sequence[tuple[bytes, tuple[str, ...]]]) -> None:
        skipped: list[Skipped] = []
        with target.open_mailbox(user, b"", [BOX]) as mailbox:
            folder = mailbox.open_folder(BOX)
            for uid, (content, keywords) in enumerate(mail, 1):
                try:
                    one = replace(message(content=content, uid=uid, flags="S"), keywords=keywords)
                    folder.add(one, [content])
                except MessageUnavailable as error:
                    skipped.append(Skipped(f"Box/{uid}", error.reason, error.message))
            folder.finish()
            mailbox.commit()
            self.outcome: MailboxOutcome = mailbox.outcome()
            self.listed = mailbox.listed()["Box"]
            skipped += mailbox.skipped()
        self.told = {int(skip.path.partition("/")[2]): skip for skip in skipped if "/" in skip.path}
        self.of_folder = [one for one in skipped if "/" not in one.path]
        (uids,) = self.outcome.uids
        self.uids = dict(zip(numbers(uids.uids), numbers(uids.new_uids), strict=True))


def check(
    restored: Restored, mail: Sequence[bytes], there: dict[int, SeenMessage], made: Callable[[bytes], bytes]
) -> None:
    """What is there is what the server is known to make of a message (``made``), which is told if that is
    another; what is refused is not there."""
    assert restored.listed == len(there) == len(mail) - restored.outcome.refused
    for uid, content in enumerate(mail, 1):
        wire = b"".join(with_crlf([content]))
        told = restored.told.get(uid)
        if told is not None and told.reason == "refused":
            assert uid not in restored.uids
            continue
        assert there[restored.uids[uid]].digest == digest(made(wire)), (uid, told)
        assert (made(wire) == wire) == (told is None), (uid, told)


def refusals(restored: Restored) -> set[str]:
    """The words with which messages were refused, without what differs."""
    return {skip.detail.partition(" (")[0] for skip in restored.told.values() if skip.reason == "refused"}


def made_by_dovecot(wire: bytes) -> bytes:
    """A NUL becomes 0x80; CR before CR LF, and at the end, goes."""
    wire = re.sub(rb"\r\r+\n", b"\r\n", wire.replace(b"\0", b"\x80"))
    return wire[:-1] if wire.endswith(b"\r") else wire


def made_by_cyrus(wire: bytes) -> bytes:
    """Bytes beyond ASCII in a header become X."""
    header, blank, body = wire.partition(b"\r\n\r\n")
    return re.sub(rb"[\x80-\xff]", b"X", header) + blank + body


@pytest.fixture
def access(tmp_path: Path) -> ServerAccess:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return ServerAccess(password_file=str(path), verify=True)


@pytest.fixture(params=["hostile", "corpus"])
def mail(request: pytest.FixtureRequest) -> Sequence[bytes]:
    return (
        HOSTILE
        if request.param == "hostile"
        else corpus(request.getfixturevalue("shared"), "tricky", "sample")
    )


@both_servers
def test_dovecot(start_dovecot: StartDovecot, access: ServerAccess, mail: Sequence[bytes]) -> None:
    server = start_dovecot("mdbox")
    target = ImapTarget(f"imap://127.0.0.1:{server.ports.imap}", access)
    restored = Restored(target, "jane", [(one, ()) for one in mail])
    with server.login("jane") as client:
        there = client.view("Box").folders["Box"].messages
    check(restored, mail, there, made_by_dovecot)
    assert refusals(restored) == {"Can't save a zero byte message"}


def test_cyrus(start_cyrus: StartCyrus, access: ServerAccess, mail: Sequence[bytes]) -> None:
    server = start_cyrus("jane")
    target = ImapTarget(f"imap://127.0.0.1:{server.port}", replace(access, master=ADMIN))
    restored = Restored(target, "jane", [(one, ()) for one in mail])
    with server.login("jane") as client:
        there = client.view("Box").folders["Box"].messages
    check(restored, mail, there, made_by_cyrus)
    assert refusals(restored) == {
        "Message contains NUL characters",
        "Message contains invalid header",
        "Zero-length message literal",
    }


@pytest.mark.parametrize("kind", ["maildir++", "mdbox", "cyrus"])
def test_lost_answers(
    start_dovecot: StartDovecot,
    request: pytest.FixtureRequest,
    access: ServerAccess,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """The link breaks when the server says that it has taken them: nothing is there twice, nothing lacks."""
    monkeypatch.setattr("mailhaul.worker.stores.imap.delivery.BATCH_MESSAGES", 7)
    server = request.getfixturevalue("start_cyrus")("jane") if kind == "cyrus" else start_dovecot(kind)
    mail = [one for one in HOSTILE if one.startswith(b"Subject:") and b"\0" not in one] * 4
    chance = random.Random(kind)
    lost: list[bytes] = []

    def loses(answer: bytes) -> bool:
        chosen = b"[APPENDUID" in answer and chance.random() < 0.5
        if chosen:
            lost.append(answer)
        return chosen

    port = server.port if isinstance(server, Cyrus) else server.ports.imap
    with Proxy(port, loses) as proxy:
        patience = Patience(attempts=9, first_wait=0.01, longest_wait=0.05)
        access = replace(access, master=ADMIN) if kind == "cyrus" else access
        target = ImapTarget(f"imap://127.0.0.1:{proxy.port}", access, patience)
        restored = Restored(target, "jane", [(one, ()) for one in mail])
    assert lost
    with server.login("jane") as client:
        there = client.view("Box").folders["Box"].messages
    check(restored, mail, there, made_by_cyrus if kind == "cyrus" else made_by_dovecot)
    assert restored.outcome.refused == 0


MANY = [(b"Subject: %d\n\nx\n" % number, (f"k{number}", "all")) for number in range(110)]
LONG = "w" * 60


def check_keywords(
    restored: Restored, mail: Sequence[tuple[bytes, tuple[str, ...]]], server: Any
) -> set[str]:
    """Each message is there, with its keywords but for those that are told; returns these."""
    told = {
        word
        for skip in restored.of_folder
        if skip.reason == "keyword"
        for word in re.findall(r" came back without (\S+):", skip.detail)
    }
    assert restored.told == {}
    with server.login("jane") as client:
        there = client.view("Box").folders["Box"].messages
    for uid, (_, keywords) in enumerate(mail, 1):
        assert there[restored.uids[uid]].flags == {"\\Seen", *keywords} - told
    return told


@both_servers
def test_keywords_that_dovecot_does_not_take(start_dovecot: StartDovecot, access: ServerAccess) -> None:
    server = start_dovecot("mdbox")
    mail = [*MANY, (b"Subject: long\n\nx\n", (LONG, "all"))]
    restored = Restored(ImapTarget(f"imap://127.0.0.1:{server.ports.imap}", access), "jane", mail)
    assert check_keywords(restored, mail, server) == {LONG}


def test_keywords_that_cyrus_does_not_take(start_cyrus: StartCyrus, access: ServerAccess) -> None:
    server = start_cyrus("jane")
    mail = [*MANY, (b"Subject: long\n\nx\n", (LONG, "all"))]
    target = ImapTarget(f"imap://127.0.0.1:{server.port}", replace(access, master=ADMIN))
    told = check_keywords(Restored(target, "jane", mail), mail, server)
    # It takes a hundred for a folder.
    assert len(told) == len(MANY) + 2 - 100
    assert "all" not in told


ACL = """
mail_plugins = acl
protocol imap {
  mail_plugins = $mail_plugins imap_acl
}
plugin {
  acl = vfile
  acl_anyone = allow
}
"""
"""Of a Dovecot 2.3."""


@pytest.mark.parametrize("kind", ["dovecot", "cyrus"])
def test_what_a_look_sees(
    start_dovecot: StartDovecot, request: pytest.FixtureRequest, access: ServerAccess, kind: str
) -> None:
    """A folder that takes nothing, one that takes mail, one that is not there; nothing is changed."""
    server, access = started(kind, start_dovecot, request, access)
    with server.login("jane") as client:
        client.make_folder("Box")
        client.make_folder("Open")
        client.save("Open", b"Subject: x\r\n\r\nx\r\n", when=datetime.fromtimestamp(DATE_NS // 10**9, UTC))
        client._client.setacl("Box", "jane", "lra")
    before = server.view("jane")
    target = ImapTarget(f"imap://127.0.0.1:{port_of(server)}", access)
    with target.look_into("jane", ["Box", "Open", "Away"]) as survey:
        box, opened = survey.folder("Box"), survey.folder("Open")
        assert box is not None
        assert opened is not None
        assert "nothing may be put into it" in box.refusal
        assert opened.refusal == ""
        assert survey.folder("Away") is None
        there = message(content=b"Subject: x\n\nx\n")
        assert [opened.take(one) for one in (replace(there, size=100), there, there)] == [False, True, False]
        assert survey.quotas() in (None, [])
    assert server.view("jane") == before


def started(
    kind: str, start_dovecot: StartDovecot, request: pytest.FixtureRequest, access: ServerAccess
) -> tuple[Dovecot | Cyrus, ServerAccess]:
    """A server with access lists, and how to log in there."""
    if kind == "cyrus":
        return request.getfixturevalue("start_cyrus")("jane", "bob"), replace(access, master=ADMIN)
    return start_dovecot(more=ACL), access


def port_of(server: Dovecot | Cyrus) -> int:
    return server.port if isinstance(server, Cyrus) else server.ports.imap


@pytest.mark.parametrize("kind", ["dovecot", "cyrus"])
def test_access_lists(
    start_dovecot: StartDovecot, request: pytest.FixtureRequest, access: ServerAccess, kind: str
) -> None:
    """Rights are given to those who had them, and to nobody else."""
    server, access = started(kind, start_dovecot, request, access)
    content = b"user=bob lrs\n-user=bob w\nanyone l\ngroup=staff lr\nowner lrwstipekxa\n"
    with ImapTarget(f"imap://127.0.0.1:{port_of(server)}", access).open_mailbox(
        "jane", b"", [BOX]
    ) as mailbox:
        mailbox.open_folder(BOX).finish()
        assert mailbox.add_file(file(b".Box/dovecot-acl", content), [content])
        mailbox.commit()
        told = [(skip.path, skip.reason, skip.detail) for skip in mailbox.skipped()]
    assert told == [("Box", "acl", "IMAP can't say this right: 'group=staff lr'")]
    with server.login("jane") as client:
        _, (line,) = client._client.getacl("Box")
        client.save("Box", b"Subject: the owner may still\n\n")
    words = str(line, "ascii").replace('"', "").split()[1:]
    grants = dict(zip(words[::2], words[1::2], strict=True))
    assert (grants["bob"], grants["-bob"], grants["anyone"]) == ("lrs", "w", "l")
    assert grants.keys() <= {"bob", "-bob", "anyone", "jane", "owner"}
