"""``mailhaul keys recipient list``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from ...proto.errors import EXIT_FAILED, EXIT_OK, AccessError
from ...proto.keys.recipients import KIND_NAMES, fingerprint, name_of, read_recipient
from ...proto.keys.records import Recipient
from ...proto.structs import Record
from ..clock import utc
from ..key_checks import checked_recipients, read_checks
from ..key_proofs import Seen, addressed, staged_copies
from ..readers import reading
from ..settings import Config
from ..structure_keys import area_at
from . import adapters, output
from .configuration import configured
from .options import json_option
from .output import Column, note, number, say, shown
from .program import Invocation
from .times import both

_COLUMNS = [
    Column("name", "<"),
    Column("kind", "<"),
    Column("fingerprint", "<"),
    Column("opens"),
    Column("in part"),
    Column("last checked", "<"),
]


class _Listed(Record, kw_only=True):
    """A recipient: when its private key was last seen to open what is written, and how many archives it
    opens. ``file`` is None where it is not configured: it was, or was added to archives afterwards.
    ``readable``: whether the file can be read; else it is known by its name only."""

    name: str
    kind: str
    fingerprint: str
    file: Path | None
    readable: bool
    checked: datetime | None
    overdue: bool
    opens: int
    opens_in_part: int


@click.command("list")
@json_option
@click.pass_obj
def command(invocation: Invocation, as_json: bool) -> int:
    """List for whom archives are encrypted: the configured recipients, and those of earlier archives; how
    many of the archives known in the staging area each opens; and when its private key was last checked.

    \b
    Example: whose keys were not tried for long?
      mailhaul keys recipient list
    """
    config = configured(invocation)
    configured_here, problems = _configured(config)
    staging = config.staging.path
    with reading(staging):
        encrypted, seen = addressed(staged_copies(staging), (area_at(staging),))
    listed = _listed(config, configured_here, seen)
    for problem in problems:
        note(problem)
    if as_json:
        output.print_json({"recipients": listed, "encrypted_archives": encrypted, "problems": problems})
    elif listed:
        output.print_table(_COLUMNS, map(_row, listed))
        say(f"encrypted archives known here: {number(encrypted)}")
    if not as_json and not configured_here and not problems:
        say("no recipients are configured: archives are not encrypted")
    return EXIT_FAILED if problems else EXIT_OK


def _configured(config: Config) -> tuple[list[tuple[Path, Recipient]], list[str]]:
    found, problems = [], []
    for file in config.encryption.recipients:
        try:
            found.append((file, read_recipient(file)))
        except AccessError as error:
            problems.append(error.message)
    return found, problems


def _listed(
    config: Config, found: Sequence[tuple[Path, Recipient]], seen: dict[bytes, Seen]
) -> list[_Listed]:
    checks = read_checks(config.staging.keys, config.staging.path)
    stand = checked_recipients(
        (recipient for _, recipient in found),
        checks,
        utc(adapters.clock().now()),
        config.encryption.check_every_seconds,
    )
    listed = [
        _Listed(
            name=recipient.name,
            kind=KIND_NAMES[recipient.kem],
            fingerprint=checked.fingerprint,
            file=file,
            readable=True,
            checked=checked.checked,
            overdue=checked.overdue,
            opens=seen[recipient.id].whole if recipient.id in seen else 0,
            opens_in_part=seen[recipient.id].in_part if recipient.id in seen else 0,
        )
        for (file, recipient), checked in zip(found, stand, strict=True)
    ]
    here = {recipient.id for _, recipient in found}
    readable = {file for file, _ in found}
    unreadable = {name_of(file): file for file in config.encryption.recipients if file not in readable}
    for id_, earlier in sorted(seen.items(), key=lambda item: item[1].name):
        if id_ not in here:
            listed.append(
                _Listed(
                    name=earlier.name,
                    kind=KIND_NAMES[earlier.kem],
                    fingerprint=fingerprint(id_),
                    file=unreadable.get(earlier.name),
                    readable=False,
                    checked=checks[id_].at if id_ in checks else None,
                    overdue=False,
                    opens=earlier.whole,
                    opens_in_part=earlier.in_part,
                )
            )
    return listed


def _row(one: _Listed) -> Sequence[str]:
    checked = both(one.checked) if one.checked else "never"
    remark = "" if one.readable else ", its file can't be read"
    if one.overdue:
        remark = ", overdue"
    elif one.file is None:
        remark = ", not configured"
    return (
        shown(one.name),
        one.kind,
        one.fingerprint,
        number(one.opens),
        number(one.opens_in_part),
        checked + remark,
    )
