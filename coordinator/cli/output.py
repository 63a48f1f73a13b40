"""What people and programs read: sizes, times, names as text; tables; JSON documents.

Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Literal

import click

from ...groups.paths import printable
from ...proto.errors import BackupError
from ...proto.plain_text import escaped
from ...proto.plain_text import shown as shown
from ...proto.records import Skipped
from ...proto.structs import Mutable, Record, field_names

_LISTED = 20
"""So many skipped entries are listed for people; JSON has all."""


# Values as text


def size(count: int) -> str:
    """``3.1 MB``: powers of 1000, as in rates."""
    if count < 0:
        return "?"
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:,.1f} PB"


def number(count: int) -> str:
    """``42,462``; a negative one is not known."""
    return "?" if count < 0 else f"{count:,}"


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3:07``, ``1:02:03``; whole seconds stay whole."""
    if seconds < 9.95 and seconds != int(seconds):
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(when: datetime | None) -> str:
    """A time in UTC, to the second, in a form that ``--at`` reads."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if when else "-"


def counted(count: int, one: str, many: str = "") -> str:
    """``1 message``, ``2 messages``."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def name(text: str) -> str:
    """A user, folder or group as in a logical path, but for its slashes."""
    return printable(text.encode("utf-8", "surrogateescape"))


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
    """A column of a table. One with ``extra`` is left out where the table gets wider than the terminal."""

    title: str
    align: Literal["<", ">"] = ">"
    extra: bool = False


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Rows below their titles, as wide as they need; on a terminal the last ``extra`` columns go first."""
    cells = [[column.title for column in columns], *map(list, rows)]
    widths = [max(_columns(row[i]) for row in cells) for i in range(len(columns))]
    kept = list(range(len(columns)))
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for i in reversed(range(len(columns))):
        if columns[i].extra and sum(widths[k] + 2 for k in kept) - 2 > room:
            kept.remove(i)
    for place, row in enumerate(cells):
        line = "  ".join(_padded(row[i], widths[i], columns[i].align) for i in kept).rstrip()
        click.secho(line, bold=True, err=_aside) if place == 0 else say(line)


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


def plain(value: object) -> object:
    """A record, or anything made of records, as JSON can hold it."""
    if type(value) is str:  # nearly all of what there is, and by far the cheapest to tell
        return _without_surrogates(value)
    if isinstance(value, int | float) or value is None:
        return value
    if isinstance(value, Record | Mutable):
        return {name: plain(getattr(value, name)) for name in field_names(value)}
    match value:
        case datetime():
            return moment(value)
        case bytes():
            return value.hex()
        case Path() | str():
            return _without_surrogates(str(value))
        case Mapping():
            return {_without_surrogates(str(key)): plain(one) for key, one in value.items()}
        case Iterable():
            return [plain(one) for one in value]
    return _without_surrogates(str(value))


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


def _without_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(escaped(char) if "\ud800" <= char <= "\udfff" else char for char in text)
    return text


# On stderr


def note(line: str) -> None:
    """A line beside the result."""
    click.echo(f"mailhaul: {shown(line)}", err=True)


def list_skipped(skipped: Sequence[Skipped], what: str = "skipped") -> None:
    """The first entries, and how many more there are."""
    for one in skipped[:_LISTED]:
        detail = f": {one.detail}" if one.detail and one.detail != one.reason else ""
        note(f"{what}: {one.path} ({one.reason}){detail}")
    if len(skipped) > _LISTED:
        note(f"{what}: and {number(len(skipped) - _LISTED)} more (--json lists all)")
