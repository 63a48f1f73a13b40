"""Before anything of a mailbox is shown: whether it is theirs to see, why they look, and that on record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...groups.paths import EVERYBODY, LogicalPath
from ...proto.errors import AccessError, NotFoundError, UsageError
from ..browsing.view import MailboxView, groups_of_mailbox, opened_view
from ..catalog import Catalog
from ..people.roles import Who
from .routes import API
from .visits import Visit

_NOT_THEIRS = "There is no such mailbox in the groups that you look after."


class ReasonWanted(Exception):
    """A reason has to be given before a page of the mailbox at ``whose`` is shown."""

    def __init__(self, whose: LogicalPath) -> None:
        super().__init__(str(whose))
        self.whose = whose


def groups_of(who: Who) -> frozenset[str] | None:
    """The groups whose mailboxes somebody may see; None for all. ``user`` is everybody's group."""
    return None if who.role != "helpdesk" or EVERYBODY in who.groups else who.groups


def path_of(text: str) -> LogicalPath:
    """A path into a mailbox, whatever group it names. Raises UsageError."""
    path = LogicalPath.parse(text)
    if path.user is None:
        raise UsageError(f"{path} is no mailbox", path=text)
    return LogicalPath(path.partition, EVERYBODY, path.user, path.folder, path.uid, path.name, path.explicit)


def whose(path: LogicalPath) -> LogicalPath:
    """The mailbox that a path leads into."""
    return LogicalPath(path.partition, path.group, path.user)


def refuse_others(visit: Visit, path: LogicalPath, what: str) -> None:
    """Raises AccessError for a mailbox that is not theirs, or that there is not: a helpdesk learns of none
    outside of its groups. NotFoundError."""
    allowed = groups_of(visit.who)
    with Catalog.open(visit.site.staging) as catalog:
        groups = groups_of_mailbox(catalog, path.partition or "", path.user or "")
    if allowed is not None and not groups & allowed:
        visit.refused(what, on=str(path))
        raise AccessError(_NOT_THEIRS)
    if not groups:
        raise NotFoundError(f"{whose(path)}: the backup holds nothing of it", path=str(path))


def reason_given(visit: Visit, path: LogicalPath) -> str:
    """Why they look into this mailbox; empty if they have not said so yet."""
    who = visit.who
    now = visit.site.clock.monotonic()
    return visit.site.reasons.given(who.session, who.name, str(whose(path)), now)


@contextmanager
def entered(visit: Visit, path: LogicalPath, what: str) -> Iterator[MailboxView]:
    """The mailbox that a path leads into, open to be looked at; the look is on record before. Raises
    AccessError, NotFoundError, and ReasonWanted (of a program UsageError) as long as nobody has said why."""
    why = enter(visit, path, what)
    visit.looks(what, on=str(path), why=why)
    site = visit.site
    key = visit.key
    with opened_view(
        site.staging,
        site.config.destinations,
        path.partition or "",
        path.user or "",
        unlock=None if key is None else key.unlock,
    ) as view:
        yield view


def enter(visit: Visit, path: LogicalPath, what: str) -> str:
    """The same checks alone; returns the reason."""
    refuse_others(visit, path, what)
    if visit.request.url.path.startswith(API):
        asked = visit.query if visit.query is not None else visit.body
        reason = str(asked.reason).strip()
        if not reason:
            raise UsageError("say why (reason): each look into somebody's mail is put on record")
        return reason
    reason = reason_given(visit, path)
    if not reason:
        raise ReasonWanted(whose(path))
    return reason
