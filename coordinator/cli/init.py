"""``mailhaul init``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from ...proto.errors import EXIT_OK, BackupError, UsageError
from ..config import CONFIG_TEMPLATE, GROUPS_TEMPLATE
from . import output
from .options import directory_option, json_option, refuse
from .output import note, say

_GROUPS = "backup-groups.conf"
_CONFIG = "mailhaul.toml"
_EXAMPLE = '# recipients = ["/etc/mailhaul/ops.pub", "/etc/mailhaul/safe.pub"]\n# required = true\n'

_QUESTION = """\
Archives can be encrypted for recipients. Whoever has one of their private keys can read all mail in them, and
nobody else can: no storage, no tape, and not this host either.
WHOEVER LOSES ALL PRIVATE KEYS HAS LOST ALL BACKUPS: nobody has another way in. So have two recipients at
least, in different hands, and each key on paper, too (docs/keys.md).
"""


@click.command("init")
@directory_option
@click.option(
    "--recipient",
    "recipients",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="Encrypt archives for this recipient, a NAME.pub (repeatable).",
)
@click.option("--in-clear", is_flag=True, help="Don't ask for recipients: archives are not to be encrypted.")
@json_option
def command(directory: Path, recipients: tuple[Path, ...], in_clear: bool, as_json: bool) -> int:
    """Write a commented mailhaul.toml and backup-groups.conf, to be edited. Nothing is overwritten.

    Who is at a terminal is asked for whom archives are to be encrypted. `mailhaul keys recipient make` makes
    recipients.

    \b
    Example: begin a configuration for this host
      mailhaul init --dir /etc/mailhaul
    Example: the same from a script, encrypted for two recipients
      mailhaul init --dir /etc/mailhaul --recipient ops.pub --recipient safe.pub
    """
    refuse(bool(recipients) and in_clear, "--recipient and --in-clear say the opposite: leave one out")
    place = directory.absolute()
    for name in (_CONFIG, _GROUPS):
        if (place / name).exists():
            raise UsageError(
                f"{place / name} is there already, and is not overwritten: remove it, or choose --dir"
            )
    chosen = [file.absolute() for file in recipients]
    _check(chosen)
    if not (chosen or in_clear or as_json) and sys.stdin.isatty():
        chosen = _asked()
    files = {place / _CONFIG: _configuration(chosen), place / _GROUPS: GROUPS_TEMPLATE}
    for file, text in files.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise BackupError(f"can't write {file}: {error.strerror}", path=str(file)) from error
    if as_json:
        output.print_json({"written": list(files), "recipients": chosen})
    else:
        for file in files:
            say(f"wrote {file}")
        say("edit them, then look with `mailhaul groups` at what they make of your users")
    _remind(chosen)
    return EXIT_OK


def _configuration(recipients: Sequence[Path]) -> str:
    """With recipients a run without any is refused: that one is forgotten is not to go unnoticed."""
    if not recipients:
        return CONFIG_TEMPLATE
    listed = json.dumps([str(file) for file in recipients], ensure_ascii=False)
    return CONFIG_TEMPLATE.replace(_EXAMPLE, f"recipients = {listed}\nrequired = true\n")


def _check(files: Iterable[Path]) -> None:
    """Raise AccessError unless each is the public key of a recipient."""
    from ...proto.keys.recipients import read_recipient  # only for who has some

    for file in files:
        read_recipient(file)


def _asked() -> list[Path]:
    """The public keys that somebody types, one after the other; what is none is asked for again."""
    click.echo(_QUESTION, err=True)
    found: list[Path] = []
    while True:
        typed: str = click.prompt(
            "Public key of a recipient, a file NAME.pub (empty: no more)",
            default="",
            show_default=False,
            err=True,
        )
        if not typed.strip():
            return found
        file = Path(typed.strip()).expanduser().absolute()
        try:
            _check([file])
        except BackupError as error:
            note(error.message)
            continue
        if file not in found:
            found.append(file)


def _remind(recipients: Sequence[Path]) -> None:
    if not recipients:
        note(
            "archives will not be encrypted: whoever has one can read the mail in it; `mailhaul keys "
            "recipient "
            "make NAME` makes a recipient, [encryption] in mailhaul.toml names it"
        )
        return
    if len(recipients) == 1:
        note(
            "there is one recipient: if its private key is lost, all backups are; make another one, in "
            "other hands"
        )
    note(
        "print each private key now (`mailhaul keys recipient paper`), take it away from this host, and "
        "after "
        "the first backup see that it opens what is written (`mailhaul keys recipient check`)"
    )
