"""Options and arguments that several commands share, and how their values are read."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ...groups.paths import LogicalPath
from ...proto.errors import UsageError
from ...proto.records import Partition
from ...worker.destinations.settings import DirectoryDestination
from ...worker.stores.address import FORMATS as SERVER_FORMATS
from ...worker.stores.address import parse_address
from ...worker.stores.registry import target_formats
from ..places import PARTITION, names_partition
from ..settings import check_path, check_template
from .program import Invocation
from .times import MOMENT, from_now, here


def identity_options(command: Any) -> Any:
    """Where the private keys are that open archives: ``identities`` and ``passphrase_files``."""
    file = click.Path(path_type=Path, dir_okay=False)
    identity = click.option(
        "--identity",
        "identities",
        type=file,
        multiple=True,
        metavar="FILE",
        help="A private key that opens encrypted archives (repeatable).",
    )
    passphrase = click.option(
        "--passphrase-file",
        "passphrase_files",
        type=file,
        multiple=True,
        metavar="FILE",
        help="Its first line is the passphrase of the private keys; or there is one file for each "
        "--identity, in that order.",
    )
    return identity(passphrase(command))


FORMATS = ("maildir",)
"""What is backed up."""

_RESERVED = frozenset(("cur", "new", "tmp"))  # directories of every Maildir

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

STDIO = "-"
"""As a file: the standard input or output."""


class _LogicalPathType(click.ParamType[LogicalPath]):
    name = "path"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> LogicalPath:
        return value if isinstance(value, LogicalPath) else LogicalPath.parse(value)


_ELSEWHERE = re.compile(r":(CONTROL|INDEX|HOME)=")


def _template(path: str) -> str:
    check_template(path.replace(PARTITION, "partition"))
    return path


class _PlaceType(click.ParamType[Partition]):
    """``FORMAT:DIR``, as a partition; DIR becomes absolute. What lies elsewhere may follow, as a
    ``mail_location`` of Dovecot has it: ``:CONTROL=TEMPLATE``, ``:INDEX=TEMPLATE``, ``:HOME=TEMPLATE``."""

    name = "place"

    def __init__(self, formats: Sequence[str], *, servers: bool = False) -> None:
        self._formats = formats
        self._servers = servers

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Partition:
        if isinstance(value, Partition):
            return value
        if self._servers and value.partition("://")[0] in SERVER_FORMATS:
            return self._server(value, param, ctx)
        format_, colon, rest = value.partition(":")
        directory, *elsewhere = _ELSEWHERE.split(rest)
        if format_ not in self._formats or not colon or not directory:
            formats = ", ".join(self._formats)
            if colon and directory:
                self.fail(f"{value!r}: there is no format {format_!r}; there is: {formats}", param, ctx)
            self.fail(
                f"{value!r} is no FORMAT:DIR, as maildir:/srv/mail is; FORMAT is one of: {formats}",
                param,
                ctx,
            )
        if value == f"tar:{STDIO}":
            return Partition(name="primary", format=format_, path=STDIO)
        if elsewhere and format_ != "maildir":
            self.fail(f"{value!r}: only Maildirs have something of theirs elsewhere", param, ctx)
        try:
            # The shell leaves the ~ of maildir:~/Maildir alone.
            path = os.path.abspath(os.path.expanduser(directory))
            check_path(path.replace(PARTITION, "partition"))
            apart = {
                key.lower(): _template(os.path.abspath(template))
                for key, template in zip(elsewhere[::2], elsewhere[1::2], strict=True)
            }
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)
        home, control, index = (apart.get(key, "") for key in ("home", "control", "index"))
        return Partition(name="primary", format=format_, path=path, home=home, control=control, index=index)

    def _server(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Partition:
        try:
            parse_address(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)
        return Partition(name="primary", format=SERVER_FORMATS[value.partition("://")[0]], path=value)


class _SinceType(click.ParamType[float]):
    """A time from which on: a date means its first moment. In seconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if (when := from_now(value, here())) is not None:
            # From the first moment of a day on.
            day = when.replace(hour=0, minute=0, second=0, microsecond=0)
            return (when if value.startswith("-") else day).timestamp()
        try:
            when = datetime.fromisoformat(value)  # takes any sign between date and time
        except ValueError:
            self.fail(
                f"{value!r} is no time: expected an ISO date or time, YYYYMMDD:HHMMSS, yesterday, or -3d",
                param,
                ctx,
            )
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


