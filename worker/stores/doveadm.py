"""``doveadm``: the command through which a Dovecot is asked of what it keeps in its index files only.

That is HIGHESTMODSEQ. A folder that comes back without its index files begins to count anew, and a client
that remembers a higher number is then told of no change at all. So the number is recorded with the folder,
and a restore lets the server's own command write new index files that go on above it (``dovecot_index``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...proto.errors import StoreError
from ...proto.structs import Record

if TYPE_CHECKING:
    import subprocess

_TIMEOUT_SECONDS = 600
_UIDS_AT_ONCE = 1000
_ESCAPED = re.compile(rb"\x01(.)", re.DOTALL)
_INDEXED = re.compile(rb"RECORD: seq=\d+, uid=(\d+),")
_REACHABLE = re.compile(r"[^%:~$\"'\\\s]+")
_WRITE_AT_ONCE = {"mail_index_rewrite_min_log_bytes": "0", "mail_index_rewrite_max_log_bytes": "1"}
_QUOTA_UNITS = {"storage": 1024, "message": 1}
_PLAIN = {b"0": b"\0", b"1": b"\x01", b"t": b"\t", b"n": b"\n", b"r": b"\r"}


class ServerFolder(Record):
    """A folder as the server knows it: its name there, and how far it has counted."""

    name: bytes
    highest_modseq: int


class Quota(Record):
    """A limit of a user's mail: of a ``kind`` (``storage``: bytes, or ``message``) so much is ``used``."""

    root: str
    kind: str
    used: int
    limit: int


