"""``mailhaul init``."""

from __future__ import annotations

from pathlib import Path

import click

from ...proto.errors import EXIT_OK, BackupError, UsageError
from ..config import CONFIG_TEMPLATE, GROUPS_TEMPLATE
from . import output
from .options import json_option
from .output import say

_FILES = {"mailhaul.toml": CONFIG_TEMPLATE, "backup-groups.conf": GROUPS_TEMPLATE}


@click.command("init")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Write the files there. Default: the current directory.",
)
@json_option
def command(directory: Path, as_json: bool) -> int:
    """Write a commented mailhaul.toml and backup-groups.conf, to be edited. Nothing is overwritten.

    \b
    Example: begin a configuration for this host
      mailhaul init --dir /etc/mailhaul
    """
    files = {directory.absolute() / name: text for name, text in _FILES.items()}
    for file in files:
        if file.exists():
            raise UsageError(f"{file} is there already, and is not overwritten: remove it, or choose --dir")
    for file, text in files.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise BackupError(f"can't write {file}: {error.strerror}", path=str(file)) from error
    if as_json:
        output.print_json({"written": list(files)})
    else:
        for file in files:
            say(f"wrote {file}")
        say("edit them, then look with `mailhaul groups` at what they make of your users")
    return EXIT_OK
