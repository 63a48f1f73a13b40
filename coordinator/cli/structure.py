"""``mailhaul keys structure``."""

from __future__ import annotations

from pathlib import Path

import click

from ...proto.errors import EXIT_FAILED, EXIT_OK, UsageError
from ..fetching import fetch_structure_key
from ..lock import RunLock
from ..recovered_keys import RecoveredKeys, recover
from ..structure_keys import area_at
from . import output
from .configuration import configured
from .identities import opened_identity
from .options import identity_options, json_option
from .output import note, say
from .program import Invocation


@click.group("structure")
def command() -> None:
    """The structure key of a staging area: it opens names, flags and sizes in all of its archives, no mail.

    It lies in the directory of keys of the staging host, and in each archive, wrapped for the recipients.
    """


@command.command("recover")
@click.option(
    "--from", "destination", metavar="NAME", help="Read archives at this destination, not the staging area."
)
@identity_options
@json_option
@click.pass_obj
def recover_key(
    invocation: Invocation,
    destination: str | None,
    identities: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Take the structure key out of archives, with a private key, and put it into the directory of keys. What
    is there stays.

    Without it backups stop: nothing could be compared. `mailhaul catalog rebuild` does the same, and more, if
    the staging area is lost, too.

    \b
    Example: the staging host was set up anew, the archives are there
      mailhaul keys structure recover --identity /dev/shm/typed
    """
    from ..unlocking import unlocking

    config = configured(invocation)
    staging, directory = config.staging.path, config.staging.keys
    unlock = unlocking(opened_identity(identities, passphrase_files))
    keys = RecoveredKeys(unlock, area_at(staging).keys)
    if destination is not None:
        places = {place.name: place for place in config.destinations}
        if destination not in places:
            raise UsageError(
                f"there is no destination {destination!r} in the configuration", place=destination
            )
        staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        fetch_structure_key(staging, places[destination], keys)
    with RunLock(staging):
        found = recover(staging, directory, keys)
    known = area_at(staging).keys.structures
    if as_json:
        output.print_json({"recovered": [key.id for key in found], "directory": directory})
    else:
        for key in found:
            say(f"structure key {key.id.hex()} is in {directory} now")
    if not found and known:
        note(f"nothing was missing: {', '.join(id_.hex() for id_ in known)} is in {directory}")
    if not found and not known:
        note("nothing was recovered: no encrypted archive that was looked at opens with this private key")
    return EXIT_OK if known else EXIT_FAILED
