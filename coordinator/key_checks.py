"""When the recipients' private keys were seen to open what is written; and for whom it is written.

A run has public keys only. It proves with them that what it wrote is wrapped for just the configured
recipients; that the private halves still exist proves ``keys recipient check``, now and then. When that was
is on record as ``ID.checks`` in the directory of keys, without any secret, and a run warns when it was long
ago.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from ..proto.errors import BackupError, DamagedError, StagingError
from ..proto.keys.records import Recipient
from ..proto.structs import Record
from .area_id import area_id
from .durable import replace_durably
from .keys_directory import keys_directory
from .structure_keys import keys_at

DAY_SECONDS = 86_400.0


class Check(Record, kw_only=True):
    """When a recipient's private key was seen to open what is wrapped for it: a canary, and the keys of
    archives, of which ``archive`` is the newest (its name; empty if there was none)."""

    recipient: bytes
    name: str
    at: datetime
    archive: str = ""


class CheckedRecipient(Record, kw_only=True):
    """A recipient, when its private key was ``checked`` last (None: never), and whether that is too long
    ago."""

    name: str
    fingerprint: str
    checked: datetime | None
    overdue: bool

    def warning(self, now: datetime) -> str:
        """That it is overdue, and what to do, in words."""
        if self.checked is None:
            since = "was never tried on what is written"
        else:
            days = (now - self.checked).total_seconds() / DAY_SECONDS
            since = f"was tried {days:,.0f} days ago for the last time"
        return (
            f"the private key of the recipient {self.name} {since}: see that it still opens archives, by "
            "`mailhaul keys recipient check --identity FILE`"
        )


def read_checks(directory: Path, staging: Path) -> Mapping[bytes, Check]:
    """The last check of each recipient on a staging area, by its id; none where there was none. Raises
    DamagedError, StagingError."""
    if not (staging / ".mailhaul" / "area-id").exists():
        return {}
    path = _file(directory, staging)
    try:
        rows = json.loads(path.read_bytes())["checks"]
        found = [
            Check(
                recipient=bytes.fromhex(row["recipient"]),
                name=str(row["name"]),
                at=_aware(datetime.fromisoformat(row["at"])),
                archive=str(row["archive"]),
            )
            for row in rows
        ]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StagingError(f"{path}: can't be read: {error.strerror}", path=str(path)) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(
            f"{path} is damaged: remove it, and check the recipients again", path=str(path)
        ) from error
    return {check.recipient: check for check in found}


def note_checks(directory: Path, staging: Path, checks: Iterable[Check]) -> None:
    """Record checks, durably, in the place of earlier ones of the same recipients. Raises as
    ``read_checks``."""
    known = {**read_checks(directory, staging), **{check.recipient: check for check in checks}}
    rows = [
        {
            "recipient": check.recipient.hex(),
            "name": check.name,
            "at": check.at.astimezone(UTC).isoformat(timespec="seconds"),
            "archive": check.archive,
        }
        for check in known.values()
    ]
    document = json.dumps({"checks": rows}, indent=1) + "\n"
    replace_durably(_file(directory, staging), document.encode("ascii"))


def checked_recipients(
    recipients: Iterable[Recipient], checks: Mapping[bytes, Check], now: datetime, every_seconds: float
) -> tuple[CheckedRecipient, ...]:
    """How recipients stand."""
    from ..proto.keys.recipients import fingerprint  # a run without recipients does without

    def checked(recipient: Recipient) -> CheckedRecipient:
        last = checks.get(recipient.id)
        return CheckedRecipient(
            name=recipient.name,
            fingerprint=fingerprint(recipient.id),
            checked=last.at if last else None,
            overdue=last is None or (now - last.at).total_seconds() > every_seconds,
        )

    return tuple(map(checked, recipients))


def misaddressed(archive: Path, expected: Sequence[Recipient]) -> str:
    """What is wrong with whom an archive was written for, in words; empty if all keys that were made for it
    are wrapped for just these recipients. Keys that came along with frames of older archives count for
    nothing: they are wrapped as they were. Raises BackupError if that can't be read."""
    from ..proto.archive.slots import read_slots
    from ..worker.archives.opened import beginning_of
    from ..worker.archives.places import open_local

    with closing(open_local(str(archive))) as file:
        own = beginning_of(file).archive
        slots = [slot for slot in read_slots(file) if slot.archive == own]
    if not slots:
        return "it is not encrypted"
    wanted = {recipient.id: recipient.name for recipient in expected}
    lacking, strange = set[str](), set[str]()
    for slot in slots:
        there = {wrap.recipient: wrap.name for wrap in slot.wraps}
        lacking |= {name for id_, name in wanted.items() if id_ not in there}
        strange |= {name for id_, name in there.items() if id_ not in wanted}
    wrong = [f"keys of it are not wrapped for {name}" for name in sorted(lacking)]
    return "; ".join((*wrong, *(f"keys of it are wrapped for {name}, too" for name in sorted(strange))))


def known_recipients(staging: Path) -> tuple[tuple[Recipient, ...], Mapping[bytes, Check]]:
    """For whom the last run encrypted (none if it did not), and the last check of each: for who looks on
    without a configuration. Raises BackupError, OSError where the directory of keys can't be read."""
    directory = keys_directory(staging)
    sealing = keys_at(staging).sealing
    if directory is None or sealing is None:
        return (), {}
    return sealing.recipients, read_checks(directory, staging)


def recipients_in(files: Iterable[Path]) -> tuple[Recipient, ...]:
    """The recipients of a configuration. Raises AccessError."""
    from ..proto.keys.recipients import read_recipient

    return tuple(map(read_recipient, files))


def overdue_warnings(
    recipients: Sequence[Recipient], directory: Path, staging: Path, now: datetime, every_seconds: float
) -> tuple[str, ...]:
    """What a run says of private keys that were not tried for long; never an error: the run is done."""
    if not recipients:
        return ()
    try:
        checks = read_checks(directory, staging)
    except BackupError as error:
        return (error.message,)
    found = checked_recipients(recipients, checks, now, every_seconds)
    return tuple(recipient.warning(now) for recipient in found if recipient.overdue)


def _file(directory: Path, staging: Path) -> Path:
    return directory / f"{area_id(staging)}.checks"


def _aware(when: datetime) -> datetime:
    if when.tzinfo is None:
        raise ValueError("a time without an offset")
    return when
