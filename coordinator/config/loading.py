"""From ``mailhaul.toml`` to frozen records: every table of the file becomes what ``settings`` has for it."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic import ValidationError

from ...groups.assignment import GroupRules
from ...groups.definitions import GroupDefinition, parse_definitions
from ...groups.expressions import compile_expression
from ...proto.errors import ConfigError
from ...proto.records import Partition, Renumbering
from ...worker.load import LoadLimits
from ..retention import RetentionRules
from ..settings import (
    ArchiveConfig,
    Config,
    DispatchConfig,
    EncryptionConfig,
    ExcludeConfig,
    GroupsConfig,
    HookConfig,
    LogConfig,
    MetricsConfig,
    RetentionConfig,
    StagingConfig,
    TlsConfig,
)
from ..users_file import read_users
from .destinations import destinations, sweep
from .drill import drill
from .governing import governing
from .notices import notices
from .problems import check_names, config_error, wrong_value
from .root import Root
from .schedule import schedule
from .serving import serving
from .tables import (
    ArchiveTable,
    DispatchTable,
    EncryptionTable,
    ExcludeTable,
    GroupsTable,
    HooksTable,
    HookTable,
    LoadTable,
    PartitionTable,
    RetentionTable,
    StagingTable,
    with_paths,
)


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
        root = Root.model_validate(keys)
    except ValidationError as error:
        raise config_error(path, error.errors(include_url=False)) from None
    groups = _groups(path, root.groups)
    names = groups.rules.names()
    staging = _staging(path, root.staging)
    places = destinations(path, root.destination, staging.path)
    partitions = _partitions(path, root.partition)
    dispatch = _dispatch(path, root.dispatch)
    hosts = {host for partition in partitions for host in partition.hosts} | {staging.host}
    governor = governing(path, root.governor, staging.path, hosts, one=dispatch.engine == "local")
    config = Config(
        staging=staging,
        partitions=partitions,
        groups=groups,
        exclude=_exclude(path, root.exclude, names),
        retention=_retention(path, root.retention, names),
        dispatch=dispatch,
        load=_load(root.load, governor.name),
        governor=governor,
        archive=_archive(path, root.archive),
        encryption=_encryption(path, root.encryption),
        metrics=MetricsConfig(**with_paths(path, root.metrics.given(), "textfile")),
        hooks=_hooks(root.hooks),
        log=LogConfig(**with_paths(path, root.log.given(), "file")),
        destinations=places,
        sweep=sweep(path, root.sweep, names, [place.name for place in places]),
        schedule=schedule(
            path,
            root.schedule,
            [definition.name for definition in groups.rules.definitions],
            [one.name for one in places],
        ),
        serve=serving(path, root.serve),
        notices=notices(path, root.notices),
        drill=drill(path, root.drill, [one.name for one in places]),
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


def _staging(path: Path, table: StagingTable) -> StagingConfig:
    given = with_paths(path, table.given(), "path", "keys")
    names = {"reserve": "reserve_bytes", "wait_for_space": "patience_seconds"}
    return StagingConfig(**{names.get(key, key): value for key, value in given.items()})


def _dispatch(path: Path, table: DispatchTable) -> DispatchConfig:
    given = with_paths(path, table.given(), "token_file")
    if host_patience := given.pop("host_patience", None):
        given["host_patience_seconds"] = host_patience
    if tls := given.pop("tls", None):
        given["tls"] = TlsConfig(**with_paths(path, tls.given(), "cert", "key", "ca"))
    return DispatchConfig(**given)


def _load(table: LoadTable, governor: str) -> LoadLimits:
    names = {"ramp": "ramp_seconds"}
    given = {names.get(key, key): value for key, value in table.given().items()}
    return LoadLimits(**given, governor=governor)


def _check_hosts(path: Path, config: Config) -> None:
    """What must be there so that workers on other hosts find the staging area."""
    hosts = {host for partition in config.partitions for host in partition.hosts}
    if config.dispatch.engine == "local":
        if len((hosts | {config.staging.host}) - {"localhost"}) > 1:
            expected = f"'ray', as there are several hosts: {', '.join(sorted(hosts))}"
            raise wrong_value(path, "dispatch.engine", "local", expected)
        return
    for key in ("listen", "address"):
        if hosts != {config.staging.host} and not getattr(config.staging, key):
            raise ConfigError(
                f"{path}: staging.{key} is missing: expected a ZeroMQ address such as "
                "'tcp://staging01:7400', as partitions lie on other hosts than staging.host",
                file=str(path),
                keys=[f"staging.{key}"],
            )


def _partitions(path: Path, tables: Sequence[PartitionTable]) -> tuple[Partition, ...]:
    partitions = tuple(_partition(path, index, table) for index, table in enumerate(tables))
    names = [partition.name for partition in partitions]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise wrong_value(path, f"partition[{index}].name", name, "a name that no other partition has")
    return partitions


def _partition(path: Path, index: int, table: PartitionTable) -> Partition:
    given = {"name": "primary"} | table.given()
    if "host" in given:
        if "hosts" in given:
            expected = "host or hosts, not both"
            raise wrong_value(path, f"partition[{index}].hosts", given["hosts"], expected)
        given["hosts"] = (given.pop("host"),)
    if "uid_margin" in given:
        given["renumbering"] = Renumbering(uid_margin=given.pop("uid_margin"))
    return Partition(**given)


def _groups(path: Path, table: GroupsTable) -> GroupsConfig:
    given = table.given()
    limits = {"largest_unit_bytes": given.pop("largest_unit")} if "largest_unit" in given else {}
    definitions: tuple[GroupDefinition, ...] = ()
    if name := given.pop("file", None):
        file = path.absolute().parent / name
        definitions = parse_definitions(_read(file, f"{path}: groups.file = {name!r}"), str(file))
    off = given.pop("off", None) or ()
    check_names(path, "groups.off", off, [definition.name for definition in definitions])
    return GroupsConfig(rules=GroupRules(definitions=definitions, **given), off=frozenset(off), **limits)


def _exclude(path: Path, table: ExcludeTable, groups: Collection[str]) -> ExcludeConfig:
    given = table.given()
    given["users"] = tuple(map(compile_expression, given.get("users") or ()))
    if name := given.pop("users_file", None):
        given["listed_users"] = read_users(path.absolute().parent / name).users
    named = given.pop("group", {})
    check_names(path, "exclude.group", named, groups)
    return ExcludeConfig(group_folders={group: found.folders for group, found in named.items()}, **given)


def _retention(path: Path, table: RetentionTable, groups: Collection[str]) -> RetentionConfig:
    given = table.given()
    named = given.pop("group", {})
    check_names(path, "retention.group", named, groups)
    shares = {key: given.pop(key) for key in ("compact_below", "alarm_share") if key in given}
    return RetentionConfig(
        rules=RetentionRules(**given),
        groups={group: RetentionRules(**rules.given()) for group, rules in named.items()},
        **shares,
    )


def _archive(path: Path, table: ArchiveTable) -> ArchiveConfig:
    if table.level is not None and table.codec != "zstd":
        raise wrong_value(path, "archive.level", table.level, "no level without codec = 'zstd'")
    return ArchiveConfig(**table.given())


def _encryption(path: Path, table: EncryptionTable) -> EncryptionConfig:
    given = table.given()
    directory = path.absolute().parent
    files = tuple(directory / one for one in given.pop("recipients", None) or ())
    if (check_every := given.pop("check_every", None)) is not None:
        given["check_every_seconds"] = check_every
    config = EncryptionConfig(recipients=files, **given)
    if config.erasable and not files:
        raise ConfigError(
            f"{path}: encryption.erasable is true, and encryption.recipients is missing: only what is "
            "encrypted can be erased by destroying a key",
            file=str(path),
            keys=["encryption.recipients"],
        )
    if config.required and not files:
        raise ConfigError(
            f"{path}: encryption.required is true, and encryption.recipients is missing: expected a list "
            "of files with public keys",
            file=str(path),
            keys=["encryption.recipients"],
        )
    return config


def _hooks(table: HooksTable) -> dict[str, HookConfig]:
    given = table.given()
    limit = given.pop("limit", None)
    return {name: _hook(one, limit) for name, one in given.items() if one is not None}


def _hook(table: HookTable, default: float | str | None) -> HookConfig:
    limit = default if table.limit is None else table.limit
    if limit is None:
        return HookConfig(command=table.command)
    if isinstance(limit, float):
        return HookConfig(command=table.command, limit_seconds=limit)
    hours, _, minutes = limit.partition(":")
    return HookConfig(command=table.command, until=int(hours) * 60 + int(minutes))
