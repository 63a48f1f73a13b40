"""Which adapter reads and writes which format of mail store, or of files that mail is restored to. Each is
loaded when it is wanted: who only reads needs nothing of what writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from ...proto.errors import ConfigError
from ...proto.ports import (
    Announcer,
    MailMender,
    MailRemover,
    MailStore,
    MailTarget,
    RecordKeeper,
    StateKeeper,
)
from ...proto.records import Partition, ServerAccess
from ...proto.structs import replace

if TYPE_CHECKING:
    from .maildir import MaildirStore
    from .maildir_target import MaildirTarget

_Opened = TypeVar("_Opened")


def open_store(partition: Partition) -> MailStore:
    """The mail store of a partition, for reading. Raises ConfigError for a format or a path that can't be."""
    return _opener(partition, _STORES)(partition)


def open_removal(partition: Partition, places: Mapping[str, bytes]) -> MailRemover:
    """The mail store of a partition, for taking back what was restored to it: the mailboxes of these users,
    where they are written (see ``MailTarget.open_mailbox``). Raises as ``open_store``."""
    if not can_be_undone(partition):
        raise ConfigError(f"partition {partition.name!r}: what is {partition.format} can't be taken back")
    return _maildir_store(replace(partition, doveadm=()), places)


def can_be_undone(target: Partition) -> bool:
    """Whether what is restored there can be taken back."""
    return target.format == "maildir"


def open_target(partition: Partition) -> MailTarget:
    """The mail store of a partition, for writing. Raises as ``open_store``. What its mailboxes have in common
    stays until ``end_restore``."""
    return _opener(partition, _TARGETS)(partition)


def end_restore(partition: Partition) -> None:
    """Remove what mailboxes of restores had in common in a target, unless one goes on. Raises StoreError."""
    if keeps_places(partition):
        from .maildir_target import end_restore

        end_restore(partition.path)


def open_mender(partition: Partition) -> MailMender:
    """The mail store of a partition, for putting content back in place. Raises as ``open_store``."""
    return _opener(partition, _MENDERS)(partition)


def open_state_keeper(partition: Partition) -> StateKeeper:
    """The mail store of a partition, for giving messages flags and places back. Raises as ``open_store``."""
    return _opener(partition, _STATE_KEEPERS)(partition)


def open_announcer(partition: Partition) -> Announcer:
    """The mail store of a partition, for a message in its mailboxes. Raises as ``open_store``."""
    return _opener(partition, _ANNOUNCERS)(partition)


def open_records(partition: Partition) -> RecordKeeper:
    """What the server of a partition has on record. Raises as ``open_store``."""
    return _opener(partition, _RECORDS)(partition)


def target_formats() -> tuple[str, ...]:
    """What ``open_target`` takes, but for servers, which have an address."""
    return tuple(target for target in _TARGETS if target not in _SERVERS)


def is_one_file(target: Partition) -> bool:
    """Whether all mailboxes go into one file there, so that only one process can write it."""
    return target.format == "tar"


def is_stdout(target: Partition) -> bool:
    """Whether mail goes to the standard output."""
    return (target.format, target.path) == ("tar", "-")


def can_be_asked(target: Partition) -> bool:
    """Whether what is there can be seen before a restore, and counted afterwards."""
    return target.format != "lmtp" and not is_stdout(target)


def keeps_places(target: Partition) -> bool:
    """Whether mailboxes lie there as they lay below their own root; else each user has one, and but one,
    place."""
    return target.format == "maildir"


def _maildir_store(partition: Partition, places: Mapping[str, bytes] | None = None) -> MaildirStore:
    from .maildir import MaildirStore
    from .surroundings import surroundings_of

    surroundings = surroundings_of(partition)
    return MaildirStore(
        partition.path, partition.doveadm, surroundings, accept=partition.accept, places=places
    )


def _maildir_target(partition: Partition) -> MaildirTarget:
    from .maildir_target import MaildirTarget
    from .surroundings import surroundings_of

    surroundings = surroundings_of(partition)
    return MaildirTarget(partition.path, partition.doveadm, partition.renumbering, surroundings, shares=True)


def _imap_target(partition: Partition) -> MailTarget:
    from .imap.target import ImapTarget

    if partition.access is None:
        raise ConfigError(
            f"{partition.path}: a server wants a password: say where it is with --password-file"
        )
    return ImapTarget(partition.path, partition.access)


def _lmtp_target(partition: Partition) -> MailTarget:
    from .lmtp.target import LmtpTarget

    return LmtpTarget(partition.path, partition.access or ServerAccess())


def _mbox_target(partition: Partition) -> MailTarget:
    from ..exports.mbox_target import mbox_target

    return mbox_target(partition.path)


def _eml_target(partition: Partition) -> MailTarget:
    from ..exports.eml_target import eml_target

    return eml_target(partition.path)


def _tar_target(partition: Partition) -> MailTarget:
    from ..exports.tar_target import TarTarget

    return TarTarget(partition.path)


_STORES: Mapping[str, Callable[[Partition], MailStore]] = {"maildir": _maildir_store}
_MENDERS: Mapping[str, Callable[[Partition], MailMender]] = {"maildir": _maildir_target}
_STATE_KEEPERS: Mapping[str, Callable[[Partition], StateKeeper]] = {"maildir": _maildir_target}
_ANNOUNCERS: Mapping[str, Callable[[Partition], Announcer]] = {"maildir": _maildir_target}
_RECORDS: Mapping[str, Callable[[Partition], RecordKeeper]] = {"maildir": _maildir_store}
_TARGETS: Mapping[str, Callable[[Partition], MailTarget]] = {
    "maildir": _maildir_target,
    "imap": _imap_target,
    "lmtp": _lmtp_target,
    "mbox": _mbox_target,
    "eml": _eml_target,
    "tar": _tar_target,
}


_SERVERS = frozenset({"imap", "lmtp"})


def _opener(
    partition: Partition, formats: Mapping[str, Callable[[Partition], _Opened]]
) -> Callable[[Partition], _Opened]:
    try:
        return formats[partition.format]
    except KeyError:
        known = ", ".join(sorted(formats))
        raise ConfigError(
            f"partition {partition.name!r}: no mail store has the format {partition.format!r}, but: {known}"
        ) from None
