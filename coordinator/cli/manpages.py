"""Manual pages, made of the same texts as ``--help``: one for the program, one for each command."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from ... import __version__
from .program import COMMANDS

_VERBATIM = "\b"
"""Begins a paragraph whose lines click leaves as they are."""


def manual_pages(program: click.Group, name: str) -> Iterator[tuple[str, str]]:
    """The name of each page (``mailhaul-keys-make.1``) and its text, in roff's man macros."""
    epilog = program.epilog or ""
    for words, command, summary in _commands(program, (name,)):
        context = click.Context(command, info_name=" ".join(words))
        yield f"{'-'.join(words)}.1", "\n".join(_page(words, command, context, summary, epilog)) + "\n"


def _commands(
    command: click.Command, words: tuple[str, ...], summary: str = ""
) -> Iterator[tuple[tuple[str, ...], click.Command, str]]:
    yield words, command, summary or command.get_short_help_str(limit=200)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _commands(child, (*words, name))


def _page(
    words: tuple[str, ...], command: click.Command, context: click.Context, summary: str, epilog: str
) -> Iterator[str]:
    title = "-".join(words)
    yield f'.TH {_text(title.upper())} 1 "" "mailhaul {_text(__version__)}" "mailhaul"'
    yield ".SH NAME"
    yield f"{_text(title)} \\- {_text(summary.rstrip('.'))}"
    yield ".SH SYNOPSIS"
    yield f".B {_text(' '.join(words))}"
    yield from map(_text, command.collect_usage_pieces(context))
    yield ".SH DESCRIPTION"
    yield from _paragraphs(command.help or summary)
    options = [
        record
        for param in command.get_params(context)
        if (record := param.get_help_record(context)) and record[1]
    ]
    if options:
        yield ".SH OPTIONS"
        for names, told in options:
            yield from (".TP", f"\\fB{_text(names)}\\fR", *_lines(told))
    if isinstance(command, click.Group):
        yield ".SH COMMANDS"
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                short = child.get_short_help_str(limit=200)
                summary = COMMANDS.get(name, short) if len(words) == 1 else short
                yield from (".TP", f"\\fB{_text('-'.join((*words, name)))}\\fR(1)", *_lines(summary))
    yield ".SH EXIT STATUS"
    yield from _paragraphs(epilog.replace("Exit codes:\n", ""))
    if len(words) > 1:
        yield ".SH SEE ALSO"
        yield f"\\fB{_text('-'.join(words[:-1]))}\\fR(1)"


def _paragraphs(text: str) -> Iterator[str]:
    for place, paragraph in enumerate(re.split(r"\n\s*\n", inspect.cleandoc(text))):
        if place:
            yield ".PP"
        first, _, rest = paragraph.partition("\n")
        if first.strip() == _VERBATIM:
            yield from (".nf", *_lines(rest), ".fi")
        else:
            yield from _lines(paragraph)


def _lines(text: str) -> Iterator[str]:
    return (_text(line) for line in text.splitlines() if line.strip())


def _text(text: str) -> str:
    """A line that roff takes for nothing but text. A hyphen may be one of an option: it stays one."""
    escaped = text.rstrip().replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
