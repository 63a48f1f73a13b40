"""``mailhaul keys recipient check``."""

from __future__ import annotations

from pathlib import Path

import click

from ...proto.errors import EXIT_DAMAGED, EXIT_FAILED, EXIT_OK, DamagedError, UsageError
from ..clock import utc
from ..key_checks import note_checks, recipients_in
from ..key_proofs import Proof, chosen, copies_at, prove, staged_copies
from ..readers import reading
from ..settings import Config
from ..structure_keys import area_at
from . import adapters, output
from .configuration import configured
from .identities import opened_identity
from .options import identity_options, json_option
from .output import counted, note, say, shown
from .program import Invocation


@click.command("check")
@identity_options
@click.option("--from", "destination", metavar="NAME", help="Read copies at this destination instead.")
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    identities: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    destination: str | None,
    as_json: bool,
) -> int:
    """Prove that a private key opens what is written: a canary for the configured public key, and of the
    newest archives, and some others each time, the keys, the directory, and mail. When that was is on record,
    and a run warns when it was long ago ([encryption] check_every).

    \b
    Example: every three months, with the key as it was typed from the paper in the safe
      mailhaul keys recipient check --identity /dev/shm/typed
    """
    config = configured(invocation)
    recipients = recipients_in(config.encryption.recipients)
    if destination is not None and all(place.name != destination for place in config.destinations):
        raise UsageError(f"there is no destination {destination!r} in the configuration", place=destination)
    identity = opened_identity(identities, passphrase_files)
    staging = config.staging.path
    with reading(staging):
        copies = staged_copies(staging) if destination is None else copies_at(staging, destination)
        places = (area_at(staging), *config.destinations)
        proof = prove(identity, recipients, chosen(copies), places, utc(adapters.clock().now()))
    _record(config, proof)
    if as_json:
        output.print_json(
            {
                "proven": proof.checks,
                "failed": proof.failures,
                "encrypted_archives": proof.encrypted,
                "opened": proof.opened,
            }
        )
    _report(proof, as_json=as_json)
    if any(failure.code == DamagedError.code for failure in proof.failures):
        return EXIT_DAMAGED
    return EXIT_OK if proof.checks and not proof.failures else EXIT_FAILED


def _record(config: Config, proof: Proof) -> None:
    """Only what opened an archive: what opens a canary may not open what is written."""
    if checks := [check for check in proof.checks if check.archive]:
        note_checks(config.staging.keys, config.staging.path, checks)


def _report(proof: Proof, *, as_json: bool) -> None:
    for failure in proof.failures:
        who = f"{failure.recipient}: " if failure.recipient else ""
        note(shown(f"{who}{failure.archive or 'a canary'}: {failure.message}"))
    for check in () if as_json else proof.checks:
        opened = proof.opened[check.name]
        if not check.archive:
            say(shown(f"{check.name}: opens a canary; no archive is wrapped for it yet"))
            continue
        say(
            shown(
                f"{check.name}: opens {opened.whole:,} of {counted(proof.encrypted, 'encrypted archive')} "
                f"tried, the newest: {check.archive}"
            )
        )
        if opened.in_part:
            say(f"  and {opened.in_part:,} in part: some of their keys are wrapped for others only")
    if not proof.checks and not proof.failures:
        note(
            "nothing was proven: this private key is that of no configured recipient, and of "
            f"{counted(proof.encrypted, 'encrypted archive')} that were tried none is wrapped for it"
        )
