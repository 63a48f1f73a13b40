"""The configuration: ``mailhaul.toml`` and the backup groups it names, read once into frozen records.

Owns the keys, their defaults and the words in which a wrong value is reported. Whether directories exist and
hosts answer is found out where they are used. pydantic stays inside this module.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from ..groups.assignment import GroupRules, Several, Ungrouped
from ..groups.definitions import SAFE_NAME, GroupDefinition, parse_definitions
from ..proto.errors import ConfigError
from ..proto.records import Partition
from .settings import ArchiveConfig, Codec, Config, DispatchConfig, GroupsConfig, check_path

_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([kmgt]i?b)", re.IGNORECASE)
_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12} | {
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip


def load(path: Path) -> Config:
    """Read a configuration file and the groups file it names.

    Relative paths in it are relative to its directory. Raises ConfigError, which names the file, the key,
    the value and what was expected.
    """
    try:
        keys = tomllib.loads(_read(path, str(path)))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: expected TOML: {error}", file=str(path)) from None
    try:
        root = _Root.model_validate(keys)
    except ValidationError as error:
        raise _config_error(path, error.errors(include_url=False)) from None
    return Config(
        staging=path.absolute().parent / root.staging.path,
        partitions=_partitions(path, root.partition),
        groups=_groups(path, root.groups),
        dispatch=DispatchConfig(**_given(root.dispatch)),
        archive=_archive(path, root.archive),
    )


def _read(path: Path, subject: str) -> str:
    """The text of a file; ``subject`` begins the message of the ConfigError raised when it can't be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"expected UTF-8 text: {error.reason} at byte {error.start}"
    except OSError as error:
        problem = f"expected a file that can be read: {error.strerror}"
    raise ConfigError(f"{subject}: {problem}", file=str(path))


def _partitions(path: Path, tables: Sequence[_PartitionTable]) -> tuple[Partition, ...]:
    partitions = tuple(Partition(**{"name": "primary"} | _given(table)) for table in tables)
    names = [partition.name for partition in partitions]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise _wrong_value(path, f"partition[{index}].name", name, "a name that no other partition has")
    return partitions


def _groups(path: Path, table: _GroupsTable) -> GroupsConfig:
    given = _given(table)
    limits = {"largest_unit_bytes": given.pop("largest_unit")} if "largest_unit" in given else {}
    definitions: tuple[GroupDefinition, ...] = ()
    if name := given.pop("file", None):
        file = path.absolute().parent / name
        definitions = parse_definitions(_read(file, f"{path}: groups.file = {name!r}"), str(file))
    return GroupsConfig(rules=GroupRules(definitions=definitions, **given), **limits)


def _archive(path: Path, table: _ArchiveTable) -> ArchiveConfig:
    if table.level is not None and table.codec != "zstd":
        raise _wrong_value(path, "archive.level", table.level, "no level without codec = 'zstd'")
    return ArchiveConfig(**_given(table))


def _size_bytes(text: object) -> int:
    found = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("no number with a unit")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def _command(words: object) -> object:
    if isinstance(words, str):
        words = shlex.split(words)
    return tuple(words) if isinstance(words, list) else words


_Text = Annotated[str, Field(pattern=r"^[^\x00]+$")]
_Name = Annotated[str, Field(pattern=f"^{SAFE_NAME}$")]


