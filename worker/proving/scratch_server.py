"""A Dovecot of its own for a mailbox in a scratch directory: a process that speaks IMAP over its input and
output, with a configuration of its own beside the mailbox.

It is called by ``doveadm exec imap``, so that neither port nor password is needed, and nobody else on the
host can look into the mail. 2.4 wants another configuration than 2.3.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...proto.errors import StoreError
from ...proto.records import Folder
from ...proto.structs import Record
from ..stores.folder_names import INBOX, folder_path
from ..stores.imap.piped import piped_server
from ..stores.imap.shown import ShownAccount

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MOST_SAID_BYTES = 2000
_COMMON = """\
base_dir = {place}/run
state_dir = {place}/state
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
ssl = no
namespace inbox {{
  inbox = yes
  separator = /
}}
"""
_2_3 = "mail_location = maildir:{mail}{location}\n" + _COMMON
_2_4 = (
    "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n"
    "mail_driver = maildir\nmail_path = {mail}\n{settings}" + _COMMON
)


class Layout(Record, kw_only=True):
    """How folders lie in a Maildir: whether as directories in each other (``fs``), else side by side with
    dots between the levels of their names; where the INBOX is (empty: the mailbox itself), and whether their
    names are in UTF-8."""

    fs: bool = False
    inbox: str = ""
    utf_8: bool = False

    def location(self, mail: Path) -> str:
        """As ``mail_location`` of 2.3 has it, behind the path."""
        inbox = f":INBOX={mail}/{self.inbox}" if self.inbox else ""
        return (":LAYOUT=fs" if self.fs else "") + inbox + (":UTF-8" if self.utf_8 else "")

    def settings(self, mail: Path) -> str:
        """As 2.4 has it."""
        lines = ["mailbox_list_layout = fs"] if self.fs else []
        lines += [f"mail_inbox_path = {mail}/{self.inbox}"] if self.inbox else []
        lines += ["mailbox_list_utf8 = yes"] if self.utf_8 else []
        return "".join(f"{line}\n" for line in lines)


def layout_of(folders: Sequence[Folder]) -> Layout | None:
    """The layout of a mailbox with these folders; None if it is none of those that are known here: then a
    server can't be told of it."""
    inbox = next((folder.path for folder in folders if folder.name == INBOX), b"")
    others = [one for one in folders if one.name != INBOX]
    for fs in (False, True):
        if all(one.path == folder_path(one.name, dotted=not fs) for one in others):
            return Layout(fs=fs, inbox=os.fsdecode(inbox))
        if all(one.path == _in_utf_8(one.name, fs=fs) for one in others):
            return Layout(fs=fs, inbox=os.fsdecode(inbox), utf_8=True)
    return None


def _in_utf_8(name: str, *, fs: bool) -> bytes:
    return os.fsencode(name if fs else "." + name.replace("/", "."))


class ScratchServer(Record, kw_only=True):
    """A Dovecot whose administrator's command is ``doveadm``, for the mailbox in ``mail``; its other files
    are in ``place``, a directory above that in which nobody else may write."""

    doveadm: tuple[str, ...]
    place: Path
    mail: Path
    layout: Layout

    @contextmanager
    def account(self) -> Iterator[ShownAccount]:
        """Start it; it ends with the context. Raises StoreError if it does not start, with what it says."""
        uid, gid = given_away(self.place, self.mail)
        facts = {
            "place": self.place,
            "mail": self.mail,
            "uid": uid,
            "gid": gid,
            "location": self.layout.location(self.mail),
            "settings": self.layout.settings(self.mail),
        }
        settings = self.place / "dovecot.conf"
        settings.write_text(_2_4.format(**facts))
        if not self._answers(settings):
            settings.write_text(_2_3.format(**facts))
        with self._started(settings) as account:
            yield account

    def _answers(self, settings: Path) -> bool:
        """Whether a server takes this configuration."""
        try:
            with self._started(settings):
                return True
        except StoreError:
            return False

    @contextmanager
    def _started(self, settings: Path) -> Iterator[ShownAccount]:
        log = self.place / "log"
        log.write_bytes(b"")
        command = (*self.doveadm, "-c", str(settings), "exec", "imap")
        environment = {"HOME": str(self.place), "USER": "proof", "PATH": _PATH}
        try:
            with piped_server(command, environment, self.place, log) as client:
                yield ShownAccount(client)
        except StoreError as error:
            said = log.read_bytes()[-_MOST_SAID_BYTES:].decode("utf-8", "replace").split("\n")
            raise StoreError(f"{error.message}: {' '.join(said).strip()}") from error


def given_away(place: Path, mail: Path) -> tuple[int, int]:
    """Give a mailbox to the owner of the mail, as whom a server has to work: root may not be, and a user whom
    nobody is stands for it. Returns who has it now.

    The directory above it stays ours, and that user only gets through it: what lies there is read and written
    as root, and a configuration that others can put there would be a program that root starts. Raises
    StoreError.
    """
    there = mail.stat()
    if os.geteuid() != 0:
        return there.st_uid, there.st_gid
    uid, gid = (there.st_uid, there.st_gid) if there.st_uid else (_nobodys(), _nobodys())
    top = place / mail.relative_to(place).parts[0]
    try:
        # Nobody gets in before all of it is done: who did could put a symbolic link in the way.
        for directory, names, files in os.walk(top, topdown=False):
            for name in (*names, *files):
                os.chown(os.path.join(directory, name), uid, gid, follow_symlinks=False)
        os.chown(top, uid, gid, follow_symlinks=False)
        os.chown(place, -1, gid, follow_symlinks=False)
        place.chmod(0o710)
    except OSError as error:
        raise StoreError(f"{place}: can't be given to user {uid}: {error.strerror}") from error
    return uid, gid


def _nobodys() -> int:
    """A user whom nobody is: not `nobody`, as whom programs of others may run."""
    known = {one.pw_uid for one in pwd.getpwall()} | {one.gr_gid for one in grp.getgrall()}
    return next(number for number in range(64_999, 60_000, -1) if number not in known)
