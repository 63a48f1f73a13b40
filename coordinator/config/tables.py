"""The tables and keys of ``mailhaul.toml``, as pydantic checks them.

The description of a field completes "expected …" where its value is wrong.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf

from ...groups.assignment import Several, Ungrouped
from ...groups.definitions import SAFE_NAME
from ...groups.expressions import compile_expression
from ...groups.selection import check_pattern
from ...proto.errors import ConfigError
from ..settings import Codec, EngineName, check_path, check_template
from ..window import Window

_PORT = r"(?:[1-9][0-9]{0,4})"
_DURATION = re.compile(r"([0-9]{1,6}) ?(s|m|h|d|seconds?|minutes?|hours?|days?)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([kmgt]i?b)", re.IGNORECASE)
_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12} | {
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip


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
    return float(int(found[1]) * _SECONDS[found[2][0]])


def _limit(text: object) -> float | str:
    if isinstance(text, str) and re.fullmatch(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", text):
        return text
    return _seconds(text)


def _mode(text: object) -> int:
    found = re.fullmatch(r"0?([0-7]{3})", text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("no mode")
    mode = int(found[1], 8)
    if mode & 0o600 != 0o600 or mode & 0o133:
        raise ValueError("no mode that lets others only read")
    return mode


def _window(text: object) -> Window:
    if not isinstance(text, str):
        raise ValueError("no text")
    return Window.parse(text)


def distinct(given: object) -> object:
    """A list of different names, as a tuple. Raises ValueError."""
    if isinstance(given, list) and len(set(map(str, given))) == len(given):
        return tuple(given)
    raise ValueError("no list of different names")


def _pattern(pattern: str) -> str:
    try:
        return check_pattern(pattern)
    except ConfigError as error:
        raise ValueError(error.message) from None


def _expression(expression: str) -> str:
    try:
        compile_expression(expression)
    except ConfigError as error:
        raise ValueError(error.message) from None
    return expression


def _command(words: object) -> object:
    if isinstance(words, str):
        words = shlex.split(words)
    return tuple(words) if isinstance(words, list) else words


def _devices(devices: object) -> object:
    return (devices,) if isinstance(devices, str) else distinct(devices)


def _program(words: object) -> object:
    if isinstance(words, list):
        return tuple(words)
    raise ValueError("it is no list: nothing is split, and no shell is started")


def _home_pattern(path: str) -> str:
    if any(level in ("", ".", "..") for level in path.split("/")):
        raise ValueError("no path in a home")
    return path


Text = Annotated[str, Field(pattern=r"^[^\x00]+$")]
Name = Annotated[str, Field(pattern=f"^{SAFE_NAME}$")]


_Address = Annotated[str, Field(pattern=rf"^tcp://(?:[0-9A-Za-z.-]+|\[[0-9A-Fa-f:.]+\]|\*):{_PORT}$")]
Seconds = Annotated[float, BeforeValidator(_seconds)]
_Pattern = Annotated[str, AfterValidator(_pattern)]
_HomePattern = Annotated[Text, AfterValidator(_home_pattern)]
_Expression = Annotated[str, AfterValidator(_expression)]
Count = Annotated[int, Field(ge=1)]
Names = Annotated[tuple[Name, ...], BeforeValidator(distinct)]
_Device = Annotated[str, Field(pattern=r"^/dev/tape/by-[a-z]+/[^/]+-nst$")]
Program = Annotated[tuple[Text, ...], BeforeValidator(_program), Field(min_length=1)]
_PROGRAM = "a program and its arguments, a list of strings such as ['prog', '--to', '{name}']"
Share = Annotated[float, Field(ge=0, le=1)]
SizeBytes = Annotated[int, BeforeValidator(_size_bytes)]


class Table(BaseModel):
    """A table of the file. None is a key that is not given."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def given(self) -> dict[str, Any]:
        """The keys that the file gives, so that every default stands once, in the record."""
        return {name: getattr(self, name) for name in self.model_fields_set}


