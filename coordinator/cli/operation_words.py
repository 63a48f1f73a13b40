"""Operations as command lines: which words they may be given, what they need, and the words of their next
start.

What an operation is given is carried out later, by another process, for whoever asked. So it may name nothing
that is only here and now: no other configuration or staging area, no file that is read or written on the way,
no program, not the standard input or output. The files of some options of a restore are read when it is asked
for, and kept with it. A new option of a command is none of an operation until it
stands here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import click

from ...groups.paths import LogicalPath
from ...proto.errors import UsageError
from ...proto.structs import Record
from ...worker.destinations.settings import Destination, TapeDestination
from ..clock import RUN_ID
from ..service.records import Kind, Operation
from ..serving.rules import ARCHIVES, DRILL, RUN, Needs, drive_lock, sweep_lock
from .options import given
from .program import Invocation
from .restore_options import GIVEN_FILES

_COMMANDS: Mapping[Kind, tuple[str, ...]] = {"inventory": ("tape", "inventory")}
"""How kinds are called on the command line, where it is not by their name."""

_ALWAYS = frozenset({"as_json"})
_KEYS = frozenset({"identities", "passphrase_files"})
_RULES = frozenset({"last", "daily", "weekly", "monthly", "yearly"})

_OF_SERVERS = frozenset({"password_file", "master", "verify", "sieve_runs_again", "delivered"})
"""What a restore over IMAP or LMTP is given beside the server."""

_READ_THEN = frozenset({"password_file", "delivered", "first_from"})
"""Files and directories that the process of an operation gets to by their names: a password is kept nowhere
else, and what is written or changes meanwhile can't be kept."""

_TAKEN: Mapping[Kind, frozenset[str]] = {
    "backup": frozenset(
        {
            "paths",
            "workers",
            "full",
            "since",
            "thorough",
            "self_contained",
            "exclude_folders",
            "except_groups",
            "accept_empty",
            "accept_moved",
            "resume",
            "now",
            "codec",
        }
    ),
    "restore": _KEYS
    | _OF_SERVERS
    | frozenset(GIVEN_FILES)
    | {
        "paths",
        "host",
        "at",
        "place",
        "as_user",
        "into",
        "uid_margin",
        "new_uidvalidity",
        "provision_only",
        "full_speed",
        "state_only",
        "flags",
        "exact",
        "only",
        "wait",
        "workers",
        "order",
        "first_from",
        "resume",
        "retry",
        "undo",
        "dry_run",
    },
    "undelete": _KEYS | {"path", "since", "until", "into", "place", "as_user", "workers", "dry_run"},
    "sweep": frozenset({"path", "to", "dry_run"}),
    "purge": _KEYS | _RULES | {"path", "dry_run", "workers"},
    "verify": _KEYS
    | {
        "path",
        "data",
        "host",
        "at",
        "since",
        "sample",
        "resume",
        "to_repair",
        "accept",
        "only",
        "age",
        "workers",
    },
    "drill": _KEYS | {"paths", "mailboxes", "time_", "destination", "seed"},
    "inventory": frozenset({"name"}),
}
"""The parameters of each command that an operation may be given."""

TAKES_KEYS = frozenset(kind for kind, names in _TAKEN.items() if names >= _KEYS)
"""The kinds that open encrypted archives."""

_OF_HERE = _KEYS | {"place", "password_file", "delivered", "first_from", *GIVEN_FILES}
"""Those that name something on the host of the staging area: not for who asks from elsewhere."""

_HARMLESS: Mapping[Kind, frozenset[str]] = {
    "backup": frozenset({"paths", "thorough"}),
    "sweep": frozenset({"path"}),
    "verify": frozenset({"path", "data", "sample", "only", "age"}),
    "drill": frozenset({"paths"}),
    "inventory": frozenset({"name"}),
}
"""What somebody may ask for who is trusted with nothing: it loses no backup, changes no mail, believes
nothing that a run would ask about, and is no more work than the schedule gives."""

_KEPT_BESIDE_RESUME: Mapping[Kind, Mapping[str, str]] = {
    "backup": {"workers": "--workers", "now": "--now", "codec": "--codec"},
    "restore": {"workers": "--workers"},
}
"""What a start that goes on is given again, with the option that says it: all else the run or restore
knows."""

