"""``mailhaul man``."""

from __future__ import annotations

from pathlib import Path

import click

from ...proto.errors import EXIT_OK
from .manpages import manual_pages
from .output import counted, say
from .program import program


@click.command("man")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def command(directory: Path) -> int:
    """Write the manual pages into DIR, which is made if need be: one for the program, one for each command.

    \b
    Example: for everybody on this host
      mailhaul man /usr/local/share/man/man1
    """
    directory.mkdir(parents=True, exist_ok=True)
    pages = dict(manual_pages(program, "mailhaul"))
    for name, text in pages.items():
        (directory / name).write_text(text)
    say(f"{counted(len(pages), 'page')} in {directory}")
    return EXIT_OK
