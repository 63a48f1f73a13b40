"""Every way to lay out a Maildir that Dovecot documents: what is restored is backed up again as it was, and
again, and a server finds the same mail each time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from mailhaul.tests import trees
from mailhaul.tests.integration.accounts import fill
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import LAYOUTS, RARE_LAYOUTS, Dovecot
from mailhaul.tests.integration.servers.imap import differences
from mailhaul.tests.stored import stored_differences, stored_mailboxes

ALICE = "alice@example.org"

StartDovecot = Callable[..., Dovecot]


@pytest.mark.parametrize("layout", [*LAYOUTS, *RARE_LAYOUTS])
def test_three_rounds(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], layout: str
) -> None:
    servers = [start_dovecot(layout) for _ in range(3)]
    fill(servers[0], ALICE, mails)
    seen = servers[0].view(ALICE)
    for number, (old, new) in enumerate(pairwise(servers)):
        staging = f"staging{number}"
        mailhaul.run(mailhaul.configure(old, doveadm=(), staging=staging), "backup")
        before = _lasting(trees.snapshot(old.home(ALICE)))
        mailhaul.run(mailhaul.configure(new, doveadm=(), staging=staging), "restore", "/")
        assert trees.differences(before, _lasting(trees.snapshot(new.home(ALICE)))) == []
    last = mailhaul.configure(servers[-1], doveadm=(), staging="staging2")
    mailhaul.run(last, "backup")
    first, *others = (stored_mailboxes(mailhaul.place / f"staging{number}") for number in range(3))
    assert [stored_differences(first, other) for other in others] == [[], []]
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
