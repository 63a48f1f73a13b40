"""What can be set of the governor: frozen records, as ``coordinator.settings`` has them for the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from ...proto.structs import Record, field
from .effort import Rules


class ProbeAccount(Record, kw_only=True):
    """Whose eyes the server is looked at with: ``server`` (``imap://``, ``imaps://``), a user, the file
    (mode 0600) with the password, and the authorities that may certify the server, if not those of the
    system."""

    server: str
    user: str
    password_file: str
    ca_file: str = ""


class HostRules(Record, kw_only=True):
    """How the work on a mail host minds its users. ``window_seconds`` is how far back the 95th percentile
    goes that is shown."""

    host: str
    probe: ProbeAccount
    rules: Rules
    window_seconds: float = 60.0


class GovernorConfig(Record, kw_only=True):
    """The hosts that are governed, by name. ``name`` is what workers know their governor by; empty where no
    host is."""

    name: str = ""
    hosts: Mapping[str, HostRules] = field(default_factory=dict)


def governor_name(staging: Path) -> str:
    """The name of the governor of a staging area: another one on the same host is not meant by it."""
    return hashlib.blake2s(bytes(staging), digest_size=6).hexdigest()
