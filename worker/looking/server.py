"""The table of contents of a look at a mail server that is restored to over IMAP. Nothing is changed there.

    for each user, as long as there is time
      whether the server lets the user in                    stores.imap.target
      for each folder: what it is called there, whether it
      is there and may be written, what it has already,
      what is too large                                      stores.imap.survey
      whether the quota leaves room for the rest             stores.imap.survey

What is there is known by date and size only: no mail is read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...proto.archive.mailboxes import FolderEntry
from ...proto.archive.stored import StoredMailbox
from ...proto.errors import AccessError, BackupError, ConfigError
from ...proto.records import Partition
from ...proto.structs import Record
from ...proto.target_facts import FolderFate, ServerTalk, TargetFacts
from ..archives.opened import OpenArchives
from ..stores.imap.survey import ImapSurvey
from ..stores.imap.target import ImapTarget
from ..stores.patience import Patience
from .findings import Findings
from .sought import Sought

_PATIENCE = Patience(connect_seconds=5.0, silence_seconds=10.0, attempts=0)


def look_at_server(
    archives: OpenArchives, sought: Sequence[Sought], target: Partition, _host: str, seconds: float
) -> TargetFacts:
    """See ``look.look``. What of a server can't be looked at is told, with its words."""
    until = time.monotonic() + seconds
    found = Findings()
    work = _Look(archives, found)
    unseen = 0
    try:
        if target.access is None:
            raise ConfigError(f"{target.path}: a server wants a password")
        server = ImapTarget(target.path, target.access, _PATIENCE)
        for number, one in enumerate(sought):
            if time.monotonic() >= until:
                unseen = len(sought) - number
                break
            work.user(server, one, until)
    except (AccessError, ConfigError) as error:  # as for everybody else
        found.trouble(error.message)
        unseen = len(sought)
    return TargetFacts(
        target=target,
        fates=found.fates,
        counts=found.counts,
        unseen=unseen,
        quotas_asked=work.quotas_asked,
        excesses=found.excesses,
        server=ServerTalk(logged_in=work.logged_in, append_limit=work.append_limit, too_large=work.too_large),
        troubles=found.troubles,
    )


class _Coming(Record):
    """What is not there yet."""

    messages: int = 0
    size_bytes: int = 0

    def __add__(self, other: _Coming) -> _Coming:
        return _Coming(self.messages + other.messages, self.size_bytes + other.size_bytes)


class _Look:
    def __init__(self, archives: OpenArchives, found: Findings) -> None:
        self._archives = archives
        self._found = found
        self.logged_in = self.quotas_asked = self.append_limit = self.too_large = 0

    def user(self, server: ImapTarget, sought: Sought, until: float) -> None:
        """Raises AccessError."""
        user = sought.choice.to_user
        try:
            stored = StoredMailbox(self._archives, sought.choice.archive, sought.choice.user)
            folders = list(sought.chosen(stored))
            names = [sought.becomes(entry.folder.name) for entry in folders]
            with server.look_into(user, names) as there:
                self.logged_in += 1
                limit = there.append_limit()
                self.append_limit = min(filter(None, (self.append_limit, limit)), default=0)
                coming = _Coming()
                for number, entry in enumerate(folders):
                    if time.monotonic() >= until:
                        self._found.trouble(
                            f"{sought.choice.path}: there was no time for {len(folders) - number} of "
                            "its folders"
                        )
                        break
                    coming += self._folder(sought, stored, entry, there, limit)
                self._quota(sought, there, coming)
        except AccessError:
            raise
        except BackupError as error:
            self._found.trouble(f"{sought.choice.path}: {error.message}")

    def _folder(
        self, sought: Sought, stored: StoredMailbox, entry: FolderEntry, there: ImapSurvey, limit: int
    ) -> _Coming:
        folder, name = entry.folder, sought.becomes(entry.folder.name)
        shown = sought.shown(folder.name)
        if there.is_altered(name):
            self._found.trouble(f"{shown} would be called {there.name_of(name)} on the server")
        found = there.folder(name)
        if found is not None and found.refusal:
            self._found.trouble(f"{shown}: {found.refusal}")
        present = 0
        coming = _Coming()
        for message in sought.messages_of(stored, entry):
            if found is not None and found.take(message):
                present += 1
            elif limit and message.size > limit:
                self.too_large += 1
            else:
                coming += _Coming(1, message.size)
        self._found.folder(
            FolderFate(
                path=shown,
                renumbered=coming.messages,
                present=present,
                there=found.uidvalidity if found is not None else 0,
            ),
            recreated=found is None,
        )
        return coming

    def _quota(self, sought: Sought, there: ImapSurvey, coming: _Coming) -> None:
        quotas = there.quotas()
        if quotas is None:
            return
        self.quotas_asked += 1
        for quota in quotas:
            wanted = coming.size_bytes if quota.kind == "storage" else coming.messages
            self._found.quota(sought.choice.to_user, quota.root, quota.kind, quota.used, quota.limit, wanted)
