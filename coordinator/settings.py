"""What can be set: frozen records that are handed down, whether they come from a file or from flags.

Owns the defaults. How the file is read and checked is ``config``'s business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from ..groups.assignment import GroupRules
from ..groups.expressions import Expression
from ..proto.records import Partition
from ..proto.structs import Record, field
from ..worker.destinations.settings import Destination
from ..worker.load import LoadLimits
from .drills.settings import DrillConfig
from .governing.settings import GovernorConfig
from .notices.settings import NoticesConfig
from .retention import RetentionRules
from .scheduling.settings import ScheduleConfig
from .serving.settings import ServeConfig
from .window import Window

Codec = Literal["lz4", "zstd"]
EngineName = Literal["local", "ray"]

_PLACEHOLDER = re.compile(r"\{(?:user|domain)(?:\[[0-9]+(?::[0-9]+)?\])?\}")


class GroupsConfig(Record, kw_only=True):
    """Who is backed up together. A group is split so that its shards hold about ``largest_unit_bytes``. The
    groups that are ``off`` are backed up only by runs that name them."""

    rules: GroupRules = field(default_factory=GroupRules)
    largest_unit_bytes: int = 20 * 2**30
    off: frozenset[str] = frozenset()


class ExcludeConfig(Record, kw_only=True):
    """What is left out unless a run names it: ``folders`` (patterns, see ``groups.selection``) of everybody
    and of single groups; users whose whole id matches an expression or is in ``listed_users``."""

    folders: tuple[str, ...] = ()
    group_folders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    users: tuple[Expression, ...] = ()
    listed_users: frozenset[str] = frozenset()

    def leaves_out(self, user: str) -> bool:
        """Whether a user is left out."""
        return user in self.listed_users or any(expression.matches(user) for expression in self.users)


class RetentionConfig(Record, kw_only=True):
    """Which runs stay restorable, and what makes the program suspicious.

    ``groups`` have rules of their own instead of ``rules``. An archive of which less than the share
    ``compact_below`` is needed is written anew. More than the share ``alarm_share`` of a mailbox, or of a
    partition's mailboxes, gone from one run to the next is an alarm.
    """

    rules: RetentionRules = field(default_factory=RetentionRules)
    groups: Mapping[str, RetentionRules] = field(default_factory=dict)
    compact_below: float = 0.5
    alarm_share: float = 0.5

    def of_group(self, group: str) -> RetentionRules:
        """The rules of a group."""
        return self.groups.get(group, self.rules)


class StagingConfig(Record, kw_only=True):
    """The staging area: an absolute ``path`` on this host, which the configuration calls ``host``.

    ``listen`` is where its receiver takes archives from workers on other hosts, ``address`` how they reach
    it, ``keys`` the directory of key files on every host. ``reserve_bytes`` of the file system stay free;
    a worker that finds no room waits for some for up to ``patience_seconds``. ``owner``, ``group`` (names, or
    numbers as text; empty: as it is written) and ``mode`` are what archives get when a run has ended. With
    ``same_device`` it is known to lie on the device of the mail, and nobody is warned of that.
    """

    path: Path
    host: str = "localhost"
    listen: str = ""
    address: str = ""
    keys: Path = Path("/etc/mailhaul/keys")
    reserve_bytes: int = 2**30
    patience_seconds: float = 3600.0
    owner: str = ""
    group: str = ""
    mode: int | None = None
    same_device: bool = False


class TlsConfig(Record, kw_only=True):
    """Files of a certificate, its key, and the authority that both sides' certificates come from."""

    cert: Path
    key: Path
    ca: Path


class DispatchConfig(Record, kw_only=True):
    """What runs units, when, and how many at a time on each host.

    ``address``, ``token_file`` and ``tls`` are those of the Ray cluster. The work on a host that is gone
    waits for it for ``host_patience_seconds``.
    """

    engine: EngineName = "local"
    workers_per_host: int = 8
    window: Window | None = None
    address: str = "auto"
    token_file: Path = Path("/etc/mailhaul/ray.token")
    tls: TlsConfig | None = None
    host_patience_seconds: float = 600.0


class ArchiveConfig(Record, kw_only=True):
    """How blocks are compressed. ``level`` is that of zstd; lz4 has none."""

    codec: Codec = "lz4"
    level: int = 3


CHECK_EVERY_SECONDS = 90 * 86_400.0


