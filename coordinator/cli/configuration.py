"""Where the configuration of a command comes from: a file that is named or found, or options."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from ...proto.errors import ConfigError, UsageError
from ...proto.records import Partition
from ...proto.structs import Record, replace
from ...worker.destinations.settings import Destination
from ..settings import Config, DispatchConfig, StagingConfig
from .program import Invocation

PLACES = (Path("mailhaul.toml"), Path("/etc/mailhaul/mailhaul.toml"))
"""Where a configuration is looked for, in this order."""

NO_STAGING = Path(os.devnull)
"""The staging area of commands that need none: nothing can be written or found below it."""


_MOST_DEFAULT_WORKERS = 16


def default_workers() -> int:
    """Without a configuration: at most one for each processor that this process may use, and no more than
    sixteen."""
    return min(len(os.sched_getaffinity(0)), _MOST_DEFAULT_WORKERS)


def configured(invocation: Invocation) -> Config:
    """The configuration from the file that was named, or else from the first that is found.

    Raises ConfigError for a wrong one, UsageError if there is none.
    """
    for place in (invocation.config,) if invocation.config else PLACES:
        if invocation.config or place.exists():
            from ..config import load  # costs 0.1 s, and not every command has a configuration

            invocation.loaded = load(place)
            return invocation.loaded
    raise UsageError(
        f"there is no configuration: neither {' nor '.join(map(str, PLACES))} exists; name one with "
        "--config FILE, write one with `mailhaul init`, or say --staging DIR (for a backup also --store)"
    )


def found_configuration(invocation: Invocation) -> Path | None:
    """The file that ``configured`` reads, wherever it is read from later."""
    named = (invocation.config,) if invocation.config else PLACES
    return next((Path(os.path.abspath(path)) for path in named if path.exists()), invocation.config)


def described(store: Partition, staging: Path | None) -> Config:
    """The configuration that options describe: one partition, everybody in the group ``user``."""
    return Config(
        staging=StagingConfig(
            path=staging or NO_STAGING, reserve_bytes=0, patience_seconds=0, same_device=True
        ),
        partitions=(store,),
        dispatch=DispatchConfig(workers_per_host=default_workers()),
    )


def recorded(staging: Path, run: str) -> Config:
    """The configuration of a run that was begun with options, as the catalog has it. Raises UsageError for
    one that was begun with a configuration over several hosts, NotFoundError."""
    from ..catalog import Catalog  # costs 0.1 s, and is asked here alone

    with Catalog.open(staging) as catalog:
        stores = catalog.stores(catalog.resolve_time(run))
    if not stores or any(store.hosts != ("localhost",) for store in stores):
        raise UsageError(f"run {run} was begun with a configuration: resume it with that, without --staging")
    return replace(described(stores[0], staging), partitions=stores)


def resume_command(config: Path | None, staging: Path | None, run: str) -> str:
    """The command that goes on with a run that was begun with such options."""
    words = ["mailhaul", *(["--config", str(config)] if config else []), "backup", "--resume", run]
    return shlex.join([*words, *(["--staging", str(staging)] if staging else [])])


def restore_command(config: Path | None, staging: Path | None, restore: str, option: str = "--resume") -> str:
    """The command that goes on with a restore that was begun with such options."""
    words = ["mailhaul", *(["--config", str(config)] if config else []), "restore", option, restore]
    return shlex.join([*words, *(["--staging", str(staging)] if staging else [])])


class Site(Record, kw_only=True):
    """A staging area, and the destinations that its archives go to."""

    area: Path
    destinations: tuple[Destination, ...] = ()


def chosen_site(invocation: Invocation, staging: Path | None, named: Sequence[Destination] = ()) -> Site:
    """The staging area and the destinations of the configuration, or those that options name. Raises
    ConfigError, UsageError."""
    if staging is None:
        if named:
            raise UsageError("--destination stands beside --staging: a configuration names its destinations")
        config = configured(invocation)
        return Site(area=config.staging.path, destinations=config.destinations)
    return Site(area=staging_area(invocation, staging), destinations=tuple(named))


def staging_area(invocation: Invocation, staging: Path | None) -> Path:
    """The staging area that an option or else the configuration names. Raises ConfigError, UsageError."""
    if staging is None:
        return configured(invocation).staging.path
    if invocation.config is not None:
        raise UsageError("--staging stands instead of a configuration: leave out --config or --staging")
    if not staging.is_dir():
        raise ConfigError(f"--staging {staging}: there is no such directory", path=str(staging))
    return staging
