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
        "mailboxes": [{"salt": one.salt.hex(), "digest": one.digest.hex()} for one in erasure.mailboxes],
        "steps": [{"at": one.at.isoformat(), "what": one.what} for one in progress.steps],
        "removed_elsewhere": progress.removed,
        "said_to_be_destroyed": list(progress.destroyed),
        "due": [
            {
                "place": one.place,
                "name": one.name,
                "version": one.version,
                "bytes": one.size_bytes,
                "until": one.until and one.until.isoformat(),
                "why": one.why,
            }
            for one in progress.remaining
        ],
        "undone": [{"file": one.path, "reason": one.reason, "detail": one.detail} for one in progress.undone],
        "ended": progress.ended and progress.ended.isoformat(),
        "note": WORDS,
    }
