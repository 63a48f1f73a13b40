"""For whom a staging area is encrypted, as its last runs had it: ``ID.recipients`` in the directory of keys.

What writes archives anew, or looks on, has no configuration; and what is encrypted stays so when it is
written anew, also when no run has recipients any more. There is no secret in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..proto.errors import StagingError
from ..proto.keys.records import Recipient
from ..proto.structs import Record
from .durable import replace_durably


class NotedRecipients(Record, kw_only=True):
    """The ``recipients`` of the last run that had some, and whether the last run ``encrypts``, for them, and
    was to write mailboxes that are ``erasable``. ``vault``: secrets of mailboxes were made some time."""

    encrypts: bool = False
    recipients: tuple[Recipient, ...] = ()
    erasable: bool = False
    vault: bool = False

    @property
    def are_encrypted(self) -> bool:
        """Whether archives are: without a record of any recipients the key came out of an archive."""
        return self.encrypts or not self.recipients


def noted_recipients(directory: Path, area: str) -> NotedRecipients:
    """What is on record of the staging area with this id. Raises StagingError if it can't be read."""
    from ..proto.keys.recipients import recipient_of_text  # who has no keys does without

    path = _file(directory, area)
    try:
        document = json.loads(path.read_bytes())
        return NotedRecipients(
            encrypts=bool(document["encrypts"]),
            recipients=tuple(recipient_of_text(name, text) for name, text in document["recipients"]),
            erasable=bool(document.get("erasable")),
            vault=bool(document.get("vault")),
        )
    except FileNotFoundError:
        return NotedRecipients()
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise StagingError(f"{path}: can't be read: {error}", path=str(path)) from error


def note_recipients(
    directory: Path, area: str, recipients: Sequence[Recipient], *, erasable: bool = False
) -> None:
    """Put on record what the run that begins has; without recipients those before are kept. Repeatable.
    Raises StagingError."""
    from ..proto.keys.recipients import text_of

    before = noted_recipients(directory, area)
    document = {
        "encrypts": bool(recipients),
        "recipients": [[recipient.name, text_of(recipient)] for recipient in recipients or before.recipients],
        "erasable": erasable,
        "vault": erasable or before.vault,
    }
    path, data = _file(directory, area), json.dumps(document).encode("ascii")
    if not path.exists() or path.read_bytes() != data:
        replace_durably(path, data)


def _file(directory: Path, area: str) -> Path:
    return directory / f"{area}.recipients"