_EVERYTHING = (LogicalPath(),)


class _Parsed(Record, kw_only=True):
    """A command line: its parameters by name, those that were ``named``, and what was ``said`` for each."""

    parameters: Mapping[str, Any]
    named: frozenset[str]
    said: Mapping[str, Any]


def checked(kind: Kind, arguments: Sequence[str], *, elsewhere: bool = False) -> tuple[str, ...]:
    """The arguments of an operation, if it may have them. Asked for ``elsewhere`` (on another host, on the
    page) they may name nothing of this host. Raises UsageError, which says what is wrong."""
    # What is looked at is what is carried out: a word that goes afterwards makes others of those behind it.
    words = tuple(argument for argument in arguments if argument != "--json")
    if "--" in words:
        raise UsageError("-- is given to no operation: what its process adds would stand behind it")
    parsed = _parsed(kind, words)
    refused = parsed.named - _TAKEN[kind] - _ALWAYS
    if elsewhere:
        refused |= parsed.named & _OF_HERE
    if refused:
        options = ", ".join(sorted(map(_option_of(kind), refused)))
        why = [_WHY_NOT[name] for name in sorted(refused & _WHY_NOT.keys())] or [_WHY]
        said = _WHY_ELSEWHERE if elsewhere else "; ".join(why)
        raise UsageError(f"an operation can't be given {options}: {said}")
    for name in ("resume", "retry", "undo"):
        value = parsed.parameters.get(name)
        if isinstance(value, str) and not RUN_ID.fullmatch(value):
            raise UsageError(f"--{name} {value}: an operation is given an id, as it is carried out later")
    _refuse_relative(parsed)
    return words


def named_keys(kind: Kind, arguments: Sequence[str]) -> tuple[Sequence[Path], Sequence[Path]]:
    """The private keys that an operation is given, and the files of their passphrases. Raises UsageError."""
    what = _parsed(kind, arguments).parameters
    return what.get("identities", ()), what.get("passphrase_files", ())


def files_of(kind: Kind, arguments: Sequence[str]) -> dict[str, Path]:
    """The files that an operation is given, by parameter. Raises UsageError."""
    if kind != "restore":
        return {}
    parsed = _parsed(kind, arguments)
    files = {name: Path(parsed.parameters[name]) for name in GIVEN_FILES if name in parsed.named}
    # It may be the path of something in the backup.
    if "only_damaged" in files and not files["only_damaged"].is_file():
        del files["only_damaged"]
    return files


def password_file_of(kind: Kind, arguments: Sequence[str]) -> Path | None:
    """The file with a password that an operation reads. Raises UsageError."""
    named = _parsed(kind, arguments).parameters.get("password_file")
    return None if named is None else Path(named)


def is_harmless(kind: Kind, arguments: Sequence[str]) -> bool:
    """Whether an operation may be asked for by who is trusted with nothing. Raises UsageError."""
    return kind in _HARMLESS and _parsed(kind, arguments).named <= _HARMLESS[kind] | _ALWAYS


_WHY = "it is carried out later and by another process, with the configuration of `mailhaul serve`"
_WHY_NOT = {
    "doveadm": "its programs are those of the configuration (doveadm of the partition)",
    "first": "that is said to a restore that goes on, with `mailhaul restore --first`",
    "files": "it restores from the staging area, and -f is for restores without one",
}
_WHY_ELSEWHERE = "it would be of the host of the staging area, and is asked for from elsewhere"


def needs_of(operation: Operation, destinations: Sequence[Destination]) -> Needs:
    """What an operation needs; ``destinations`` are those that are configured. Raises UsageError."""
    request = operation.request
    parsed = _parsed(request.kind, request.arguments)
    what = parsed.parameters
    match request.kind:
        case "backup":
            return Needs(alone=frozenset({RUN}))
        case "purge":
            return Needs(alone=frozenset({RUN, ARCHIVES}))
        case "sweep":
            return Needs(alone=_of_sweep(destinations, what["to"]))
        case "verify":
            return _of_verification(what)
        case "drill":
            return Needs(alone=frozenset({DRILL}), shared=frozenset({ARCHIVES}))
        case "inventory":
            name = what["name"]
            return Needs(alone=frozenset({sweep_lock(name), drive_lock(name)}))
        case "restore" | "undelete":
            return _of_restore(what, _as_said(parsed.said.get("place")))