class _Table(BaseModel):
    """A table of the file. The description of a field completes "expected …"; None is a key not given."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _StagingTable(_Table):
    path: _Text = Field(description="a directory")


class _PartitionTable(_Table):
    name: _Name | None = Field(
        default=None,
        description="at most 100 letters, digits, '.', '_', '-', beginning with a letter or digit",
    )
    host: _Name | None = Field(default=None, description="the name of a host")
    format: Literal["maildir"] = Field(description="'maildir', the only format of this version")
    path: Annotated[_Text, AfterValidator(check_path)] = Field(
        description="an absolute directory, with {user} where user names stand, and beside it, where wanted, "
        "{domain} and letters of both: {user[0]}, {user[0:2]}, {domain[0]}"
    )
    doveadm: Annotated[tuple[_Text, ...], BeforeValidator(_command)] | None = Field(
        default=None, description="a command, as one string or as a list of strings"
    )


class _GroupsTable(_Table):
    file: _Text | None = Field(default=None, description="a file")
    several: Several | None = Field(default=None, description="'report', 'first-match' or 'error'")
    ungrouped: Ungrouped | None = Field(default=None, description="'user' or 'report'")
    largest_unit: Annotated[int, BeforeValidator(_size_bytes), Field(ge=2**20)] | None = Field(
        default=None, description="a size of at least 1 MiB, such as '20 GiB'"
    )


class _DispatchTable(_Table):
    engine: Literal["local"] | None = Field(
        default=None, description="'local', the only engine of this version"
    )
    workers_per_host: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None, description="a whole number from 1 to 1024"
    )


class _ArchiveTable(_Table):
    codec: Codec | None = Field(default=None, description="'lz4' or 'zstd'")
    level: Annotated[int, Field(ge=1, le=22)] | None = Field(
        default=None, description="a whole number from 1 to 22"
    )


class _Root(_Table):
    staging: _StagingTable = Field(description="a [staging] table")
    partition: Annotated[list[_PartitionTable], Field(min_length=1)] = Field(
        description="one or more [[partition]] tables"
    )
    groups: _GroupsTable = Field(default=_GroupsTable(), description="a [groups] table")
    dispatch: _DispatchTable = Field(default=_DispatchTable(), description="a [dispatch] table")
    archive: _ArchiveTable = Field(default=_ArchiveTable(), description="an [archive] table")


_TABLES: dict[str, type[_Table]] = {
    "staging": _StagingTable,
    "partition": _PartitionTable,
    "groups": _GroupsTable,
    "dispatch": _DispatchTable,
    "archive": _ArchiveTable,
}


def _given(table: _Table) -> dict[str, Any]:
    """The keys that the file gives, so that every default stands once, in the record."""
    return table.model_dump(exclude_unset=True)


def _config_error(path: Path, errors: Sequence[ErrorDetails]) -> ConfigError:
    """One error for all that is wrong, a line each."""
    lines = [_line(path, error) for error in errors]
    keys = [_dotted(error["loc"]) for error in errors]
    return ConfigError("\n".join(lines), file=str(path), keys=keys)


def _line(path: Path, error: ErrorDetails) -> str:
    names = [part for part in error["loc"] if isinstance(part, str)]
    fields = (_Root if len(names) == 1 else _TABLES[names[0]]).model_fields
    key = _dotted(error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{path}: {key}: no such key; expected one of {', '.join(fields)}"
    expected = f"expected {fields[names[-1]].description}"
    if error["type"] == "missing":
        return f"{path}: {key} is missing: {expected}"
    reason = f" ({error['ctx']['error']})" if error["type"] == "value_error" else ""
    return f"{path}: {key} = {_shown(error['input'])}: {expected}{reason}"


def _wrong_value(path: Path, key: str, value: object, expected: str) -> ConfigError:
    return ConfigError(f"{path}: {key} = {_shown(value)}: expected {expected}", file=str(path), keys=[key])


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "…"


def _dotted(location: tuple[int | str, ...]) -> str:
    """``partition[0].path``"""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(
        "."
    )


CONFIG_TEMPLATE = """\
# mailhaul.toml: what is backed up, from where, to where.
# Relative paths are relative to the directory of this file.

[staging]
# Archives are written here: <path>/<partition>/<group>/<run>.<shard>.mha
path = "/var/spool/mailhaul"

# One table for each partition, a named root of a mail store.
[[partition]]
name = "primary"
host = "localhost"
format = "maildir"
# {user} stands for the whole user id, or for its part before "@" where {domain} occurs too.
# {user[0]}, {user[0:2]}, {domain[0]} stand for letters of them, as in stores with hashed directories.
path = "/srv/mail/{domain}/{user}/Maildir"
# With Dovecot: keeps what its clients have synchronised valid across a restore (HIGHESTMODSEQ).
# doveadm = "doveadm"

[groups]
# Regular expressions say which users are backed up together. Without groups all are in the group "user".
file = "backup-groups.conf"
# A user in several groups is backed up in each of them ("report"), in the first one ("first-match"),
# or ends the run ("error").
several = "report"
# Users in no group are backed up in the group "user" ("user"), or left out and listed as skipped ("report").
ungrouped = "user"
# A larger group is split into several archives.
largest_unit = "20 GiB"

[dispatch]
engine = "local"
workers_per_host = 4

[archive]
# "lz4" is fast; "zstd" takes less space and more time.
codec = "lz4"
# Of zstd: 1 (fast) to 22 (small).
# level = 3
"""

GROUPS_TEMPLATE = """\
# backup-groups.conf: which users are backed up together, one name=regex a line.
#
# The whole user id must match. Several lines of one name add up. The expressions are those of Python,
# and POSIX classes such as [[:alpha:]] are understood. The group "user" is predefined and holds everybody.
#
# groupA=[a-l].*
# groupB=[m-z].*
# groupB=[[:digit:]].*
"""
