"""``mailhaul keys recipient add``."""

from __future__ import annotations

from pathlib import Path

import click

from ...proto.errors import EXIT_DAMAGED, EXIT_FAILED, EXIT_OK, DamagedError
from ..adding_recipients import Added, add_recipients
from ..key_checks import recipients_in
from ..opening import open_beside, opening_of
from ..readers import reading
from ..settings import Config
from ..structure_keys import area_at
from . import output
from .configuration import configured
from .identities import opened_identity
from .options import identity_options, json_option
from .output import counted, note, number, say
from .program import Invocation


@click.command("add")
@click.argument("files", type=click.Path(path_type=Path), metavar="FILE...", nargs=-1, required=True)
@identity_options
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    files: tuple[Path, ...],
    identities: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Let the recipients in FILE, each a NAME.pub, open what is there already: the keys of each archive are
    opened with a private key that can, and wrapped for them, into a small file that lies beside the archives
    (_keys/). The next sweep takes these to the destinations.

    No archive is changed. What was broken off goes on when it is begun again.

    \b
    Example: the safe has a new key; the old one opens everything for it
      mailhaul keys recipient add /etc/mailhaul/safe.pub --identity /media/stick/ops.secret
    """
    config = configured(invocation)
    recipients = recipients_in(files)
    identity = opened_identity(identities, passphrase_files)
    staging = config.staging.path
    with reading(staging):
        added = add_recipients(staging, identity, recipients, (area_at(staging), *config.destinations))
    open_beside(staging, opening_of(config.staging))
    names = [recipient.name for recipient in recipients]
    known = {recipient.id for recipient in recipients_in(config.encryption.recipients)}
    absent = [recipient.name for recipient in recipients if recipient.id not in known]
    output.list_skipped(added.failed, "not done")
    if as_json:
        output.print_json(
            {
                "recipients": names,
                "not_configured": absent,
                "encrypted_archives": added.encrypted,
                "written": added.written,
                "opened_before": added.there,
                "failed": added.failed,
            }
        )
    else:
        _report(config, added, names, absent)
    if DamagedError.code in added.codes:
        return EXIT_DAMAGED
    return EXIT_FAILED if added.failed else EXIT_OK


def _report(config: Config, added: Added, names: list[str], absent: list[str]) -> None:
    who = ", ".join(names)
    opened = added.written + added.there
    say(f"{who}: {number(opened)} of {counted(added.encrypted, 'encrypted archive')} can be opened now")
    if added.written:
        say(f"  {counted(added.written, 'file')} written below {config.staging.path}/_keys")
        if config.destinations:
            say("  `mailhaul sweep` takes them to the destinations")
    if absent:
        note(
            f"{', '.join(absent)}: not in the list of [encryption] recipients: the next archives are not "
            "encrypted for it"
        )
