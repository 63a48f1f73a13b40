"""What the pages are made from, handed to each of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from ...proto.errors import UsageError
from ...proto.ports import Clock
from ...proto.structs import Record, field
from ..clock import utc
from ..people.accounts import Accounts
from ..people.attempts import Attempts
from ..people.audit import AuditLog
from ..people.devices import Devices
from ..people.flood import Flood
from ..people.keys_of_entry import EntryKey
from ..people.sessions import Sessions
from ..people.signing import Signer
from ..service.operations import Operations
from ..service.records import Kind
from ..serving.private_keys import PrivateKeys
from ..settings import Config
from .plans import Plans
from .reasons import Reasons
from .ways import Ways

Admits = Callable[[Kind, Sequence[str]], tuple[str, ...]]
"""The arguments that an operation gets which is asked for on the page. Raises UsageError for what it may not
be given."""


def _admit_nothing(kind: Kind, _arguments: Sequence[str]) -> tuple[str, ...]:
    raise UsageError(f"no {kind} can be asked for here")


_MESSAGES_AT_ONCE = 2
"""Messages that are in memory as a whole at the same time, each of up to 32 MB and what is made of it."""


class Site(Record, kw_only=True):
    """A staging area with all that is configured for it, and who may see it.

    ``config_file`` is where the configuration was read from; ``entry`` lets a browser of this host in, once.
    ``keys`` are the private ones for encrypted mail. ``admits`` checks the operations that are asked for;
    ``zone`` is that of the schedule. ``readers`` is held by who has a whole message in memory. ``on_error``
    gets what nobody expected, with the number under which the page has told of it; it must not raise.
    """

    config: Config
    config_file: Path | None = None
    clock: Clock
    accounts: Accounts
    sessions: Sessions
    devices: Devices
    attempts: Attempts
    flood: Flood
    audit: AuditLog
    operations: Operations
    ways: Ways = field(default_factory=Ways)
    entry: EntryKey | None = None
    reasons: Reasons = field(default_factory=Reasons)
    plans: Plans = field(default_factory=Plans)
    keys: PrivateKeys
    readers: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_MESSAGES_AT_ONCE))
    admits: Admits = _admit_nothing
    zone: tzinfo = UTC
    on_error: Callable[[BaseException, str], None] = lambda _error, _number: None

    @property
    def staging(self) -> Path:
        """The staging area."""
        return self.config.staging.path

    def now(self) -> datetime:
        """The time, aware, UTC."""
        return utc(self.clock.now())


def site_of(
    config: Config,
    clock: Clock,
    *,
    config_file: Path | None = None,
    keys: PrivateKeys | None = None,
    ways: Ways | None = None,
    admits: Admits = _admit_nothing,
    zone: tzinfo = UTC,
    on_error: Callable[[BaseException, str], None] = lambda _error, _number: None,
) -> Site:
    """A site with the files of its staging area; those that are missing are made. Raises StagingError,
    DamagedError."""
    staging = config.staging.path
    signer = Signer.of(staging)
    return Site(
        config=config,
        config_file=config_file,
        clock=clock,
        accounts=Accounts(staging),
        sessions=Sessions(staging, signer, clock),
        devices=Devices(signer, clock),
        attempts=Attempts(clock),
        flood=Flood(clock),
        audit=AuditLog(staging),
        operations=Operations(staging),
        ways=ways or Ways(),
        keys=keys or PrivateKeys(clock),
        admits=admits,
        zone=zone,
        on_error=on_error,
    )
