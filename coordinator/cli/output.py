"""What people and programs read on a terminal: tables, lines, JSON documents.

Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, zip_longest
from typing import Literal

import click

from ...proto.errors import BackupError
from ...proto.plain_text import shown
from ...proto.records import Skipped
from ...proto.structs import Record
from ..documents import plain
from ..texts import counted, duration, milliseconds, moment, name, number, size

__all__ = [
    "Column",
    "counted",
    "cut",
    "duration",
    "milliseconds",
    "list_skipped",
    "moment",
    "name",
    "note",
    "number",
    "plain",
    "print_json",
    "print_table",
    "results_aside",
    "say",
    "shown",
    "size",
    "stream_json",
    "stream_table",
]

_LISTED = 20
"""So many skipped entries are listed for people; JSON has all."""

_NARROWEST = 12
"""No column gets narrower than this, whatever the terminal."""

_INDENT = "    "


def cut(text: str, width: int) -> str:
    """Any text in so many columns of one line of a terminal."""
    line = shown(text)
    if _columns(line) <= width:
        return line
    kept = line[: width - 1]
    while _columns(kept) >= width:
        kept = kept[:-1]
    return kept + "…"


def _columns(text: str) -> int:
    """How many columns of a terminal it takes."""
    if text.isascii() and text.isprintable():
        return len(text)
    from rich.cells import cell_len  # with the widths of all characters: most texts do without

    return cell_len(text)


# On stdout


_aside = False


@contextmanager
def results_aside() -> Iterator[None]:
    """Within, results go to stderr: stdout carries something else."""
    global _aside
    before, _aside = _aside, True
    try:
        yield
    finally:
        _aside = before


def say(line: str = "") -> None:
    """A line of the result."""
    click.echo(line, err=_aside)


class Column(Record):
    """A column of a table. One with ``extra`` is left out where the table gets wider than the terminal; what
    stands in one that ``shrinks`` is cut where it does not fit all the same."""

    title: str
    align: Literal["<", ">"] = ">"
    extra: bool = False
    shrinks: bool = False


def print_table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], beneath: Sequence[str] = ()
) -> None:
    """Rows below their titles, as wide as they need; on a terminal the last ``extra`` columns go first.
    ``beneath`` is what stands below each row, in two lines at most (empty: nothing)."""
    cells = [[column.title for column in columns], *map(list, rows)]
    widths = [max(_columns(row[i]) for row in cells) for i in range(len(columns))]
    kept = list(range(len(columns)))
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for i in reversed(range(len(columns))):
        if columns[i].extra and sum(widths[k] + 2 for k in kept) - 2 > room:
            kept.remove(i)
    for i in kept:
        if columns[i].shrinks and (excess := sum(widths[k] + 2 for k in kept) - 2 - room) > 0:
            widths[i] = max(_NARROWEST, widths[i] - excess)
    for place, (row, below) in enumerate(zip_longest(cells, ("", *beneath), fillvalue="")):
        line = "  ".join(_padded(cut(row[i], widths[i]), widths[i], columns[i].align) for i in kept).rstrip()
        click.secho(line, bold=True, err=_aside) if place == 0 else say(line)
        for told in _wrapped(below, room):
            say(told)


def _wrapped(text: str, room: int) -> list[str]:
    """A text in lines of a terminal, which are indented."""
    return textwrap.wrap(
        shown(text),
        width=max(room, 2 * _NARROWEST),
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        max_lines=2,
        placeholder="…",
    )


def stream_table(columns: Sequence[tuple[Column, int]], rows: Iterable[Sequence[str]]) -> None:
    """As ``print_table``, with widths that are given, so that each row is printed as it comes; nothing is if
    there is an error before the first one."""
    titles, left = [column.title for column, _ in columns], iter(rows)
    first = [row for row in (next(left, None),) if row is not None]
    for place, row in enumerate(chain([titles], first, left)):
        line = "  ".join(
            _padded(cell, width, column.align) for cell, (column, width) in zip(row, columns, strict=True)
        ).rstrip()
        click.secho(line, bold=True) if place == 0 else click.echo(line)


def _padded(text: str, width: int, align: str) -> str:
    padding = " " * (width - _columns(text))
    return padding + text if align == ">" else text + padding


# JSON


def print_json(document: object) -> None:
    """The one document of a command, on stdout."""
    click.echo(json.dumps(plain(document), ensure_ascii=False, indent=2))


def stream_json(head: Mapping[str, object], key: str, items: Iterable[object]) -> None:
    """A document with ``items`` as its last member, each printed as it comes.

    An error on the way becomes the member ``error`` of the document, and is raised.
    """
    opening = json.dumps(plain(head), ensure_ascii=False, indent=2)[: -len("\n}")]
    click.echo(f"{opening},\n  {json.dumps(key)}: [", nl=False)
    separator = ""
    encode = json.JSONEncoder(ensure_ascii=False).encode
    try:
        for item in items:
            click.echo(f"{separator}\n    {encode(plain(item))}", nl=False)
            separator = ","
    except BackupError as error:
        told = json.dumps(plain({"code": error.code, "message": error.message}), ensure_ascii=False)
        click.echo(f'\n  ],\n  "error": {told}\n}}')
        raise
    click.echo("\n  ]\n}")


# On stderr


def note(line: str) -> None:
    """A line beside the result."""
    click.echo(f"mailhaul: {shown(line)}", err=True)


def list_skipped(skipped: Sequence[Skipped], what: str = "skipped") -> None:
    """The first entries, and how many more there are."""
    for skip in skipped[:_LISTED]:
        detail = f": {skip.detail}" if skip.detail and skip.detail != skip.reason else ""
        note(f"{what}: {skip.path} ({skip.reason}){detail}")
    if len(skipped) > _LISTED:
        note(f"{what}: and {number(len(skipped) - _LISTED)} more (--json lists all)")
