"""Where a staging area is, as every worker needs to know it: a directory on one host, for the others
reached through its receiver."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ...proto.errors import StagingError
from ...proto.keys.records import NO_KEYS, Keyring, Sealing
from ...proto.ports import ArchiveSink
from ...proto.records import STAGING
from ...proto.structs import Record, replace

if TYPE_CHECKING:
    # Who only tells others of an area need not know how archives are read and written.
    from ..archives.ports import Source


class ReceiverAddress(Record, kw_only=True):
    """How workers on other hosts reach the receiver of a staging area.

    ``endpoint`` is a ZeroMQ one (``tcp://staging:7400``), ``server_key`` the public key that it must have
    (z85). ``keys`` is the directory, on each host, that holds the host's own pair: ``HOST.key_secret``.
    """

    endpoint: str
    server_key: str
    keys: str


class StagingArea(Record, kw_only=True):
    """A staging area. ``path`` is its directory on ``host``; ``receiver`` is None where nobody else uses it.

    At least ``reserve_bytes`` of its file system stay free. A writer waits up to ``patience_seconds`` for
    room, and a worker that did not hear from the receiver for ``lease_seconds`` stops. ``keys`` open the
    structure of what lies there; with the ``sealing`` new archives are encrypted, with the ``resealing``
    those that are and are written anew. All three leave
    ``host`` in sealed tasks only.
    """

    path: str
    host: str = ""
    receiver: ReceiverAddress | None = None
    reserve_bytes: int = 0
    patience_seconds: float = 0.0
    lease_seconds: float = 30.0
    keys: Keyring = NO_KEYS
    sealing: Sealing | None = None
    resealing: Sealing | None = None

    def for_mailboxes(self, partition: str, users: Iterable[str]) -> StagingArea:
        """The same for who backs up these mailboxes, and has no business with the secrets of others."""
        if self.sealing is None:
            return self
        sealing = self.sealing.only((partition, user) for user in users)
        return replace(
            self,
            keys=self.keys.only((sealing.mailboxes or {}).values()),
            sealing=sealing,
            resealing=None,
        )

    def to_read(self, mailboxes: Iterable[tuple[str, str]]) -> StagingArea:
        """The same for who reads what is stored of these mailboxes (partition and user), and writes nothing:
        a host has no business with the secrets of others."""
        keys = self.keys
        if self.sealing is not None and self.sealing.mailboxes is not None:
            only = self.sealing.only(mailboxes).mailboxes or {}
            keys = replace(keys.only(only.values()), erased=keys.erased)
        return replace(self, keys=keys, sealing=None, resealing=None)

    def to_keep_before(self, partition: str, users: Iterable[str]) -> StagingArea:
        """The same for who keeps how these mailboxes are before a restore. That lies here only, and goes with
        an erasure: so it takes no secrets, which who has never been backed up has not got."""
        area = self.for_mailboxes(partition, users)
        if area.sealing is None:
            return area
        return replace(area, sealing=replace(area.sealing, mailboxes=None))


def open_sink(
    area: StagingArea,
    name: str,
    host: str,
    epoch: int,
    grant: bytes,
    on_wait: Callable[[str], object] = lambda _waiting: None,
    keys: Keyring = NO_KEYS,
) -> ArchiveSink:
    """Where the attempt with this epoch, on this host (empty: that of the area), writes the archive ``name``.

    ``on_wait`` is called with what the sink waits for, and with "" when it goes on; ``keys`` open what an
    earlier attempt left. Raises AccessError if the
    host has no key for the receiver, StagingError if there is no receiver.
    """
    path = Path(area.path, name)
    if _is_here(area, host):
        from .sinks import StagedFile
        from .space import Space

        return StagedFile(
            path,
            epoch=epoch,
            space=Space(Path(area.path), area.reserve_bytes),
            patience_seconds=area.patience_seconds,
            on_wait=on_wait,
            keys=keys,
        )
    from .links import SharedConnection  # workers beside the area do without ZeroMQ
    from .remote import RemoteSink

    share = SharedConnection(_receiver(area, host), host, area.lease_seconds)
    return RemoteSink(
        share.connection, name, grant, str(path), on_wait=on_wait, on_close=share.close, keys=keys
    )


def open_area(area: StagingArea, host: str, grant: bytes) -> Source:
    """The archives of a staging area, as this host reads them (empty: that of the area). Of one on another
    host ``open`` also raises AccessError, StagingError and LeaseLostError, which say nothing of the
    archive."""
    if _is_here(area, host):
        from ..archives.places import FolderSource

        return FolderSource(STAGING, area.path)
    from .links import SharedConnection
    from .remote import ReceiverSource

    share = SharedConnection(_receiver(area, host), host, area.lease_seconds)
    return ReceiverSource(share.connection, grant, area.path, share.close)


def _is_here(area: StagingArea, host: str) -> bool:
    return host in ("", area.host)


def _receiver(area: StagingArea, host: str) -> ReceiverAddress:
    if area.receiver is None:
        raise StagingError(f"{host} can't reach the staging area on {area.host}: it has no receiver")
    return area.receiver
