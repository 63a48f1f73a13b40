"""The manual pages and the shells' completions say what the program does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.cli.manpages import manual_pages
from mailhaul.coordinator.cli.program import COMMANDS, program

PAGES = dict(manual_pages(program, "mailhaul"))


def read(page: str) -> list[str]:
    """The words of a page, as people see them."""
    plain = re.sub(r"^\.\S+ ?", "", page, flags=re.MULTILINE)
    plain = plain.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")
    return re.sub(r"\\f[BR]", "", plain).split()


def words(text: str) -> list[str]:
    """Those of a help text."""
    return text.replace("\b", "").split()


def within(wanted: list[str], text: list[str]) -> bool:
    return any(text[at : at + len(wanted)] == wanted for at in range(len(text) - len(wanted) + 1))


def every_command(command: click.Command, name: str) -> list[tuple[str, click.Command, click.Context]]:
    context = click.Context(command, info_name=name)
    found = [(name, command, context)]
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            loaded = command.get_command(context, child)
            assert loaded
            found += every_command(loaded, f"{name}-{child}")
    return found


COMMANDS_OF_ALL = every_command(program, "mailhaul")


def test_each_command_has_a_page() -> None:
    assert list(PAGES) == [f"{name}.1" for name, _, _ in COMMANDS_OF_ALL]
    assert {f"mailhaul-{name}.1" for name in COMMANDS} < set(PAGES)


@pytest.mark.parametrize(
    ("name", "command", "context"), COMMANDS_OF_ALL, ids=[one[0] for one in COMMANDS_OF_ALL]
)
def test_a_page_says_what_the_help_says(name: str, command: click.Command, context: click.Context) -> None:
    page = read(PAGES[f"{name}.1"])
    assert within(words(command.help or ""), page)
    for parameter in command.get_params(context):
        if (record := parameter.get_help_record(context)) and record[1]:
            assert within(words(record[0] + "\n" + record[1]), page), record
    assert within(words("5 another run holds the lock"), page)


@pytest.mark.parametrize("name", PAGES)
def test_roff_understands_each_page(name: str) -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        [groff, "-man", "-Tutf8", "-ww", "-z"],
        input=PAGES[name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_lines_that_roff_would_take_for_its_own_are_text() -> None:
    @click.command("odd", help="One.\n\n\b\n.dot\n'quote\nback\\slash")
    def odd() -> None:
        pass

    text = dict(manual_pages(click.Group("x", {"odd": odd}), "x"))["x-odd.1"]
    assert "\n\\&.dot\n\\&'quote\nback\\eslash\n" in text


def test_pages_are_written(tmp_path: Path) -> None:
    assert main(["man", str(tmp_path / "man1")]) == 0
    assert {path.name: path.read_text() for path in (tmp_path / "man1").iterdir()} == PAGES


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mailhaul ba", "backup"),
        ("mailhaul catalog re", "rebuild"),
        ("mailhaul ls --hist", "--history"),
        ("mailhaul backup --codec z", "zstd"),
        ("mailhaul --con", "--config"),
    ],
)
def test_a_shell_is_answered(
    line: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_MAILHAUL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    assert main([]) == 0
    assert capsys.readouterr().out == f"plain,{expected}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert f"_MAILHAUL_COMPLETE={shell}_complete" in capsys.readouterr().out
