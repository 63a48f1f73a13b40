"""The table of contents of mending: what a look finds damaged gets its content back, message by message.

    for each mailbox
      look    as it is now: what was found damaged before counts only if it is so still       check
      mend    each message in the place of the file that was seen, its content checked        stores/

Folders, mailboxes and lists of UIDs are not mended here: no content of theirs is damaged, or all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...proto.archive.assembly import Contents
from ...proto.errors import DamagedError, MessageUnavailable, PlaceError, StoreError, UnreadableError
from ...proto.ports import MailMender
from ...proto.records import RestoreReport, Skipped
from ...proto.structs import Mutable, field
from ..archives.opened import OpenArchives
from .check import LiveCheck, Look, Stored
from .findings import IN_THE_BODY, Finding, Identity, Kind

_REMEDIES = {
    Kind.MISSING: "as a whole it comes back by `mailhaul restore`",
    Kind.UNLISTED: "no content is damaged: the server gives UIDs anew when it looks (doveadm force-resync)",
}

_GONE = (
    "there is no file, and the server does not count on it any more: `mailhaul restore` of this path brings "
    "it back as a new message"
)


class _Tally(Mutable):
    restored: int = 0
    present: int = 0
    size_bytes: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    damaged: list[Skipped] = field(default_factory=list)


def mend(
    archives: OpenArchives,
    check: LiveCheck,
    mender: MailMender,
    wanted: Sequence[Stored],
    only: Collection[Identity] | None,
) -> RestoreReport:
    """Mend what ``check`` finds in these mailboxes; ``only`` what was found before, if that is given: then
    ``present`` counts what of it is damaged no more."""
    tally, contents = _Tally(), Contents(archives.data)
    for stored in wanted:
        findings, look = check.looked(stored)
        tally.skipped += findings.unlooked
        chosen = [found for found in findings.damaged if only is None or found.identity in only]
        tally.skipped += [_not_mended(found) for found in chosen if not _is_mended(found)]
        if only is not None:
            for path in _settled(only, findings.path, chosen):
                if look is not None and path in look.absent:
                    tally.skipped.append(Skipped(path, "gone", _GONE))
                else:
                    tally.present += 1
        if look is not None:
            _mend_mailbox(look, {found.identity for found in chosen}, mender, contents, tally)
    return RestoreReport(
        restored=tally.restored,
        present=tally.present,
        size_bytes=tally.size_bytes,
        skipped=tuple(tally.skipped),
        damaged=tuple(tally.damaged),
    )


def _mend_mailbox(
    look: Look, chosen: Collection[Identity], mender: MailMender, contents: Contents, tally: _Tally
) -> None:
    bodies = [(found, message) for found, message in look.bodies if found.identity in chosen]
    if not bodies:
        return
    try:
        with mender.open_mending(look.wanted.user) as mailbox:
            for found, message in bodies:
                try:
                    mailbox.mend(found.folder, message, found.seen, contents.message(message))
                except UnreadableError as error:
                    tally.skipped.append(Skipped(found.path, error.code, error.message))
                except DamagedError as error:
                    reason = str(error.facts.get("reason", "damaged"))
                    tally.damaged.append(Skipped(found.path, reason, error.message))
                except MessageUnavailable as error:
                    tally.skipped.append(Skipped(found.path, error.reason, error.message))
                except PlaceError as error:
                    tally.skipped.append(Skipped(found.path, error.code, error.message))
                else:
                    tally.restored += 1
                    tally.size_bytes += message.size
    except StoreError as error:
        tally.skipped.append(Skipped(str(look.wanted.whose), "mailbox", error.message))


def _is_mended(found: Finding) -> bool:
    return found.is_message and found.kind in IN_THE_BODY


def _not_mended(found: Finding) -> Skipped:
    remedy = _REMEDIES.get(found.kind, "")
    return Skipped(found.path, found.kind.value, f"{found.detail}; {remedy}" if remedy else found.detail)


def _settled(only: Collection[Identity], whose: str, chosen: Sequence[Finding]) -> list[str]:
    """The paths of what was found before in a mailbox, and is not so any more."""
    now = {finding.identity for finding in chosen}
    before = [one for one in only if one not in now]
    inside = whose.rstrip("/") + "/"
    return [path for path in (str(one[0]) for one in before) if path == whose or path.startswith(inside)]
