"""What can be set of ``mailhaul serve``."""

from __future__ import annotations

from pathlib import Path

from ...proto.structs import Record, field
from ..web.settings import PageConfig


class ServeConfig(Record, kw_only=True):
    """An operation that was asked to stop has ``stop_grace_seconds`` to do so in order; then it is killed.
    ``page`` is where people look at it. The ``trusted_hosts`` are those whose keys may ask for any operation,
    and see all of them. ``identities`` are files of private keys with which the page and operations open
    encrypted archives, ``passphrase_files`` those of their passphrases."""

    stop_grace_seconds: float = 300.0
    trusted_hosts: tuple[str, ...] = ()
    identities: tuple[Path, ...] = ()
    passphrase_files: tuple[Path, ...] = ()
    page: PageConfig = field(default_factory=PageConfig)
