"""What is told of a failure, and whether it is tried again."""

from __future__ import annotations

import pytest

from mailhaul.coordinator.restores.failures import failure_of
from mailhaul.proto.records import Skipped


@pytest.mark.parametrize(
    ("reason", "kind", "again"),
    [
        ("quota", "refused", True),
        ("too-large", "refused", True),
        ("connection-lost", "soft", True),
        ("untrusted", "refused", True),
        # The message is there: once more would bring no other.
        ("altered", "hard", False),
        ("unanswered", "soft", False),
        ("acl", "refused", False),
        ("keyword", "hard", False),
        ("renamed", "hard", False),
        ("not-mail", "refused", False),
    ],
)
def test_what_servers_do_to_mail(reason: str, kind: str, again: bool) -> None:
    failure = failure_of(Skipped("/primary/user/jane/INBOX/7", reason, "words"))
    assert (failure.kind, failure.again) == (kind, again)
    assert failure.remedy


def test_a_key_that_is_not_at_hand_does_not_pass_by_itself() -> None:
    failure = failure_of(Skipped("/primary/user/jane", "encrypted", "words"))
    assert (failure.kind, failure.again) == ("unreadable", True)
    assert "private key" in failure.remedy
    assert "nothing" in failure_of(Skipped("/primary/user/jane", "erased", "words")).remedy


def test_what_is_not_known_is_tried_again() -> None:
    assert failure_of(Skipped("/primary", "never-heard-of", "words")).again
    assert failure_of(Skipped("/primary", "altered", "words"), damaged=True).again
