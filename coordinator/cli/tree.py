"""``mailhaul tree``."""

from __future__ import annotations

from pathlib import Path

import click

from ...proto.errors import EXIT_FAILED, EXIT_OK, EXIT_SKIPPED
from ..tree import SHORTEST_NAME, grow_tree
from . import output
from .configuration import configured
from .means import inventory_engine
from .options import json_option
from .output import counted, note, say
from .program import Invocation


@click.command("tree")
@click.argument("place", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--max-name",
    type=click.IntRange(SHORTEST_NAME, 255),
    default=255,
    show_default=True,
    metavar="N",
    help="No name in the tree is longer; a longer one is cut, and ends with a digest.",
)
@json_option
@click.pass_obj
def command(invocation: Invocation, place: Path, max_name: int, as_json: bool) -> int:
    """Make a tree of empty directories PARTITION/GROUP/USER in DIR, for programs that back up by directories:
    each leaf stands for a mailbox that such a program asks for by `mailhaul backup -f -`.

    DIR/tree.map has a line for each leaf: the leaf, a tab, its logical path. Called again, it adds who is new
    and removes who is gone, and nothing that it has not made. Who is excluded, or in a group that is off, has
    no leaf.

    \b
    Example: a tree for a program that takes names of at most 64 characters
      mailhaul tree /var/lib/mailhaul/tree --max-name 64
    """
    config = configured(invocation)
    tree = grow_tree(place, config, inventory_engine(config), max_name)
    for failure in tree.failures:
        note(f"failed: {failure.what}: {failure.error.message}")
    for leaf in tree.kept:
        note(f"{place / leaf} is not removed: there is something in it")
    if as_json:
        output.print_json(
            {"leaves": tree.leaves, "added": tree.added, "removed": tree.removed, "kept": tree.kept}
        )
    else:
        say(
            f"{counted(len(tree.leaves), 'leaf', 'leaves')} below {place}: {tree.added} added, "
            f"{tree.removed} removed"
        )
    if tree.failures:
        return EXIT_FAILED
    return EXIT_SKIPPED if tree.kept else EXIT_OK
