"""Access lists and subscriptions after users were renamed. The texts are what Dovecot 2.3 wrote."""

from __future__ import annotations

import pytest

from mailhaul.worker.stores.naming_users import rename_in_access_list, rename_in_subscriptions

NOW = {
    "bob@example.net": "robert@example.com",
    "jane@example.org": "jane.doe@example.org",
    "bob": "bob@example.org",
    "bob smith": 'bob "the smith"',
    "team": "crew",
}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"user=bob@example.net lrs\n", b"user=robert@example.com lrs\n"),
        (b"-user=bob@example.net w\nowner lrwstipekxa\n", b"-user=robert@example.com w\nowner lrwstipekxa\n"),
        (b'"user=bob smith" lr :custom\n', b'"user=bob \\"the smith\\"" lr :custom\n'),
        (b"user=bob", b"user=bob@example.org"),
    ],
)
def test_identifiers_of_users_follow(before: bytes, after: bytes) -> None:
    assert rename_in_access_list(before, NOW.get) == after


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"group=bob lr\nanyone lr\nauthenticated l\ngroup-override=bob x\n",
        b"user=joe lr\n",
        b'"user=bob lr\n',
        b"user=bob\xff lr\n",
        b"\0\xff\n\n",
    ],
)
def test_all_else_in_an_access_list_stays(content: bytes) -> None:
    assert rename_in_access_list(content, NOW.get) == content


@pytest.mark.parametrize(
    ("dotted", "before", "after"),
    [
        (
            True,
            b"V\t2\n\nshared/jane@example\torg/Team\txy\nshared/jane@example\torg/INBOX\nINBOX\n",
            b"V\t2\n\nshared/jane\tdoe@example\torg/Team\txy\nshared/jane\tdoe@example\torg/INBOX\nINBOX\n",
        ),
        (
            False,
            b"V\t2\n\nshared\tjane@example.org\tTeam\tx.y\nINBOX\n",
            b"V\t2\n\nshared\tjane.doe@example.org\tTeam\tx.y\nINBOX\n",
        ),
        (True, b"V\t2\n\nuser/bob\n", b"V\t2\n\nuser/bob@example\torg\n"),
        (False, b"shared/jane@example.org/x\n", b"shared/jane.doe@example.org/x\n"),
        (True, b"shared/jane@example.org/A.b\n", b"shared/jane.doe@example.org/A.b\n"),
    ],
)
def test_subscriptions_of_what_others_share_follow(dotted: bool, before: bytes, after: bytes) -> None:
    assert rename_in_subscriptions(before, NOW.get, ["INBOX"], dotted=dotted) == after


@pytest.mark.parametrize("dotted", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"V\t2\n\nteam\nteam\tx\nLists\tteam\nLists\tteam\tbob\n\xff\tx\n",
        b"team\nINBOX\n",
        b"V\t2",
    ],
)
def test_what_the_mailbox_has_itself_stays(content: bytes, dotted: bool) -> None:
    own = ["INBOX", "Lists/team/bob"]
    assert rename_in_subscriptions(content, NOW.get, own, dotted=dotted) == content
