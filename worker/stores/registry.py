"""Which adapter reads and writes which format of mail store."""

from __future__ import annotations

from ...proto.errors import ConfigError
from ...proto.ports import MailStore, MailTarget
from ...proto.records import Partition
from .maildir import MaildirStore
from .maildir_target import MaildirTarget

_FORMATS = {"maildir": (MaildirStore, MaildirTarget)}


def open_store(partition: Partition) -> MailStore:
    """The mail store of a partition, for reading. Raises ConfigError for a format or a path that can't be."""
    store, _ = _adapters(partition)
    return store(partition.path, partition.doveadm)


def open_target(partition: Partition) -> MailTarget:
    """The mail store of a partition, for writing. Raises as ``open_store``."""
    _, target = _adapters(partition)
    return target(partition.path, partition.doveadm)


def _adapters(partition: Partition) -> tuple[type[MaildirStore], type[MaildirTarget]]:
    try:
        return _FORMATS[partition.format]
    except KeyError:
        known = ", ".join(sorted(_FORMATS))
        raise ConfigError(
            f"partition {partition.name!r}: no mail store has the format {partition.format!r}, but: {known}"
        ) from None
