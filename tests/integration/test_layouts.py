"""Every way to lay out a Maildir that Dovecot documents: what is restored is backed up again as it was, and
again, and a server finds the same mail each time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from mailhaul.tests import trees
from mailhaul.tests.integration.accounts import fill
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.imap import differences
from mailhaul.tests.integration.servers.programs import both_servers, both_servers_with
from mailhaul.tests.integration.servers.settings import LAYOUTS, RARE_LAYOUTS
from mailhaul.tests.stored import stored_differences, stored_mailboxes

ALICE = "alice@example.org"

StartDovecot = Callable[..., Dovecot]


@both_servers_with([*LAYOUTS, *RARE_LAYOUTS], ["dirname", "control-index", "index-layout-apart"])
def test_three_rounds(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], layout: str
) -> None:
    servers = [start_dovecot(layout) for _ in range(3)]
    fill(servers[0], ALICE, mails)
    seen = servers[0].view(ALICE)
    for number, (old, new) in enumerate(pairwise(servers)):
        staging = f"staging{number}"
        mailhaul.run(mailhaul.configure(old, doveadm=(), staging=staging, **old.apart), "backup")
        before = _lasting(trees.snapshot(old.home(ALICE)))
        mailhaul.run(mailhaul.configure(new, staging=staging, **new.apart), "restore", "/")
        assert trees.differences(before, _lasting(trees.snapshot(new.home(ALICE)))) == []
    last = mailhaul.configure(servers[-1], doveadm=(), staging="staging2", **servers[-1].apart)
    mailhaul.run(last, "backup")
    first, *others = (stored_mailboxes(mailhaul.place / f"staging{number}") for number in range(3))
    assert [stored_differences(first, other) for other in others] == [[], []]
    if "LAYOUT=index" in RARE_LAYOUTS.get(layout, ""):
        # The server alone knows what these folders are called.
        mailhaul.run(mailhaul.configure(servers[-1], staging="named", **servers[-1].apart), "backup")
        first = stored_mailboxes(mailhaul.place / "named")
    names = {folder.name for folder, _ in first[ALICE].folders}
    assert {"INBOX", "Archive/2024", "Entwürfe", "Rock & Roll"} <= names
    assert not [name for name in names if "~" in name or "mAildir" in name]
    assert differences(seen, servers[-1].view(ALICE)) == []


def _lasting(tree: dict[bytes, trees.Entry]) -> dict[bytes, trees.Entry]:
    """Without the directories of index files, which the server makes anew, and without UID lists: they may
    have a greater next UID, and messages that are gone. What they say of mail is compared as it is stored."""
    return {
        path: entry
        for path, entry in tree.items()
        if not path.startswith((b"index", b"Maildir/index")) and not path.endswith(b"dovecot-uidlist")
    }


@both_servers
def test_keywords_for_which_there_are_no_letters(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]
) -> None:
    """Only the server's index has them; it is asked, and told after a restore."""
    old, new = start_dovecot(), start_dovecot()
    with old.login(ALICE) as client:
        for mail in mails[:4]:
            client.save("INBOX", mail)
        client.open("INBOX")
        for number in range(26):
            client.flag([1], "+", f"word{number}")
        client.flag([2], "+", "word3", "beyondOne")
        client.flag([2, 3], "+", "beyond&Two")
    seen = old.view(ALICE)
    assert seen.folders["INBOX"].messages[2].flags >= {"beyondOne", "beyond&Two", "word3"}
    mailhaul.run(mailhaul.configure(old), "backup")
    mailhaul.run(mailhaul.configure(new), "restore", "/")
    assert differences(seen, new.view(ALICE)) == []

    # Nothing on disk shows such a change: the next night finds it all the same.
    with old.login(ALICE) as client:
        client.open("INBOX")
        client.flag([4], "+", "beyondOne")
    mailhaul.run(mailhaul.configure(old), "backup")
    ((_, messages),) = [one for one in _newest(mailhaul) if one[0] == "INBOX"]
    assert messages == {1: 26, 2: 3, 3: 1, 4: 1}

    report = mailhaul.run(mailhaul.configure(old, doveadm=()), "backup", status=3)
    assert "keyword" in {skip["reason"] for skip in report["skipped"]}


def _newest(mailhaul: Mailhaul) -> list[tuple[str, dict[int, int]]]:
    """Folders and how many keywords their messages have, by UID, of the newest backup."""
    folders = stored_mailboxes(mailhaul.staging)[ALICE].folders
    return [
        (folder.name, {each.uid: len(each.keywords) for each in messages}) for folder, messages in folders
    ]


@pytest.mark.parametrize("layout", ["fs-control", "control-index"])
def test_without_a_configuration(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], layout: str
) -> None:
    """What lies elsewhere is named behind the directory."""
    old, new = start_dovecot(layout), start_dovecot(layout)
    fill(old, ALICE, mails)
    seen = old.view(ALICE)
    staging = mailhaul.place / "staging"
    place = f"maildir:{old.template}:CONTROL={old.apart['control']}"
    mailhaul.run(None, "backup", "--store", place, "--staging", staging)
    place = f"maildir:{new.template}:CONTROL={new.apart['control']}"
    mailhaul.run(None, "restore", "/", "--staging", staging, "--to", place)
    assert differences(seen, new.view(ALICE)) == []

    # Without it the UIDs are missing, and that is told, whatever the server leaves in the mailbox.
    place = f"maildir:{old.template}"
    report = mailhaul.run(None, "backup", "--store", place, "--staging", mailhaul.place / "other", status=3)
    (told,) = report["skipped"]
    assert (told["reason"], told["path"]) == ("uidlist", f"/primary/user/{ALICE}/.")
