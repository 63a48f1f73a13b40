"""``mailhaul keys recipient retire``."""

from __future__ import annotations

from pathlib import Path

import click

from ...proto.errors import EXIT_OK
from ...proto.keys.recipients import fingerprint, read_recipient
from ..key_checks import recipients_in
from ..key_proofs import Seen, addressed, staged_copies
from ..readers import reading
from ..structure_keys import area_at
from . import output
from .configuration import configured
from .options import json_option
from .output import counted, note, say, shown
from .program import Invocation


@click.command("retire")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@json_option
@click.pass_obj
def command(invocation: Invocation, file: Path, as_json: bool) -> int:
    """Say what takes the recipient in FILE, a NAME.pub, out of what is written from now on, and what of the
    past its private key still opens. Nothing is changed: the configuration is yours.

    \b
    Example: somebody leaves
      mailhaul keys recipient retire /etc/mailhaul/ops.pub
    """
    config = configured(invocation)
    retired = read_recipient(file)
    recipients = recipients_in(config.encryption.recipients)
    entries = [
        path
        for path, recipient in zip(config.encryption.recipients, recipients, strict=True)
        if recipient.id == retired.id
    ]
    others = [recipient.name for recipient in recipients if recipient.id != retired.id]
    staging = config.staging.path
    with reading(staging):
        encrypted, seen = addressed(staged_copies(staging), (area_at(staging),))
    opens = seen.get(retired.id) or Seen(name=retired.name, kem=retired.kem)
    if as_json:
        output.print_json(
            {
                "name": retired.name,
                "fingerprint": fingerprint(retired.id),
                "configured_as": entries,
                "other_recipients": others,
                "encrypted_archives": encrypted,
                "opens": opens.whole,
                "opens_in_part": opens.in_part,
            }
        )
        return EXIT_OK
    if entries:
        say(f"in mailhaul.toml, [encryption] recipients, leave out: {', '.join(map(str, entries))}")
        say("archives of the next run are not wrapped for it any more")
        if not others:
            note("it is the only recipient: without another one nothing is encrypted any more")
    else:
        say("it is not among the configured recipients: archives of the next run are not wrapped for it")
    partly = f", and {opens.in_part:,} more in part" if opens.in_part else ""
    say(
        shown(
            f"its private key still opens {opens.whole:,} of {counted(encrypted, 'encrypted archive')} known "
            f"here{partly}, and every copy of them"
        )
    )
    note(
        "who has the private key, or ever had, can go on opening these, and all that later archives refer to "
        "in them: only purging them, with all their copies, ends that. Keep the key as long as it is the "
        "only "
        "key to any of them"
    )
    return EXIT_OK