class _DurationType(click.ParamType[float]):
    """A duration such as ``90s``, ``48h``, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9]{1,6})([smhd])", value)
        if found is None:
            self.fail(f"{value!r} is no duration such as 90s, 30m, 48h or 3d", param, ctx)
        return float(int(found[1]) * _SECONDS[found[2]])


class _DestinationType(click.ParamType[DirectoryDestination]):
    """``directory:DIR``, as a destination that is called so."""

    name = "destination"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> DirectoryDestination:
        if isinstance(value, DirectoryDestination):
            return value
        kind, colon, directory = value.partition(":")
        if kind != "directory" or not colon or not directory:
            self.fail(f"{value!r} is no directory:DIR; other kinds need a configuration", param, ctx)
        path = os.path.abspath(os.path.expanduser(directory))
        return DirectoryDestination(name=f"directory:{path}", path=path)


PATH = _LogicalPathType()
DURATION = _DurationType()
DESTINATION = _DestinationType()
PLACE = _PlaceType(FORMATS)
TARGET = _PlaceType(target_formats(), servers=True)
SINCE = _SinceType()


def _remember_json(ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
    ctx.ensure_object(Invocation).json = value
    return value


def _absolute(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Path | None:
    return Path(os.path.abspath(value)) if value else None


json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_remember_json, help="Print one JSON document."
)

at_option = click.option(
    "--at",
    type=MOMENT,
    metavar="T",
    help="As of this time: a run, latest, latest-good (the newest of which nothing bad is known), an ISO "
    "date or time (UTC, unless it says otherwise), yesterday, -3d (also h, m, w).",
)

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Write the files there. Default: the current directory.",
)

archives_option = click.option(
    "-f",
    "files",
    metavar="ARCHIVE",
    multiple=True,
    help="Use this archive file and no catalog; may be repeated. - reads the standard input.",
)

staging_option = click.option(
    "--staging",
    metavar="DIR",
    callback=_absolute,
    help="The staging area, instead of a configuration.",
)

destination_option = click.option(
    "--destination",
    "destinations",
    type=DESTINATION,
    multiple=True,
    metavar="directory:DIR",
    help="A directory that archives have gone to, beside --staging; may be repeated.",
)

from_option = click.option(
    "--from",
    "only",
    metavar="NAME",
    help="Read archives from this destination only. Default: from the nearest copy of each.",
)

host_option = click.option(
    "--host",
    metavar="NAME",
    help="All that lay on this host, at the time of --at, instead of a path.",
)


def _without_partition(
    _ctx: click.Context, _param: click.Parameter, value: Partition | None
) -> Partition | None:
    refuse(value is not None and names_partition(value), "--store is one partition: leave out {partition}")
    return value


store_option = click.option(
    "--store",
    type=PLACE,
    callback=_without_partition,
    metavar="FORMAT:DIR",
    help="The mail store, instead of a configuration: maildir:DIR, where DIR is searched for Maildirs, "
    "or says with {user} and {domain} where user names stand. What lies elsewhere may follow: "
    ":CONTROL=TEMPLATE, :INDEX=TEMPLATE, :HOME=TEMPLATE.",
)

workers_option = click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="At most so many worker processes: as many work as gain anything.",
)

metrics_option = click.option(
    "--metrics-listen",
    metavar="ADDRESS:PORT",
    help="Serve metrics for Prometheus here meanwhile. Default: metrics.listen of the configuration.",
)

log_option = click.option(
    "--log",
    "log_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Append events to FILE, a JSON object a line. Default: log.file of the configuration.",
)

path_argument = click.argument("path", type=PATH, default="/", metavar="[PATH]")


wait_option = click.option(
    "--wait",
    type=DURATION,
    default="48h",
    metavar="TIME",
    help="How long to wait for archives that have to be made ready first: out of cold storage, or on a tape "
    "that somebody has to bring. Default: 48h.",
)


def given(context: click.Context) -> frozenset[str]:
    """The parameters that the command line gives, by their names."""
    source = context.get_parameter_source
    return frozenset(name for name in context.params if source(name) is ParameterSource.COMMANDLINE)


def refuse(condition: bool, message: str) -> None:
    """Raise UsageError where options contradict each other."""
    if condition:
        raise UsageError(message)


def checked_folder(into: str | None) -> str | None:
    """The folder that --into names, as a logical path would name it. Raises UsageError."""
    if into is None:
        return None
    folder = LogicalPath.parse(f"/p/g/u/{into}/").folder or ""
    refuse(
        not _RESERVED.isdisjoint(folder.split("/")),
        f"--into {into}: no level of a folder's name can be {' or '.join(sorted(_RESERVED))}",
    )
    return folder
