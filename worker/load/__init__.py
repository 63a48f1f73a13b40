"""Bounded load on mail hosts: how much their workers read and write together, and how far they stand back.

``ledger`` is what the workers on a host have in common, ``budget`` what each of them may spend of it;
``share`` is how much of all this they may have while users wait, ``breath`` how a worker keeps to it. What
costs what is said in ``stores.throttled`` and ``stores.throttled_target``.
"""

import time
from collections.abc import Callable

from ...proto.ports import MailStore, MailTarget
from ..stores.throttled import ThrottledStore
from ..stores.throttled_target import ThrottledTarget
from .budget import NO_RAMP, Budget, Ramp
from .ledger import host_ledger
from .limits import NO_LIMITS, LoadLimits
from .priority import gentle
from .share import Share

__all__ = ["NO_LIMITS", "LoadLimits", "bounded", "bounded_target", "gentle", "resting"]


def bounded(store: MailStore, limits: LoadLimits, host: str) -> MailStore:
    """A store that is read no faster than the limits allow for all workers on this host together, and than
    its governor does.

    Raises BackupError if what they share can't be had: a limit that can't be kept is none.
    """
    return ThrottledStore(store, _budget(limits, host)) if limits.holds_back else store


def bounded_target(target: MailTarget, limits: LoadLimits, host: str, under_way_seconds: float) -> MailTarget:
    """A mail store that is written no faster than the limits allow for all workers on this host together, in
    a restore that has been under way for so long, and than its governor does. Raises as ``bounded``."""
    if not limits.holds_back:
        return target
    ramp = Ramp(time.monotonic_ns() - round(under_way_seconds * 1e9), limits.ramp_seconds)
    return ThrottledTarget(target, _budget(limits, host, ramp))


def resting(limits: LoadLimits, host: str) -> Callable[[], None]:
    """For work that neither reads a mail store nor writes to one: to be called often, and rests so that the
    work keeps to the share of the host. Raises as ``bounded``; what it returns raises BackupError."""
    return _budget(LoadLimits(governor=limits.governor), host).rest


def _budget(limits: LoadLimits, host: str, ramp: Ramp = NO_RAMP) -> Budget:
    return Budget(
        limits,
        host_ledger(host) if limits.has_rates else None,
        ramp=ramp,
        shares=Share(host, limits.governor) if limits.governor else None,
    )
