"""``mailhaul keys recipient make``."""

from __future__ import annotations

from pathlib import Path

import click

from ...proto.errors import EXIT_OK, UsageError
from ...proto.keys.making import make_recipient, secret_paths
from ...proto.keys.recipients import KIND_NAMES, PUBLIC, fingerprint
from ...proto.keys.records import Kem, Recipient
from . import output
from .identities import new_passphrase
from .identities import passphrases as passphrases_of
from .options import directory_option, json_option, refuse
from .output import counted, note, say

_KINDS = ("hybrid", "x25519")


@click.command("make")
@click.argument("name")
@directory_option
@click.option(
    "--kind",
    type=click.Choice(_KINDS),
    default="hybrid",
    help="hybrid (default): X25519 and ML-KEM-768 together, so that what is on a tape stays closed to "
    "quantum computers; x25519: shorter on paper.",
)
@click.option(
    "--passphrase-file",
    "passphrase_files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Its first line; or one file for each share.",
)
@click.option("--no-passphrase", is_flag=True, help="Whoever has the file can open everything.")
@click.option("--shares", type=click.IntRange(2, 255), metavar="N", help="Make N shares of the private key.")
@click.option(
    "--threshold", type=click.IntRange(2, 255), metavar="K", help="So many of the shares are needed."
)
@json_option
def command(
    name: str,
    directory: Path,
    kind: str,
    passphrase_files: tuple[Path, ...],
    no_passphrase: bool,
    shares: int | None,
    threshold: int | None,
    as_json: bool,
) -> int:
    """Make NAME.pub and NAME.secret. Nothing is overwritten.

    A passphrase is asked for twice. With --shares there is no NAME.secret, but NAME.share1.secret and so on,
    each with a passphrase of its own where somebody is asked, or where there is a --passphrase-file for each.

    \b
    Example: a recipient whose key three people share, any two of whom can open archives
      mailhaul keys recipient make board --dir /media/stick --shares 3 --threshold 2
    """
    refuse(bool(passphrase_files) and no_passphrase, "--passphrase-file and --no-passphrase")
    refuse((shares is None) != (threshold is None), "--shares and --threshold stand together")
    refuse((threshold or 0) > (shares or 0), "--threshold: more shares are needed than there are")
    place = directory.absolute()
    files = secret_paths(place, name, shares or 0)
    for file in (place / f"{name}{PUBLIC}", *files):
        refuse(
            file.exists(), f"{file} is there already, and is not overwritten: choose another NAME or --dir"
        )
    if no_passphrase:
        passphrases: list[str | None] = [None] * len(files)
    elif passphrase_files:
        of = passphrases_of(files, passphrase_files)
        passphrases = [of(file) for file in files]
    else:
        passphrases = [new_passphrase(file.name) for file in files]
    made = made_recipient(place, name, kind, passphrases, threshold or 0)
    if as_json:
        output.print_json(document(made, place, shares or 0))
    else:
        report_made(made, place, threshold or 0, shares or 0)
    return EXIT_OK


def made_recipient(
    place: Path, name: str, kind: str, passphrases: list[str | None], threshold: int = 0
) -> Recipient:
    """A new recipient, in files. Raises AccessError, UsageError."""
    kem = next(kem for kem, named in KIND_NAMES.items() if named == kind and kem is not Kem.AGE)
    try:
        return make_recipient(place, name, kem, passphrases, threshold)
    except ValueError as error:
        raise UsageError(str(error)) from error


def document(made: Recipient, place: Path, shares: int) -> dict[str, object]:
    """As JSON."""
    return {
        "recipient": {"name": made.name, "kind": KIND_NAMES[made.kem], "fingerprint": fingerprint(made.id)},
        "public": place / f"{made.name}{PUBLIC}",
        "secret": secret_paths(place, made.name, shares),
    }


def report_made(made: Recipient, place: Path, threshold: int = 0, shares: int = 0) -> None:
    """What was made, what to do with it, and what losing it means."""
    files = secret_paths(place, made.name, shares)
    say(f"made {place / made.name}{PUBLIC}: {fingerprint(made.id)}")
    say(f"made {', '.join(str(file) for file in files)}")
    if threshold:
        say(f"any {threshold} of {counted(shares, 'share')} open archives, fewer say nothing about the key")
    note(
        "without the private key nobody can read what is encrypted for it, ever: print it now, keep it in "
        "another place, and take it away from this host"
    )
    for file in files:
        say(f"  mailhaul keys recipient paper {file}")
    say(f'then, in mailhaul.toml below [encryption]: recipients = ["{place / made.name}{PUBLIC}"]')