class Doveadm:
    """The command that reaches the server of a partition."""

    def __init__(self, command: tuple[str, ...], timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        self._command = command
        self._timeout_seconds = timeout_seconds

    def folders(self, user: str) -> Mapping[str, ServerFolder]:
        """The folders of a user by their GUID, which ``dovecot-uidlist`` has too. Raises StoreError."""
        _refuse_patterns(user)
        # One "*" alone finds nothing in a namespace with a prefix ("INBOX."), two of them find everything.
        done = self._called("-f", "tab", "mailbox", "status", "-u", user, "highestmodseq guid", "*", "*")
        header, *rows = [line.split(b"\t") for line in done.stdout.splitlines()] or [[]]
        if not rows:
            # One folder that can't be read or vanished makes the status bad, but the others are told.
            self._check(done)
        found: dict[str, ServerFolder] = {}
        for row in rows:
            values = dict(zip(header, row, strict=False))
            guid, modseq = values.get(b"guid", b""), values.get(b"highestmodseq", b"")
            if guid and modseq.isdigit():
                name = _ESCAPED.sub(lambda run: _PLAIN.get(run[1], run[1]), values.get(b"mailbox", b""))
                found[guid.decode("ascii", "replace")] = ServerFolder(name, int(modseq))
        return found

    def keywords(self, user: str, guid: str) -> Mapping[int, tuple[str, ...]]:
        """The keywords of all messages of a folder that have any, by their UIDs. Raises StoreError."""
        _refuse_patterns(user)
        done = self._run("-f", "tab", "fetch", "-u", user, "uid flags", "mailbox-guid", guid)
        found: dict[int, tuple[str, ...]] = {}
        for line in done.stdout.splitlines()[1:]:
            uid, _, flags = line.partition(b"\t")
            text = _ESCAPED.sub(lambda run: _PLAIN.get(run[1], run[1]), flags)
            names = [name for name in text.decode("utf-8", "surrogateescape").split(" ") if name]
            keywords = tuple(sorted(name for name in names if not name.startswith("\\")))
            if keywords and uid.isdigit():
                found[int(uid)] = keywords
        return found

    def look(self, user: str, guid: str) -> None:
        """Let the server see what is new in a folder, and number it. Raises StoreError."""
        _refuse_patterns(user)
        self._run("search", "-u", user, "mailbox-guid", guid, "uid", "1")

    def add_keyword(self, user: str, guid: str, keyword: str, uids: Sequence[int]) -> None:
        """Give a keyword to messages of a folder. Repeatable. Raises StoreError."""
        self._change_keyword("add", user, guid, keyword, uids)

    def remove_keyword(self, user: str, guid: str, keyword: str, uids: Sequence[int]) -> None:
        """Take a keyword from messages of a folder. Repeatable. Raises StoreError."""
        self._change_keyword("remove", user, guid, keyword, uids)

    def _change_keyword(self, how: str, user: str, guid: str, keyword: str, uids: Sequence[int]) -> None:
        _refuse_patterns(user)
        for first in range(0, len(uids), _UIDS_AT_ONCE):
            some = ",".join(map(str, uids[first : first + _UIDS_AT_ONCE]))
            query = ("mailbox-guid", guid, "uid", some)
            self._run("flags", how, "-u", user, "--", keyword, *query)

    def names(self, user: str, view: str) -> list[bytes]:
        """The folders of ``view``, an absolute path of a directory of folders as in Maildir++ that stands for
        the user's mail, as the server calls them. Opens none. Raises StoreError."""
        _refuse_patterns(user)
        return self._run(*_looking_at(view), "mailbox", "list", "-u", user).stdout.splitlines()

    def raise_modseq(self, user: str, view: str, name: bytes, least: int) -> None:
        """Let a folder of a view go on at ``least`` or above. Repeatable. Raises StoreError."""
        what = ("mailbox", "update", "-u", user, "--min-highest-modseq", str(least), "--", name)
        self._run(*_looking_at(view), *what)

    def resync(self, user: str, view: str, mask: bytes) -> None:
        """Take in what is in those folders of a view whose names match, and write index files if there is
        anything to write in them. Raises StoreError."""
        settings = _options(_WRITE_AT_ONCE)
        self._run(*_looking_at(view), *settings, "force-resync", "-u", user, mask)

    def index_of_inbox(self, user: str) -> bytes:
        """The directory in which the server keeps the index files of the INBOX; empty if it keeps none. Opens
        no folder. Raises StoreError."""
        _refuse_patterns(user)
        return self._run("mailbox", "path", "-u", user, "-t", "index", "INBOX").stdout.strip(b"\n")

    def configuration(self) -> str:
        """What is set otherwise than by default, as ``doveconf -n`` prints it. Raises StoreError."""
        return self._run("config", "-n").stdout.decode("utf-8", "replace")

    def quotas(self, user: str) -> list[Quota]:
        """What limits a user's mail; none where nothing does. Raises StoreError."""
        _refuse_patterns(user)
        header, *rows = [
            line.split(b"\t")
            for line in self._run("-f", "tab", "quota", "get", "-u", user).stdout.splitlines()
        ] or [[]]
        found: list[Quota] = []
        for row in rows:
            values = {key.lower(): value for key, value in zip(header, row, strict=False)}
            used, limit = values.get(b"value", b""), values.get(b"limit", b"")
            kind = values.get(b"type", b"").decode("ascii", "replace").lower()
            if used.isdigit() and limit.isdigit() and kind in _QUOTA_UNITS:
                unit = _QUOTA_UNITS[kind]
                root = values.get(b"quota name", b"").decode("utf-8", "replace")
                found.append(Quota(root, kind, int(used) * unit, int(limit) * unit))
        return found

    def indexed(self, directory: bytes) -> set[int]:
        """The UIDs that the index in a directory of the server has. Reads its files, opens no folder and
        changes nothing. Raises StoreError."""
        told = self._run("dump", "-t", "index", directory + b"/dovecot.index").stdout
        if b"messages count" not in told:
            raise StoreError(f"{self._command[0]}: no index was found")
        return {int(found[1]) for found in _INDEXED.finditer(told)}

    def _run(self, *arguments: str | bytes) -> subprocess.CompletedProcess[bytes]:
        done = self._called(*arguments)
        self._check(done)
        return done

    def _called(self, *arguments: str | bytes) -> subprocess.CompletedProcess[bytes]:
        import subprocess  # only where there is a server to be asked

        try:
            return subprocess.run(
                [*self._command, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._timeout_seconds,
                check=False,
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise StoreError(f"{self._command[0]}: {error}") from error

    def _check(self, done: subprocess.CompletedProcess[bytes]) -> None:
        if done.returncode:
            told = done.stderr.decode("utf-8", "replace").strip().splitlines()
            why = told[-1] if told else f"exit status {done.returncode}"
            raise StoreError(f"{self._command[0]}: {why}")


def _looking_at(view: str) -> list[str]:
    """The options by which a command takes a directory for the user's mail, whatever is configured, in
    Dovecot 2.3 (``location``) and 2.4 (``mail_path``). Each passes over the settings that it does not have.
    Raises StoreError."""
    if not _REACHABLE.fullmatch(view):
        raise StoreError(f"{view!r} has a character that means something else in Dovecot's settings")
    return _options(
        {
            "mail_location": f"maildir:{view}",
            "namespace/inbox/location": f"maildir:{view}",
            **{
                f"{place}{key}": value
                for place in ("", "namespace/inbox/")
                for key, value in (
                    ("mail_driver", "maildir"),
                    ("mail_path", view),
                    ("mail_inbox_path", ""),
                    ("mail_index_path", ""),
                    ("mail_control_path", ""),
                    ("mailbox_list_layout", "maildir++"),
                    ("mailbox_directory_name", ""),
                )
            },
        }
    )


def _options(settings: Mapping[str, str]) -> list[str]:
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _refuse_patterns(user: str) -> None:
    """``-u`` takes a pattern, too, and would do its work on all the users that match."""
    if set("*?") & set(user):
        raise StoreError(f"user {user!r} would be a pattern for many")
