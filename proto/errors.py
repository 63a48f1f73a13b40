"""Every error that mailhaul raises on purpose: one hierarchy, one exit code and one stable code each.

Adapters translate foreign exceptions at their edge. Only the command line turns an error into an
exit status and a line of text.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_SKIPPED = 3
EXIT_DAMAGED = 4
EXIT_LOCKED = 5


class BackupError(Exception):
    """Base of all errors of the product.

    ``code`` is stable across releases and fit for scripts; ``facts`` are the fields that a log or
    JSON output carries beside the message; ``retryable`` says whether the same call may succeed later.
    """

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = EXIT_FAILED
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process boundaries; the default reduction would lose the facts.
        return (_rebuild, (type(self), self.message, self.facts))


def _rebuild(cls: type[BackupError], message: str, facts: dict[str, object]) -> BackupError:
    return cls(message, **facts)


class UsageError(BackupError):
    """The command line was used in a way that can't work."""

    code = "usage"
    exit_code = EXIT_USAGE


class ConfigError(BackupError):
    """A configuration value is wrong; the message names file, key, value and what was expected."""

    code = "config"
    exit_code = EXIT_USAGE


class NotFoundError(BackupError):
    """A path, run or archive that was asked for does not exist in the backup."""

    code = "not-found"


class HeldError(BackupError):
    """What is to go is held: by somebody, or by an alarm."""

    code = "held"


class LockedError(BackupError):
    """Another run holds the lock."""

    code = "locked"
    exit_code = EXIT_LOCKED
    retryable = True


class BusyError(BackupError):
    """So much of it goes on at the moment that no more is begun. ``yours``: so much of theirs who ask;
    ``retry_seconds`` among the facts says when to ask again."""

    code = "busy"
    retryable = True

    @property
    def yours(self) -> bool:
        """Whether others may have it now."""
        return bool(self.facts.get("yours"))


class StoreError(BackupError):
    """A mail store, or one mailbox in it, can't be read or written."""

    code = "store"


class FolderStoppedError(StoreError):
    """A folder takes no more messages, or must not get any more; ``reason`` says why in one word. What it got
    until then is there, and other folders go on."""

    code = "folder-stopped"

    def __init__(self, message: str, *, reason: str, **facts: object) -> None:
        super().__init__(message, reason=reason, **facts)
        self.reason = reason


class TargetFullError(StoreError):
    """The file system that mail is restored to has no room for more: no space, no inodes (``errno`` ENOSPC),
    or a quota is used up (EDQUOT)."""

    code = "target-full"


class EmptyStoreError(StoreError):
    """A store that held mail in the last run lists no users at all now."""

    code = "store-empty"


class UnreadableStoreError(StoreError):
    """A store lists mailboxes, and not one of them can be read."""

    code = "store-unreadable"


class StagingError(BackupError):
    """The staging area can't be written (full disk, read-only, missing)."""

    code = "staging"
    retryable = True


class FencedError(StagingError):
    """A later attempt at the same unit has taken over: this one must not write any more."""

    code = "fenced"
    retryable = False


class LeaseLostError(StagingError):
    """The staging host was not heard from for the length of a lease."""

    code = "lease-lost"


class AccessError(BackupError):
    """A key is missing, not allowed, or lies open to others; or a grant is not valid."""

    code = "access"


class WorkerLostError(BackupError):
    """A worker process ended without an answer."""

    code = "worker-lost"
    retryable = True


class HostLostError(WorkerLostError):
    """The host of a worker is gone, or can't be reached: the worker may still be running there."""

    code = "host-lost"


class UnplannedError(BackupError):
    """A part of the store was left out of the plan of a run that goes on; ``code`` is among the facts."""

    code = "unplanned"


class ClusterLostError(BackupError):
    """The cluster that runs workers can't be reached, or was lost while they ran; the run can be resumed."""

    code = "cluster-lost"
    retryable = True


class HostError(BackupError):
    """No node of the cluster stands for a host that is needed."""

    code = "host"


class HookError(BackupError):
    """A program of the site that is called before something failed: it is not done."""

    code = "hook"


class DeliveryError(BackupError):
    """A notice did not get to a receiver. ``unreachable``: nor would any other now."""

    code = "delivery"
    retryable = True

    @property
    def unreachable(self) -> bool:
        """Whether the receiver can't be reached at all."""
        return bool(self.facts.get("unreachable"))


class PlaceError(BackupError):
    """A place where archives lie (a destination) refuses, or can't do, what it was asked for."""

    code = "place"


class PlaceUnavailableError(PlaceError):
    """A place can't be reached, is too busy, or failed in a way that may pass."""

    code = "place-unavailable"
    retryable = True


class PlaceFullError(PlaceError):
    """A place has no room for more."""

    code = "place-full"
    retryable = True


class ExistsError(PlaceError):
    """A place has something else under this name: nothing is ever overwritten."""

    code = "exists"


class LockedUntilError(PlaceError):
    """A place does not let go of a copy before a time, which is among the facts as ``until``."""

    code = "locked-until"


class NotYetError(PlaceError):
    """A copy has to be made ready before it can be read: thawed, or brought with its volume."""

    code = "not-yet"
    retryable = True


class DamagedError(BackupError):
    """Stored data is not what was written: truncated, altered, or lying about itself."""

    code = "damaged"
    exit_code = EXIT_DAMAGED


class UnreadableError(DamagedError):
    """The system does not let an archive be read (permissions): what of it is whole nobody knows. Whoever can
    do without a damaged archive can do without this one; nobody takes it for damaged."""

    code = "unreadable"
    exit_code = EXIT_FAILED


def is_damage(error: BackupError | None) -> bool:
    """Whether an error says that something is damaged or gone; one that can't be read may be whole."""
    return isinstance(error, DamagedError) and not isinstance(error, UnreadableError)


class UnsupportedError(BackupError):
    """An archive that a newer version wrote, or one that needs a feature this version does not have."""

    code = "unsupported"


class EncryptedError(BackupError):
    """What is asked for is encrypted, and no key at hand opens it. Of who can say whose does, ``recipients``
    are their names."""

    code = "encrypted"


class ErasedError(EncryptedError):
    """What is asked for is of a mailbox whose secret was destroyed: nobody will ever read it. Nothing is
    damaged, and no key helps."""

    code = "erased"


class MessageUnavailable(BackupError):
    """One message or file of a mailbox can't be read; the run goes on without it.

    ``reason`` is one word of a fixed set: ``vanished``, ``permission``, ``io-error``, ``not-regular``,
    ``changed`` (kept changing while it was read), ``leads-out`` (a symbolic link out of the mailbox),
    ``too-many`` (more files in one mailbox than an archive can tell of).
    """

    code = "unavailable"

    def __init__(self, message: str, *, reason: str, **facts: object) -> None:
        super().__init__(message, reason=reason, **facts)
        self.reason = reason