def with_paths(path: Path, given: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Relative paths become what they are relative to the configuration file ``path``."""
    directory = path.absolute().parent
    return {key: directory / value if key in keys else value for key, value in given.items()}


class StagingTable(Table):
    path: Text = Field(description="a directory")
    host: Name | None = Field(default=None, description="the name of this host")
    listen: _Address | None = Field(default=None, description="an address such as 'tcp://0.0.0.0:7400'")
    address: _Address | None = Field(default=None, description="an address such as 'tcp://staging01:7400'")
    keys: Text | None = Field(default=None, description="a directory")
    reserve: Annotated[int, BeforeValidator(_size_bytes)] | None = Field(
        default=None, description="a size such as '2 GiB'"
    )
    wait_for_space: Seconds | None = Field(default=None, description="a time such as '90s' or '1h'")
    owner: Text | None = Field(default=None, description="the name of a user of this host")
    group: Text | None = Field(default=None, description="the name of a group of this host")
    mode: Annotated[int, BeforeValidator(_mode)] | None = Field(
        default=None, description="'0600', '0640' or '0644': what others may do, at most read"
    )
    same_device: bool | None = Field(default=None, description="true or false")


class PartitionTable(Table):
    name: Name | None = Field(
        default=None,
        description="at most 100 letters, digits, '.', '_', '-', beginning with a letter or digit",
    )
    host: Name | None = Field(default=None, description="the name of a host")
    hosts: Annotated[tuple[Name, ...], BeforeValidator(distinct), Field(min_length=1)] | None = Field(
        default=None, description="a list of the names of the hosts that share its storage"
    )
    format: Literal["maildir"] = Field(description="'maildir', the only format of this version")
    path: Annotated[Text, AfterValidator(check_path)] = Field(
        description="an absolute directory, with {user} where user names stand, and beside it, where wanted, "
        "{domain} and letters of both: {user[0]}, {user[0:2]}, {domain[0]}"
    )
    doveadm: Annotated[tuple[Text, ...], BeforeValidator(_command)] | None = Field(
        default=None, description="a command, as one string or as a list of strings"
    )
    accept: Annotated[tuple[Text, ...], BeforeValidator(distinct)] | None = Field(
        default=None, description="a list of paths such as 'shared-folders/*' or 'old/jane'"
    )
    uid_margin: Annotated[int, Field(ge=0, le=2**31)] | None = Field(
        default=None, description="a number of messages, at most 2147483648"
    )
    home: Annotated[Text, AfterValidator(check_template)] | None = Field(
        default=None, description="an absolute path with {user}, as that of the mailboxes"
    )
    control: Annotated[Text, AfterValidator(check_template)] | None = Field(
        default=None, description="an absolute path with {user}, as that of the mailboxes"
    )
    index: Annotated[Text, AfterValidator(check_template)] | None = Field(
        default=None, description="an absolute path with {user}, as that of the mailboxes"
    )
    also: Annotated[tuple[_HomePattern, ...], BeforeValidator(distinct)] | None = Field(
        default=None, description="a list of paths in a home, such as 'keys/*.pem' or 'dovecot-attributes'"
    )


class GroupsTable(Table):
    file: Text | None = Field(default=None, description="a file")
    several: Several | None = Field(default=None, description="'report', 'first-match' or 'error'")
    ungrouped: Ungrouped | None = Field(default=None, description="'user' or 'report'")
    largest_unit: Annotated[int, BeforeValidator(_size_bytes), Field(ge=2**20)] | None = Field(
        default=None, description="a size of at least 1 MiB, such as '20 GiB'"
    )
    off: Names | None = Field(default=None, description="a list of the names of groups")


class GroupExcludeTable(Table):
    folders: Annotated[tuple[_Pattern, ...], BeforeValidator(distinct)] = Field(
        description="a list of folder names such as 'Trash' or 'Archive/*'"
    )


class ExcludeTable(Table):
    folders: Annotated[tuple[_Pattern, ...], BeforeValidator(distinct)] | None = Field(
        default=None, description="a list of folder names such as 'Trash' or 'Archive/*'"
    )
    users: Annotated[tuple[_Expression, ...], BeforeValidator(distinct)] | None = Field(
        default=None, description="a list of regular expressions over user ids"
    )
    users_file: Text | None = Field(default=None, description="a file")
    group: dict[str, GroupExcludeTable] = Field(
        default={}, description="a table [exclude.group.NAME] for each group"
    )


class RulesTable(Table):
    last: Count | None = Field(default=None, description="a whole number from 1")
    daily: Count | None = Field(default=None, description="a whole number from 1")
    weekly: Count | None = Field(default=None, description="a whole number from 1")
    monthly: Count | None = Field(default=None, description="a whole number from 1")
    yearly: Count | None = Field(default=None, description="a whole number from 1")


class RetentionTable(RulesTable):
    compact_below: Share | None = Field(default=None, description="a number from 0 to 1")
    alarm_share: Share | None = Field(default=None, description="a number from 0 to 1")
    group: dict[str, RulesTable] = Field(
        default={}, description="a table [retention.group.NAME] for each group"
    )


class TlsTable(Table):
    cert: Text = Field(description="a file")
    key: Text = Field(description="a file")
    ca: Text = Field(description="a file")


class DispatchTable(Table):
    engine: EngineName | None = Field(default=None, description="'local' or 'ray'")
    workers_per_host: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None, description="a whole number from 1 to 1024"
    )
    window: Annotated[InstanceOf[Window], BeforeValidator(_window)] | None = Field(
        default=None, description="times of the day such as '22:00-06:00'"
    )
    address: Text | None = Field(default=None, description="'auto', or HOST:PORT of a Ray cluster")
    token_file: Text | None = Field(default=None, description="a file")
    tls: TlsTable | None = Field(default=None, description="a table with cert, key and ca")
    host_patience: Seconds | None = Field(default=None, description="a time such as '90s' or '10m'")


class LoadTable(Table):
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
    ramp: Seconds | None = Field(default=None, description="a time such as '5m'")


class EncryptionTable(Table):
    recipients: Annotated[tuple[Text, ...], BeforeValidator(distinct)] | None = Field(
        default=None, description="a list of files with public keys such as '/etc/mailhaul/ops.pub'"
    )
    required: bool | None = Field(default=None, description="true or false")
    erasable: bool | None = Field(default=None, description="true or false")
    check_every: Seconds | None = Field(default=None, description="a time such as '90d'")


class MetricsTable(Table):
    listen: Annotated[str, Field(pattern=rf"^(?:[0-9A-Za-z.-]+|\[[0-9A-Fa-f:.]+\]):{_PORT}$")] | None = Field(
        default=None, description="an address such as '127.0.0.1:9410'"
    )
    textfile: Text | None = Field(default=None, description="a file")


class LogTable(Table):
    file: Text | None = Field(default=None, description="a file")


_Limit = Annotated[float | str, BeforeValidator(_limit)]
Command = Annotated[tuple[Text, ...], BeforeValidator(_command), Field(min_length=1)]


class HookTable(Table):
    command: Command = Field(description="a list of strings: a program and its arguments")
    limit: _Limit | None = Field(default=None, description="a time such as '10m', or one of the day: '06:00'")


def _hook(given: object) -> object:
    return {"command": given} if isinstance(given, list) else given


_Hook = Annotated[HookTable, BeforeValidator(_hook)]
_HOOK = Field(default=None, description="a list of strings, or a table with command and limit")


class HooksTable(Table):
    limit: _Limit | None = Field(default=None, description="a time such as '10m', or one of the day: '06:00'")
    before_run: _Hook | None = _HOOK
    after_unit: _Hook | None = _HOOK
    after_run: _Hook | None = _HOOK
    before_sweep: _Hook | None = _HOOK
    after_sweep: _Hook | None = _HOOK
    before_restore: _Hook | None = _HOOK
    after_restore: _Hook | None = _HOOK
    volume_wanted: _Hook | None = _HOOK
    files_wanted: _Hook | None = _HOOK
    operation_died: _Hook | None = _HOOK


class ArchiveTable(Table):
    codec: Codec | None = Field(default=None, description="'lz4' or 'zstd'")
    level: Annotated[int, Field(ge=1, le=22)] | None = Field(
        default=None, description="a whole number from 1 to 22"
    )


class DestinationTable(Table):
    name: Name = Field(
        description="at most 100 letters, digits, '.', '_', '-', beginning with a letter or digit"
    )


class DirectoryTable(DestinationTable):
    kind: Literal["directory"]
    path: Text = Field(description="a directory")


class S3Table(DestinationTable):
    kind: Literal["s3"]
    bucket: Text = Field(description="the name of a bucket")
    endpoint: Annotated[str, Field(pattern=r"^https?://[^/\s]+/?$")] | None = Field(
        default=None, description="a URL such as 'https://s3.example.org'"
    )
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")] | None = Field(
        default=None, description="how the names of objects begin, such as 'site1/'"
    )
    region: Text | None = Field(default=None, description="the name of a region")
    credentials: Text | None = Field(default=None, description="a file")
    ca_file: Text | None = Field(default=None, description="a file")
    lock: Literal["governance", "compliance"] | None = Field(
        default=None, description="'governance' or 'compliance'"
    )
    lock_ahead: Annotated[float, BeforeValidator(_seconds), Field(ge=86400)] | None = Field(
        default=None, description="a time of a day at least, such as '30 days'"
    )
    legal_hold: bool | None = Field(default=None, description="true or false")
    storage_class: Text | None = Field(default=None, description="a storage class such as 'STANDARD_IA'")
    tags: dict[str, str] | None = Field(default=None, description="a table of texts")
    part_threads: Annotated[int, Field(ge=1, le=64)] | None = Field(
        default=None, description="a whole number from 1 to 64"
    )
    requests_per_second: Count | None = Field(default=None, description="a whole number from 1")
    thaw_days: Count | None = Field(default=None, description="a whole number from 1")
    thaw_tier: Literal["Bulk", "Standard", "Expedited"] | None = Field(
        default=None, description="'Bulk', 'Standard' or 'Expedited'"
    )
    capacity: Annotated[int, BeforeValidator(_size_bytes), Field(ge=2**20)] | None = Field(
        default=None, description="a size of at least 1 MiB, such as '50 TB'"
    )


class TapeTable(DestinationTable):
    kind: Literal["tape"]
    file: Text | None = Field(default=None, description="a directory of volumes that are files")
    device: Annotated[tuple[_Device, ...], BeforeValidator(_devices), Field(min_length=1)] | None = Field(
        default=None,
        description="a drive that does not rewind, such as '/dev/tape/by-id/...-nst', or a list of them",
    )
    changer: Text | None = Field(default=None, description="a device such as '/dev/tape/by-id/...-changer'")
    pool: Name | None = Field(default=None, description="the name of a pool of volumes")
    allocation: Literal["full", "day", "week"] | None = Field(
        default=None, description="'full', 'day' or 'week'"
    )
    record: Annotated[int, BeforeValidator(_size_bytes), Field(ge=10_240, le=8 << 20)] | None = Field(
        default=None, description="a size from 10240 bytes to 8 MiB, such as '256 KiB'"
    )
    capacity: Annotated[int, BeforeValidator(_size_bytes), Field(ge=2**20)] | None = Field(
        default=None, description="a size of at least 1 MiB, such as '100 GB'"
    )
    reuse_after: Seconds | None = Field(default=None, description="a time such as '30 days'")
    label_blanks: bool | None = Field(default=None, description="true or false")
    load_time: Seconds | None = Field(default=None, description="a time such as '2h'")
    buffer: Annotated[int, BeforeValidator(_size_bytes), Field(ge=2**20, le=2**30)] | None = Field(
        default=None, description="a size from 1 MiB to 1 GiB, such as '32 MiB'"
    )


class CommandTable(DestinationTable):
    kind: Literal["command"]
    put: Program = Field(description=_PROGRAM)
    get: Program = Field(description=_PROGRAM)
    stat: Program | None = Field(default=None, description=_PROGRAM)
    list: Program | None = Field(default=None, description=_PROGRAM)
    remove: Program | None = Field(default=None, description=_PROGRAM)
    time_limit: Seconds | None = Field(default=None, description="a time such as '90s' or '6h'")
    capacity: Annotated[int, BeforeValidator(_size_bytes), Field(ge=2**20)] | None = Field(
        default=None, description="a size of at least 1 MiB, such as '50 TB'"
    )


class SweepRulesTable(Table):
    copies: Names | None = Field(default=None, description="a list of the names of destinations")
    after: Seconds | None = Field(default=None, description="a time such as '2h' or '1 day'")
    keep_staged: Seconds | None = Field(default=None, description="a time such as '12h' or '7 days'")
    keep_newest: bool | None = Field(default=None, description="true or false")


class SweepTable(SweepRulesTable):
    streams: Annotated[int, Field(ge=1, le=256)] | None = Field(
        default=None, description="a whole number from 1 to 256"
    )
    bytes_per_second: Annotated[int, BeforeValidator(_rate), Field(ge=1)] | None = Field(
        default=None, description="a size such as '50 MB'"
    )
    requests_per_second: Count | None = Field(default=None, description="a whole number from 1")
    look_again: Seconds | None = Field(default=None, description="a time such as '1h' or '1 day'")
    group: dict[str, SweepRulesTable] = Field(
        default={}, description="a table [sweep.group.NAME] for each group"
    )
