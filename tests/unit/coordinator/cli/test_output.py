"""Values as text, tables and documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import click
import pytest

from mailhaul.coordinator.cli import output
from mailhaul.coordinator.cli.output import Column
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import Skipped
from mailhaul.proto.structs import Record


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (-1, "?"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (3_140_000, "3.1 MB"),
        (2 * 10**12, "2.0 TB"),
        (5 * 10**18, "5,000.0 PB"),
    ],
)
def test_size(count: int, text: str) -> None:
    assert output.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.04, "0.0 s"),
        (2.0, "2 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1:00"),
        (3723, "1:02:03"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


def test_moment_is_utc_and_reads_back() -> None:
    when = datetime(2026, 11, 21, 4, 15, tzinfo=timezone(timedelta(hours=1)))
    assert output.moment(when) == "2026-11-21T03:15:00Z"
    assert datetime.fromisoformat(output.moment(when)) == when
    assert output.moment(None) == "-"


def test_counted() -> None:
    assert output.counted(1, "mailbox", "mailboxes") == "1 mailbox"
    assert output.counted(42_462, "message") == "42,462 messages"


def test_shown_disturbs_no_terminal() -> None:
    assert output.shown("Entwürfe 50% a/b") == "Entwürfe 50% a/b"
    assert output.shown("a\x1b[31m\nb\udcff\ud800") == "a%1B[31m%0Ab%FF%ED%A0%80"


def test_name_is_as_in_a_logical_path() -> None:
    assert output.name("example.org/50%\udcff") == "example.org/50%25%FF"


def test_table_is_as_wide_as_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(
        [Column("messages"), Column("path", "<")], [("7", "/primary/user/" + "x" * 100), ("1,234", "/日本/y")]
    )
    assert capsys.readouterr().out.splitlines() == [
        "messages  path",
        "       7  /primary/user/" + "x" * 100,
        "   1,234  /日本/y",
    ]


def test_table_pads_wide_letters(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table([Column("a", "<"), Column("b", "<")], [("日本", "x"), ("abcd", "x")])
    assert capsys.readouterr().out.splitlines()[1:] == ["日本  x", "abcd  x"]


def test_table_drops_extra_columns_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = [Column("one", "<"), Column("two", "<", extra=True), Column("three", "<", extra=True)]
    rows = [("x" * 10, "y" * 10, "z" * 10)]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for width, kept in (("40", 3), ("33", 2), ("12", 1)):
        monkeypatch.setenv("COLUMNS", width)
        output.print_table(columns, rows)
        assert len(capsys.readouterr().out.splitlines()[-1].split()) == kept


def test_table_cuts_what_shrinks_and_says_more_beneath(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = [Column("n"), Column("what", "<", shrinks=True), Column("more", "<", extra=True)]
    rows = [("1", "a long story that is told", "x" * 10), ("2", "short", "y")]
    beneath = ["why this is so " * 9, ""]
    output.print_table(columns, rows, beneath)
    whole = capsys.readouterr().out.splitlines()
    assert whole[1:3] == ["1  a long story that is told  xxxxxxxxxx", "    " + beneath[0].strip()]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "24")
    output.print_table(columns, rows, beneath)
    assert click.unstyle(capsys.readouterr().out).splitlines() == [
        "n  what",
        "1  a long story that is…",
        "    why this is so why",
        "    this is so why this…",
        "2  short",
    ]


def test_streamed_table_prints_rows_as_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    def rows() -> Iterator[tuple[str, str]]:
        yield "1", "a"
        assert capsys.readouterr().out == " n  what\n 1  a\n"
        yield "1000", "b"

    output.stream_table([(Column("n"), 2), (Column("what", "<"), 4)], rows())
    assert capsys.readouterr().out == "1000  b\n"


def test_streamed_table_of_nothing_has_titles(capsys: pytest.CaptureFixture[str]) -> None:
    output.stream_table([(Column("n"), 2)], [])
    assert capsys.readouterr().out == " n\n"


def test_streamed_table_prints_nothing_before_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    def rows() -> Iterator[tuple[str]]:
        yield (str(1 // 0),)

    with pytest.raises(ZeroDivisionError):
        output.stream_table([(Column("n"), 2)], rows())
    assert capsys.readouterr().out == ""


class Thing(Record):
    name: str
    when: datetime | None
    id: bytes
    parts: tuple[object, ...]


def test_records_become_json(capsys: pytest.CaptureFixture[str]) -> None:
    when = datetime(2026, 11, 21, tzinfo=UTC)
    output.print_json({"thing": Thing("ü\udcff", when, b"\x01\xff", (Path("/x"), 1.5, None, True))})
    text = capsys.readouterr().out
    text.encode()
    assert json.loads(text) == {
        "thing": {
            "name": "ü%FF",
            "when": "2026-11-21T00:00:00Z",
            "id": "01ff",
            "parts": ["/x", 1.5, None, True],
        }
    }


@pytest.mark.parametrize("items", [[], [1], [{"a": "b"}, {"c": [1, 2]}]])
def test_streamed_document(items: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    output.stream_json({"path": "/x", "folders": []}, "messages", iter(items))
    assert json.loads(capsys.readouterr().out) == {"path": "/x", "folders": [], "messages": items}


def test_streamed_document_tells_of_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise DamagedError("gone")

    with pytest.raises(DamagedError):
        output.stream_json({"path": "/x"}, "messages", items())
    assert json.loads(capsys.readouterr().out) == {
        "path": "/x",
        "messages": [1],
        "error": {"code": "damaged", "message": "gone"},
    }


def test_the_first_skipped_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    output.list_skipped([Skipped(f"/p/{i}\n", "permission", "no\x1b") for i in range(23)])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "mailhaul: skipped: /p/0%0A (permission): no%1B"
    assert lines[20:] == ["mailhaul: skipped: and 3 more (--json lists all)"]


def test_texts_that_are_too_long_are_cut() -> None:
    assert output.cut("short", 5) == "short"
    assert output.cut("longer", 5) == "long…"
    assert output.cut("漢字漢字", 5) == "漢字…"
    assert output.cut("a\x1bb", 9) == "a%1Bb"
