"""What kind of failure it is that something was not restored as it was, and what helps. Deciding only."""

from __future__ import annotations

from typing import Literal

from ...proto.records import Skipped
from ...proto.structs import Record

FailureKind = Literal["hard", "soft", "unreadable", "damaged", "refused"]
"""``hard``: it can't be as it was in this target; ``soft``: it may pass by itself; ``unreadable``: an archive
can't be read now; ``damaged``: what is stored is not what was written; ``refused``: the target does not take
it."""


class Failure(Record, kw_only=True):
    """Something that was not restored as it was: its path as in a backup, what ``kind`` that is, why, and
    what helps. ``again``: it is not there, so trying once more may bring it; else it is there but for
    this."""

    path: str
    kind: FailureKind
    reason: str
    detail: str
    remedy: str
    again: bool


_RETRY = "then try it again (--retry)"
_LET_WRITE = f"let the program write there, or restore elsewhere with --to, {_RETRY}"
_LATER = "try it again (--retry) when that has passed"
_FETCH = f"bring the archive back, or let it be read (`mailhaul restore --dry-run` names it), {_RETRY}"
_OTHER_COPY = (
    "`mailhaul verify --data` says where else it is stored: another copy (restore --from NAME), or an "
    "earlier moment (restore --at)"
)

_OTHER_WAY = "`mailhaul show PATH` gives the message, to be brought there in another way"
_REMADE = f"see who removes or remakes folders there meanwhile, {_RETRY}"

_MISSING: dict[str, tuple[FailureKind, str]] = {
    "mailbox": ("refused", _LET_WRITE),
    "permission": ("refused", _LET_WRITE),
    "leads-out": ("refused", f"move away what stands there, or restore elsewhere with --to, {_RETRY}"),
    "io-error": ("refused", "restore it elsewhere with --to: its name can't be used in the target"),
    "vanished": ("soft", "nothing, if its user removed or moved it; else try it again (--retry)"),
    "subscriptions": ("soft", _LATER),
    "folder": ("hard", f"make the folder in the server, {_RETRY}"),
    "count": ("soft", f"look into the target: what was written there is not listed; {_RETRY}"),
    "unreadable": ("unreadable", _FETCH),
    "missing": ("unreadable", _FETCH),
    "place": ("unreadable", _FETCH),
    "place-unavailable": ("unreadable", _FETCH),
    "not-yet": ("unreadable", _FETCH),
    "access": ("unreadable", _FETCH),
    "encrypted": (
        "unreadable",
        f"bring the private key or the vault that the reason names, {_RETRY}",
    ),
    "erased": ("hard", "nothing: the mailbox was erased, and its keys were destroyed"),
    "untrusted": (
        "refused",
        f"call the server by the name that its certificate has, or name its authority (--ca-file), {_RETRY}",
    ),
    "refused": ("refused", _OTHER_WAY),
    "too-large": ("refused", f"let the server take larger messages, {_RETRY}; or: {_OTHER_WAY}"),
    "quota": ("refused", f"give the user more room, {_RETRY}"),
    "busy": ("soft", _LATER),
    "connection-lost": ("soft", _LATER),
    "uidvalidity": ("soft", _REMADE),
    "folder-gone": ("soft", _REMADE),
    "worker-lost": ("soft", _LATER),
    "host-lost": ("soft", _LATER),
    "host": ("soft", _LATER),
    "cluster-lost": ("soft", _LATER),
    "staging": ("soft", _LATER),
    "lease-lost": ("soft", _LATER),
}
"""What is not there."""

_ALTERED: dict[str, tuple[FailureKind, str]] = {
    "owner": ("refused", "restore as root, or give the files to their owner"),
    "date": ("refused", "nothing: the file system does not keep such times"),
    "attribute": ("refused", "a file system that keeps access lists and attributes"),
    "keyword": (
        "hard",
        "a server that is asked (doveadm of the partition, or --doveadm) keeps more keywords",
    ),
    "uid": ("hard", "nothing: the server gives it another one"),
    "doveadm": ("soft", "see that the server answers before clients are let in"),
    "announcement": ("soft", "nothing but that message is concerned: put or remove it by hand"),
    "name": ("hard", "rename it in the server"),
    "absent": ("hard", "restore the path without --state-only, or `mailhaul undelete`, brings it back"),
    "later": ("unreadable", f"{_FETCH}: flags that were taken away since come back as well now"),
    "acl": ("refused", "give these rights in the server, in its own words"),
    "unanswered": ("soft", f"look for it in the mailbox; if it is not there: {_OTHER_WAY}"),
    "delivered": ("hard", "restore over IMAP (--to imap://HOST), which has a place for all of these"),
    "altered": ("hard", "nothing: the server keeps it like this; the backup has it as it was"),
    "line-end": ("hard", "nothing: in an mbox each message ends with a line end"),
    "renamed": ("hard", "rename it in the server, if it can be called so there"),
    "subscription": ("refused", "nothing, where the folder is gone; else subscribe to it with a client"),
    "not-mail": ("refused", "restore it with --to maildir:DIR, and bring it to the server from there"),
    "not-compared": ("soft", "restore once more: what is there is compared"),
    "who": ("hard", "change it by hand, in the server, once you know who is meant"),
    "before": (
        "soft",
        "make room in the staging area, or end the purge that goes on, before the next restore",
    ),
    "unknown": ("hard", "remove by hand what is not wanted: `mailhaul ls --history` tells what there was"),
    "touched": ("hard", "nothing: somebody has used it since; who does not want it removes it by hand"),
    "left": ("hard", "look at what is in the folder; it can be deleted in the server"),
    "exists": ("hard", "compare it with what the backup has (`mailhaul ls`): the target's own was kept"),
}
"""What is there, but not as it was; or what no second attempt would bring."""


def failure_of(skipped: Skipped, *, damaged: bool = False) -> Failure:
    """A failure with its kind and what helps."""
    again = damaged or skipped.reason not in _ALTERED
    known = _MISSING if again else _ALTERED
    kind, remedy = known.get(skipped.reason, ("damaged", _OTHER_COPY) if damaged else ("hard", _LATER))
    return Failure(
        path=skipped.path,
        kind="damaged" if damaged and skipped.reason == "io-error" else kind,
        reason=skipped.reason,
        detail=skipped.detail,
        remedy=_OTHER_COPY if damaged and skipped.reason == "io-error" else remedy,
        again=again,
    )
