"""The documents say what the program does: commands, options, exit codes, error codes, files."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mailhaul.coordinator.cli.operation_words import checked
from mailhaul.coordinator.cli.program import program
from mailhaul.proto import errors

FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")
EXIT_CODE = re.compile(r"^(?:\| )?\s*([0-5])\s+(?:\| )?(.+?)(?: \|)?$", re.MULTILINE)
SOURCE = re.compile(r"`((?:coordinator|worker|groups|proto|deploy|tests|bench|docs)/[\w/.-]*)`")


@pytest.fixture(scope="module")
def documents(root: Path) -> dict[Path, str]:
    """What people read: the text of each document by its path."""
    paths = [*root.glob("*.md"), *(root / "docs").rglob("*.md"), root / "bench" / "README.md"]
    return {path: path.read_text() for path in paths}


def commands(group: click.Command = program, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its full name."""
    if not isinstance(group, click.Group):
        yield name.strip(), group
        return
    context = click.Context(group)
    for child in group.list_commands(context):
        found = group.get_command(context, child)
        assert found
        if not found.hidden:  # what only the program itself calls
            yield from commands(found, f"{name} {child}")


def examples(text: str) -> Iterator[list[str]]:
    """The words of every call of mailhaul in a document's shell examples, from the command on."""
    for fence in FENCE.findall(text):
        for line in fence.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            for at, word in enumerate(words):
                # As a program, not as the user of that name.
                if word.rpartition("/")[2] == "mailhaul" and words[at - 1] != "-u":
                    rest = words[at + 1 :]
                    yield rest[: rest.index("|")] if "|" in rest else rest


def test_every_command_is_shown(documents: dict[Path, str]) -> None:
    shown = [" ".join(words) for text in documents.values() for words in examples(text)]
    assert [
        name for name, _ in commands() if not any(f"{call} ".startswith(f"{name} ") for call in shown)
    ] == []


def test_examples_use_options_that_exist(documents: dict[Path, str]) -> None:
    known = dict(commands())
    wrong = []
    for path, text in documents.items():
        for words in examples(text):
            name = next((name for name in known if f"{' '.join(words)} ".startswith(f"{name} ")), None)
            options = {
                option for parameter in (known[name] if name else program).params for option in parameter.opts
            }
            used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            if used - options - {"--help"}:
                wrong.append((path.name, " ".join(words)))
    assert wrong == []


def test_examples_are_taken_by_the_command_line(documents: dict[Path, str]) -> None:
    """Every value, path and time in them, and how options go together as far as the words alone tell."""
    refused = []
    for path, text in documents.items():
        for words in examples(text):
            # Without what a shell takes for itself; names that stand for others, and files, are no calls.
            ours = list(itertools.takewhile(lambda word: not re.match(r"[0-9]*[<>;&|]", word), words))
            if ours and not any(
                re.fullmatch(r"[A-Z]+|[.]{3}|--version|--help|/usr/.*", word) for word in ours
            ):
                try:
                    parse(ours)
                except click.UsageError as error:
                    refused.append((path.name, " ".join(words), error.message))
    assert refused == []


def parse(words: list[str]) -> None:
    """As the program does before it calls a command. Raises click.UsageError."""
    command: click.Command = program
    context = None
    while isinstance(command, click.Group):
        context = command.make_context(command.name, [*words], parent=context)
        _, found, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found
        command = found
    given = command.make_context(command.name, words, parent=context).params
    if {"kind", "arguments"} <= given.keys():
        try:
            checked(given["kind"], given["arguments"])
        except errors.UsageError as error:
            raise click.UsageError(error.message) from error


def test_exit_codes_are_told_alike(root: Path) -> None:
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    table = dict(EXIT_CODE.findall((root / "README.md").read_text()))
    assert {int(code) for code in table} == codes
    told = dict(EXIT_CODE.findall(program.epilog or ""))
    assert {code: re.sub(r"\W+", " ", text).strip() for code, text in told.items()} == {
        code: re.sub(r"\W+", " ", text).strip() for code, text in table.items()
    }


def test_decisions_have_numbers_of_their_own(root: Path) -> None:
    numbers: dict[str, str] = {}
    for path in sorted((root / "docs" / "decisions").glob("*.md")):
        number = path.name[:4]
        assert number not in numbers, f"{path.name} and {numbers[number]}"
        numbers[number] = path.name
        assert path.read_text().startswith(f"# {number}: ")


def test_links_and_named_files_exist(root: Path, documents: dict[Path, str]) -> None:
    gone = []
    for path, text in documents.items():
        gone += [(path.name, link) for link in LINK.findall(text) if not (path.parent / link).exists()]
        gone += [(path.name, name) for name in SOURCE.findall(text) if not (root / name).exists()]
    assert gone == []
