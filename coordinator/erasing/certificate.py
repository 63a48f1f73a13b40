"""The certificate of an erasure: what was done when, and what is due, without what was erased.

It holds no name. The digest stands for partition and user, with the salt: who guesses an address can confirm
it, which is also how a person can be shown that the certificate is theirs.
"""

from __future__ import annotations

from typing import Any

from .progress import Progress
from .record import Erasure

WORDS = (
    "All that was stored of the mailboxes by runs before the erasure was erased, as the steps say. Data that "
    "other mailboxes have too stayed for these. A mailbox stands here as BLAKE3(salt, partition, NUL, user), "
    "16 bytes: who guesses an address can confirm it."
)


def certificate(erasure: Erasure, progress: Progress) -> dict[str, Any]:
    """As a JSON document; times are ISO 8601."""
    return {
        "erasure": erasure.erasure,
        "asked": erasure.asked.isoformat(),
        "reason": erasure.reason,
        "state": progress.state,
        "mailboxes": [
            {"salt": mailbox.salt.hex(), "digest": mailbox.digest.hex()} for mailbox in erasure.mailboxes
        ],
        "steps": [{"at": step.at.isoformat(), "what": step.what} for step in progress.steps],
        "removed_elsewhere": progress.removed,
        "said_to_be_destroyed": list(progress.destroyed),
        "due": [
            {
                "place": remaining.place,
                "name": remaining.name,
                "version": remaining.version,
                "bytes": remaining.size_bytes,
                "until": remaining.until and remaining.until.isoformat(),
                "why": remaining.why,
            }
            for remaining in progress.remaining
        ],
        "undone": [
            {"file": skip.path, "reason": skip.reason, "detail": skip.detail} for skip in progress.undone
        ],
        "ended": progress.ended and progress.ended.isoformat(),
        "note": WORDS,
    }