def words_of(operation: Operation) -> tuple[str, ...]:
    """The words after the options of the program, with which an operation starts now."""
    kind = operation.request.kind
    command = _COMMANDS.get(kind, (kind,))
    if not operation.resumes:
        return (*command, *operation.request.arguments, "--json")
    said = _parsed(kind, operation.request.arguments).said
    again = ["--resume", operation.resumes]
    for name, option in _KEPT_BESIDE_RESUME.get(kind, {}).items():
        match said.get(name):
            case True:
                again.append(option)
            case str() as value:
                again += [option, value]
    return (*command, *again, "--json")


def _of_sweep(destinations: Iterable[Destination], to: str) -> frozenset[str]:
    chosen = [destination for destination in destinations if to in ("", destination.name)]
    drives = {
        drive_lock(tape_destination.name)
        for tape_destination in chosen
        if isinstance(tape_destination, TapeDestination)
    }
    return frozenset({*(sweep_lock(one.name) for one in chosen), *drives})


def _of_verification(what: Mapping[str, Any]) -> Needs:
    if what["to_repair"]:
        return Needs(alone=frozenset({RUN, ARCHIVES}))
    return Needs(alone=frozenset({RUN} if what["accept"] else ()), shared=frozenset({ARCHIVES}))


def _of_restore(what: Mapping[str, Any], place: str) -> Needs:
    """Restores whose mailboxes are not told by paths (they go on, are repeated, taken back, renamed) are
    taken to be of everything."""
    paths = what["paths"] if "paths" in what else (what["path"],)
    if any(what.get(name) for name in ("resume", "retry", "undo", "host", "map_file", "only_damaged")):
        paths = ()
    if what["as_user"] is not None:
        paths = tuple(
            LogicalPath(path.partition, path.group, what["as_user"])
            for path in paths
            if path.user is not None
        )
    return Needs(shared=frozenset({ARCHIVES}), urgent=True, paths=paths or _EVERYTHING, into=place)


def _parsed(kind: Kind, arguments: Sequence[str]) -> _Parsed:
    """The arguments as the command takes them. Raises UsageError."""
    command = _command(kind)
    if "--help" in arguments:
        raise UsageError("--help is no operation")
    try:
        context = command.make_context(kind, list(arguments), obj=Invocation())
        said, _, _ = command.make_parser(context).parse_args(list(arguments))
    except click.ClickException as error:
        raise UsageError(f"{' '.join(_COMMANDS.get(kind, (kind,)))}: {error.format_message()}") from error
    return _Parsed(parameters=context.params, named=given(context), said=said)


def _command(kind: Kind) -> click.Command:
    module = "_".join(_COMMANDS.get(kind, (kind,)))
    try:
        return cast(click.Command, import_module(f".{module}", __package__).command)
    except ModuleNotFoundError as error:
        raise UsageError(f"this version has no {kind}") from error


def _option_of(kind: Kind) -> Any:
    names = {param.name: param.opts[0] for param in _command(kind).params if param.name}
    return lambda name: names.get(name, name)


def _refuse_relative(parsed: _Parsed) -> None:
    """The process of an operation is elsewhere: a path that is relative would be another there."""
    place = _as_said(parsed.said.get("place"))
    if place and not re.match(r"[a-z]+(?::/|://)", place):
        raise UsageError(f"--to {place}: an operation is given a directory by its whole path")
    named = [file for name in _KEYS & parsed.named for file in parsed.parameters[name]]
    named += [parsed.parameters[name] for name in (*GIVEN_FILES, *_READ_THEN) if name in parsed.named]
    for file in named:
        if not Path(file).is_absolute():
            raise UsageError(f"{file}: an operation is given a file by its whole path")


def _as_said(value: object) -> str:
    return value if isinstance(value, str) else ""