class EncryptionConfig(Record, kw_only=True):
    """For whom archives are encrypted: files of ``recipients``; without any they are not, which ``required``
    refuses. With ``erasable`` each mailbox has a secret of its own, which can be destroyed. The operator
    looks whether the private keys still open them every ``check_every_seconds``."""

    recipients: tuple[Path, ...] = ()
    required: bool = False
    erasable: bool = False
    check_every_seconds: float = CHECK_EVERY_SECONDS


class MetricsConfig(Record, kw_only=True):
    """Where metrics are to be had while a run goes on (``ADDRESS:PORT``), and the file that is written at
    its end; empty and None for nowhere."""

    listen: str = ""
    textfile: Path | None = None


class LogConfig(Record, kw_only=True):
    """The file that events are appended to, a JSON object a line; None for none."""

    file: Path | None = None


class HookConfig(Record, kw_only=True):
    """A program that is called, without a shell. It may take ``limit_seconds``, or ``until`` a time of the
    day (minutes since midnight) comes next."""

    command: tuple[str, ...]
    limit_seconds: float = 600.0
    until: int | None = None


class SweepRules(Record, kw_only=True):
    """Where the archives of a group go, and when.

    Each has a copy at every destination of ``copies`` (by name); without any it stays in the staging area
    only. It is swept when it was sealed ``after_seconds`` ago. Once it has its copies, and was sealed
    ``keep_staged_seconds`` ago, its staging space is freed (None: only when space is short); that of the
    newest run of a group stays for quick restores as long as there is space, if ``keep_newest``.
    """

    copies: tuple[str, ...] = ()
    after_seconds: float = 0.0
    keep_staged_seconds: float | None = None
    keep_newest: bool = True


class SweepConfig(Record, kw_only=True):
    """How archives leave the staging area. ``groups`` have rules of their own instead of ``rules``.

    So many ``streams`` run at the same time to each destination (None: what suits its kind), which all
    together keep to the limits (zero: there is none). A copy counts after a second look at it,
    ``look_again_seconds`` after it was made.
    """

    rules: SweepRules = field(default_factory=SweepRules)
    groups: Mapping[str, SweepRules] = field(default_factory=dict)
    streams: int | None = None
    bytes_per_second: int = 0
    requests_per_second: int = 0
    look_again_seconds: float = 3600.0

    def of_group(self, group: str) -> SweepRules:
        """The rules of a group."""
        return self.groups.get(group, self.rules)

    @property
    def places(self) -> frozenset[str]:
        """All that rules name."""
        return frozenset(place for rules in (self.rules, *self.groups.values()) for place in rules.copies)


class Config(Record, kw_only=True):
    """All that is configured."""

    staging: StagingConfig
    partitions: tuple[Partition, ...]
    groups: GroupsConfig = field(default_factory=GroupsConfig)
    exclude: ExcludeConfig = field(default_factory=ExcludeConfig)
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    dispatch: DispatchConfig = field(default_factory=DispatchConfig)
    load: LoadLimits = field(default_factory=LoadLimits)
    governor: GovernorConfig = field(default_factory=GovernorConfig)
    archive: ArchiveConfig = field(default_factory=ArchiveConfig)
    encryption: EncryptionConfig = field(default_factory=EncryptionConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    log: LogConfig = field(default_factory=LogConfig)
    hooks: Mapping[str, HookConfig] = field(default_factory=dict)
    destinations: tuple[Destination, ...] = ()
    sweep: SweepConfig = field(default_factory=SweepConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    notices: NoticesConfig = field(default_factory=NoticesConfig)
    drill: DrillConfig = field(default_factory=DrillConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)


def own_directory(staging: Path, destination: str) -> Path:
    """Where what has to be kept of a destination lies, by its name."""
    return destinations_directory(staging) / quote(destination, safe="")


def destinations_directory(staging: Path) -> Path:
    """Where the directories of all of them lie."""
    return staging / ".mailhaul" / "destinations"


def check_path(path: str) -> str:
    """Check the shape of a partition's path; how placeholders stand for users is known to the stores.

    Returns the path, or raises ValueError.
    """
    if not path.startswith("/"):
        raise ValueError("it is relative")
    rest = _PLACEHOLDER.sub("/", path)
    if stray := re.search(r"\{[^/{}]*\}?|\}", rest):
        raise ValueError(f"{stray[0]} is no placeholder")
    if rest != path and "{user}" not in path:
        raise ValueError("{user} is missing")
    return path


def check_template(path: str) -> str:
    """Check the shape of a path that says where something of each user lies. Returns it, or raises
    ValueError."""
    if "{user}" not in check_path(path):
        raise ValueError("{user} is missing")
    return path
