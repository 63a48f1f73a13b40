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
from ..worker.load import LoadLimits
from .settings import (
    ArchiveConfig,
    Codec,
    Config,
    DispatchConfig,
    EngineName,
    GroupsConfig,
    LogConfig,
    MetricsConfig,
    StagingConfig,
    TlsConfig,
    check_path,
)
from .window import Window

_PORT = r"(?:[1-9][0-9]{0,4})"
_DURATION = re.compile(r"([0-9]{1,6}) ?(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
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
    config = Config(
        staging=_staging(path, root.staging),
        partitions=_partitions(path, root.partition),
        groups=_groups(path, root.groups),
        dispatch=_dispatch(path, root.dispatch),
        load=LoadLimits(**_given(root.load)),
        archive=_archive(path, root.archive),
        metrics=MetricsConfig(**_with_paths(path, _given(root.metrics), "textfile")),
        log=LogConfig(**_with_paths(path, _given(root.log), "file")),
    )
    _check_hosts(path, config)
    return config


def _read(path: Path, subject: str) -> str:
    """The text of a file; ``subject`` begins the message of the ConfigError raised when it can't be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"expected UTF-8 text: {error.reason} at byte {error.start}"
    except OSError as error:
        problem = f"expected a file that can be read: {error.strerror}"
    raise ConfigError(f"{subject}: {problem}", file=str(path))


def _staging(path: Path, table: _StagingTable) -> StagingConfig:
    given = _with_paths(path, _given(table), "path", "keys")
    names = {"reserve": "reserve_bytes", "wait_for_space": "patience_seconds"}
    return StagingConfig(**{names.get(key, key): value for key, value in given.items()})


def _dispatch(path: Path, table: _DispatchTable) -> DispatchConfig:
    given = _with_paths(path, _given(table), "token_file")
    if host_patience := given.pop("host_patience", None):
        given["host_patience_seconds"] = host_patience
    if tls := given.pop("tls", None):
        given["tls"] = TlsConfig(**_with_paths(path, _given(tls), "cert", "key", "ca"))
    return DispatchConfig(**given)


def _with_paths(path: Path, given: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Relative paths become what they are relative to the configuration file."""
    directory = path.absolute().parent
    return {key: directory / value if key in keys else value for key, value in given.items()}


def _check_hosts(path: Path, config: Config) -> None:
    """What must be there so that workers on other hosts find the staging area."""
    hosts = {host for partition in config.partitions for host in partition.hosts}
    if config.dispatch.engine == "local":
        if len((hosts | {config.staging.host}) - {"localhost"}) > 1:
            expected = f"'ray', as there are several hosts: {', '.join(sorted(hosts))}"
            raise _wrong_value(path, "dispatch.engine", "local", expected)
        return
    for key in ("listen", "address"):
        if hosts != {config.staging.host} and not getattr(config.staging, key):
            raise ConfigError(
                f"{path}: staging.{key} is missing: expected a ZeroMQ address such as "
                "'tcp://staging01:7400', as partitions lie on other hosts than staging.host",
                file=str(path),
                keys=[f"staging.{key}"],
            )


def _partitions(path: Path, tables: Sequence[_PartitionTable]) -> tuple[Partition, ...]:
    partitions = tuple(_partition(path, index, table) for index, table in enumerate(tables))
    names = [partition.name for partition in partitions]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise _wrong_value(path, f"partition[{index}].name", name, "a name that no other partition has")
    return partitions


def _partition(path: Path, index: int, table: _PartitionTable) -> Partition:
    given = {"name": "primary"} | _given(table)
    if "host" in given:
        if "hosts" in given:
            expected = "host or hosts, not both"
            raise _wrong_value(path, f"partition[{index}].hosts", given["hosts"], expected)
        given["hosts"] = (given.pop("host"),)
    return Partition(**given)


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


def _rate(text: object) -> int:
    return _size_bytes(text.removesuffix("/s") if isinstance(text, str) else text)


def _seconds(text: object) -> float:
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("no whole number with s, m, h or d")
    return float(int(found[1]) * _SECONDS[found[2]])


def _window(text: object) -> Window:
    if not isinstance(text, str):
        raise ValueError("no text")
    return Window.parse(text)


def _names(names: object) -> object:
    if isinstance(names, list) and len(set(map(str, names))) == len(names):
        return tuple(names)
    raise ValueError("no list of different names")


def _command(words: object) -> object:
    if isinstance(words, str):
        words = shlex.split(words)
    return tuple(words) if isinstance(words, list) else words


_Text = Annotated[str, Field(pattern=r"^[^\x00]+$")]
_Name = Annotated[str, Field(pattern=f"^{SAFE_NAME}$")]


_Address = Annotated[str, Field(pattern=rf"^tcp://(?:[0-9A-Za-z.-]+|\[[0-9A-Fa-f:.]+\]|\*):{_PORT}$")]
_Seconds = Annotated[float, BeforeValidator(_seconds)]


class _Table(BaseModel):
    """A table of the file. The description of a field completes "expected …"; None is a key not given."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _StagingTable(_Table):
    path: _Text = Field(description="a directory")
    host: _Name | None = Field(default=None, description="the name of this host")
    listen: _Address | None = Field(default=None, description="an address such as 'tcp://0.0.0.0:7400'")
    address: _Address | None = Field(default=None, description="an address such as 'tcp://staging01:7400'")
    keys: _Text | None = Field(default=None, description="a directory")
    reserve: Annotated[int, BeforeValidator(_size_bytes)] | None = Field(
        default=None, description="a size such as '2 GiB'"
    )
    wait_for_space: _Seconds | None = Field(default=None, description="a time such as '90s' or '1h'")


class _PartitionTable(_Table):
    name: _Name | None = Field(
        default=None,
        description="at most 100 letters, digits, '.', '_', '-', beginning with a letter or digit",
    )
    host: _Name | None = Field(default=None, description="the name of a host")
    hosts: Annotated[tuple[_Name, ...], BeforeValidator(_names), Field(min_length=1)] | None = Field(
        default=None, description="a list of the names of the hosts that share its storage"
    )
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


class _TlsTable(_Table):
    cert: _Text = Field(description="a file")
    key: _Text = Field(description="a file")
    ca: _Text = Field(description="a file")


class _DispatchTable(_Table):
    engine: EngineName | None = Field(default=None, description="'local' or 'ray'")
    workers_per_host: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None, description="a whole number from 1 to 1024"
    )
    window: Annotated[Window, BeforeValidator(_window)] | None = Field(
        default=None, description="times of the day such as '22:00-06:00'"
    )
    address: _Text | None = Field(default=None, description="'auto', or HOST:PORT of a Ray cluster")
    token_file: _Text | None = Field(default=None, description="a file")
    tls: _TlsTable | None = Field(default=None, description="a table with cert, key and ca")
    host_patience: _Seconds | None = Field(default=None, description="a time such as '90s' or '10m'")


class _LoadTable(_Table):
    bytes_per_second: Annotated[int, BeforeValidator(_rate), Field(ge=1)] | None = Field(
        default=None, description="a size such as '50 MB'"
    )
    messages_per_second: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="a whole number from 1"
    )
    nice: Annotated[int, Field(ge=0, le=19)] | None = Field(
        default=None, description="a whole number from 0 to 19"
    )
    ionice: Literal["idle", "best-effort"] | None = Field(default=None, description="'idle' or 'best-effort'")


class _MetricsTable(_Table):
    listen: Annotated[str, Field(pattern=rf"^(?:[0-9A-Za-z.-]+|\[[0-9A-Fa-f:.]+\]):{_PORT}$")] | None = Field(
        default=None, description="an address such as '127.0.0.1:9410'"
    )
    textfile: _Text | None = Field(default=None, description="a file")


class _LogTable(_Table):
    file: _Text | None = Field(default=None, description="a file")


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
    load: _LoadTable = Field(default=_LoadTable(), description="a [load] table")
    archive: _ArchiveTable = Field(default=_ArchiveTable(), description="an [archive] table")
    metrics: _MetricsTable = Field(default=_MetricsTable(), description="a [metrics] table")
    log: _LogTable = Field(default=_LogTable(), description="a [log] table")


_TABLES: dict[str, type[_Table]] = {
    "staging": _StagingTable,
    "partition": _PartitionTable,
    "groups": _GroupsTable,
    "dispatch": _DispatchTable,
    "dispatch.tls": _TlsTable,
    "load": _LoadTable,
    "archive": _ArchiveTable,
    "metrics": _MetricsTable,
    "log": _LogTable,
}


def _given(table: _Table) -> dict[str, Any]:
    """The keys that the file gives, so that every default stands once, in the record."""
    return {name: getattr(table, name) for name in table.model_fields_set}


def _config_error(path: Path, errors: Sequence[ErrorDetails]) -> ConfigError:
    """One error for all that is wrong, a line each."""
    lines = [_line(path, error) for error in errors]
    keys = [_dotted(error["loc"]) for error in errors]
    return ConfigError("\n".join(lines), file=str(path), keys=keys)


def _line(path: Path, error: ErrorDetails) -> str:
    names = [part for part in error["loc"] if isinstance(part, str)]
    fields = (_Root if len(names) == 1 else _TABLES[".".join(names[:-1])]).model_fields
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
# Relative paths are relative to the directory of this file. What is commented out shows what else there is.

[staging]
# Archives are written here: <path>/<partition>/<group>/<run>.<shard>.mha
path = "/var/spool/mailhaul"
# So much of the file system stays free; a worker that finds no room waits so long for some.
reserve = "1 GiB"
wait_for_space = "1h"
# With mail on other hosts: what this host is called below, where `mailhaul receive` listens, how the others
# reach it, and the directory of key files on each of them (see `mailhaul keys`).
# host = "staging01"
# listen = "tcp://0.0.0.0:7400"
# address = "tcp://staging01:7400"
# keys = "/etc/mailhaul/keys"

# One table for each partition, a named root of a mail store.
[[partition]]
name = "primary"
host = "localhost"
# Several hosts that share the storage of a partition:
# hosts = ["store01", "store02"]
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
# "local": worker processes on this host. "ray": workers on all hosts of a Ray cluster.
engine = "local"
workers_per_host = 4
# Units are begun at these times of the day only; what has not been begun waits for the next.
# window = "22:00-06:00"
# With "ray": the cluster, its token (a file of mode 0600), and how long work waits for a host that is gone.
# address = "auto"
# token_file = "/etc/mailhaul/ray.token"
# host_patience = "10m"
# tls = { cert = "/etc/mailhaul/host.pem", key = "/etc/mailhaul/host.key", ca = "/etc/mailhaul/ca.pem" }

[load]
# What all workers of a host together may read, and how much they give way to others.
# bytes_per_second = "50 MB"
# messages_per_second = 2000
# nice = 10
# ionice = "idle"

[archive]
# "lz4" is fast; "zstd" takes less space and more time.
codec = "lz4"
# Of zstd: 1 (fast) to 22 (small).
# level = 3

[metrics]
# For Prometheus: an address to ask while a run goes on, and a file that is written when it ends.
# listen = "127.0.0.1:9410"
# textfile = "/var/lib/prometheus/node-exporter/mailhaul.prom"

[log]
# Events are appended to this file, a JSON object a line.
# file = "/var/log/mailhaul.log"
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
