"""``mailhaul restore --first``: says who comes first in the restore that goes on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import cast

import click

from ...proto.errors import EXIT_OK
from ..restores.ahead import are_going, going_newest_first, tell
from ..restores.log_lines import user_in
from .configuration import chosen_site
from .options import given, refuse
from .program import Invocation

_BESIDE_FIRST = frozenset({"first", "staging", "as_json"})
_LONGEST_LINE = 65536


def name_first(context: click.Context, staging: Path | None, named: str) -> int:
    """Tell a user; or whom the lines of the standard input tell of, until it ends or the restore does.
    Returns the exit status."""
    refuse(not given(context) <= _BESIDE_FIRST, "--first goes with --staging only")
    area = chosen_site(cast(Invocation, context.obj), staging).area
    places = going_newest_first(area)
    if named != "-":
        tell(places, named)
        return EXIT_OK
    while (line := sys.stdin.buffer.readline(_LONGEST_LINE)) and (places := are_going(places)):
        if user := user_in(os.fsdecode(line)):
            tell(places, user)
    return EXIT_OK
