"""Bounded load on mail hosts: how much their workers read together, and how far they stand back.

``ledger`` is what the workers on a host share, ``budget`` what each of them may spend of it; which reads
cost what is said in ``stores.throttled``.
"""

from ...proto.ports import MailStore
from ..stores.throttled import ThrottledStore
from .budget import Budget
from .ledger import host_ledger
from .limits import LoadLimits
from .priority import gentle

__all__ = ["LoadLimits", "bounded", "gentle"]


def bounded(store: MailStore, limits: LoadLimits, host: str) -> MailStore:
    """A store that is read no faster than the limits allow for all workers on this host together.

    Raises BackupError if what they share can't be had: a limit that can't be kept is none.
    """
    if not (limits.bytes_per_second or limits.messages_per_second):
        return store
    return ThrottledStore(store, Budget(limits, host_ledger(host)))
