"""``mailhaul show``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_DAMAGED, EXIT_OK
from ..backup_set import opened
from ..browsing.levels import StoredMailbox
from . import output
from .options import PATH, archives_option, at_option, identity_options, refuse, staging_option
from .program import Invocation
from .sources import chosen_backup, unlock_with


@click.command("show")
@click.argument("path", type=PATH)
@at_option
@archives_option
@staging_option
@identity_options
@click.pass_obj
def command(
    invocation: Invocation,
    path: LogicalPath,
    at: str | None,
    files: tuple[str, ...],
    staging: Path | None,
    identities: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
) -> int:
    """Print the message at PATH on the standard output, byte for byte as it was stored.

    \b
    Example: message 17 of a mailbox's INBOX
      mailhaul show /primary/user/jane@example.org/INBOX/17 > message.eml
    """
    refuse(path.folder is None, f"{path} is no message: `mailhaul ls {path}` lists what it holds")
    unlock = unlock_with(identities, passphrase_files, files)
    with chosen_backup(invocation, [path], at=at, files=files, staging=staging, unlock=unlock) as backup:
        output.list_skipped(backup.damaged, "damaged")
        with opened(backup) as archives:
            for chunk in StoredMailbox(archives, backup, path).content():
                sys.stdout.buffer.write(chunk)
        return EXIT_DAMAGED if backup.damaged else EXIT_OK
