"""One user's mailbox on the server: its folders by name, and what else IMAP has a place for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain

from imapclient import IMAPClient

from ....groups.paths import printable
from ....proto.errors import FolderStoppedError, MessageUnavailable, StoreError
from ....proto.records import Folder, MailboxOutcome, Skipped, StoredFile
from ..bookkeeping import is_bookkeeping
from ..naming_users import ACCESS_LIST
from . import subscriptions
from .access_lists import grants_of, set_grant
from .delivery import UserStoppedError
from .errors import ConnectionLostError, RefusedError
from .folder import ImapFolder, append_limit
from .listing import listed_folders, namespace, subscribed_folders
from .names import FolderNames
from .session import Session


class ImapMailbox:
    """A MailboxWriter (see ``proto.ports``). What the server has taken is there at once, and stays."""

    def __init__(self, session: Session, layout: Sequence[Folder], *, everything: bool) -> None:
        self._session = session
        self._paths = {folder.path: folder.name for folder in layout}
        self._everything = everything
        self._dotted = any(one.path.startswith(b".") for one in layout)
        prefix, separator = session.ask(namespace)
        self._names = FolderNames(prefix, separator, [one.name for one in layout])
        self._there = set(session.ask(listed_folders))
        self._skipped: list[Skipped] = []
        self._folders: list[ImapFolder] = []

    def new_folder(self, name: str) -> Folder:
        return Folder(name=name, path=name.encode("utf-8", "surrogateescape"))

    def open_folder(self, folder: Folder) -> ImapFolder:
        if (stopped := self._session.stopped) is not None:
            raise MessageUnavailable(stopped.message, reason=stopped.reason)
        name = self._names.on_server(folder.name)
        try:
            self._make(name)
            limit = self._session.ask(partial(append_limit, name=name))
            opened = ImapFolder(
                self._session, folder, name, limit, self._skipped.append, everything=self._everything
            )
        except RefusedError as error:
            raise MessageUnavailable(error.message, reason=error.code) from error
        except ConnectionLostError as error:
            self._session.stopped = UserStoppedError(error.message, reason=error.code)
            raise MessageUnavailable(error.message, reason=error.code) from error
        except FolderStoppedError as error:
            raise MessageUnavailable(error.message, reason=error.reason) from error
        if self._names.is_altered(folder.name):
            path = printable(folder.name.encode("utf-8", "surrogateescape"))
            self._skipped.append(Skipped(path, "renamed", f"on the server it is called {name}"))
        self._folders.append(opened)
        return opened

    def add_file(self, file: StoredFile, content: Iterable[bytes]) -> bool:
        if not file.home and file.path == subscriptions.NAME:
            return self._subscribe(b"".join(content))
        if is_bookkeeping(file):
            return False
        directory, _, name = file.path.rpartition(b"/")
        if not file.home and name == ACCESS_LIST and self._session.ask(_has_acl):
            return self._share(self._paths.get(directory, ""), b"".join(content))
        raise MessageUnavailable(
            "IMAP has no place for a file that is no message: restore it to a directory (--to maildir:DIR), "
            "and bring it to the server from there",
            reason="not-mail",
        )

    def commit(self) -> None:
        """Nothing is left to do: what was finished is there."""

    def outcome(self) -> MailboxOutcome:
        each = [folder.outcome() for folder in self._folders]
        return MailboxOutcome(
            refused=sum(mailbox_outcome.refused for mailbox_outcome in each),
            refused_bytes=sum(one.refused_bytes for one in each),
            uids=tuple(chain.from_iterable(one.uids for one in each)),
        )

    def skipped(self) -> Sequence[Skipped]:
        return self._skipped

    def without_modseq(self) -> int:
        return 0  # no folder comes back with its UIDVALIDITY

    def listed(self) -> Mapping[str, int]:
        if self._session.stopped is not None:
            return {}  # which is told
        counts: dict[str, int] = {}
        for folder in self._folders:
            try:
                counts[folder.name] = folder.listed()
            except FolderStoppedError as error:
                raise StoreError(f"{folder.name}: {error.message}") from error
        return counts

    def close(self) -> None:
        """Repeatable."""
        for folder in self._folders:
            folder.close()

    def _make(self, name: str) -> None:
        """Make a folder, unless it is there. Raises RefusedError."""
        if name in self._there:
            return
        try:
            self._session.ask(partial(IMAPClient.create_folder, folder=name))
        except RefusedError as error:
            # After a lost answer, or by somebody else.
            if error.answer.code != "ALREADYEXISTS" and name not in self._session.ask(listed_folders):
                raise
        self._there.add(name)

    def _share(self, folder: str, content: bytes) -> bool:
        """Let others use a folder, as its access list says. Who has rights there keeps them as they are."""
        name = self._names.on_server(folder) if folder else ""
        if name not in self._there:
            raise MessageUnavailable("its folder is not on the server", reason="acl")
        path = printable(folder.encode("utf-8", "surrogateescape"))
        changed = False
        for grant in grants_of(content):
            if isinstance(grant, str):
                self._skipped.append(Skipped(path, "acl", f"IMAP can't say this right: {grant!r}"))
                continue
            try:
                changed |= self._session.ask(partial(set_grant, folder=name, grant=grant))
            except RefusedError as error:
                told = f"{grant.identifier} did not get the rights {grant.rights!r}: {error.message}"
                self._skipped.append(Skipped(path, "acl", told))
        return changed

    def _subscribe(self, content: bytes) -> bool:
        before = set(self._session.ask(subscribed_folders))
        wanted = {
            self._names.on_server(name) for name in subscriptions.subscribed(content, dotted=self._dotted)
        }
        for name in sorted(wanted - before):
            try:
                self._session.ask(partial(IMAPClient.subscribe_folder, folder=name))
            except RefusedError as error:
                path = printable(name.encode("utf-8", "surrogateescape"))
                self._skipped.append(Skipped(path, "subscription", error.message))
        return bool(wanted - before)


def _has_acl(client: IMAPClient) -> bool:
    return bool(client.has_capability("ACL"))
