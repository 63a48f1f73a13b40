"""Templates of mailbox paths, as ``/srv/mail/{domain}/{user}/Maildir``, read in both directions.

``{user}`` stands for the user id, or for what is before its last ``@`` where ``{domain}`` occurs too;
``{user[0]}``, ``{user[0:2]}`` and the same of ``{domain}`` for letters of them, as stores with hashed
directories have them. A placeholder never stands for several levels of directories.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence

from ...groups.paths import printable
from ...proto.errors import ConfigError, StoreError
from ...proto.records import Skipped
from .acceptance import ACCEPTED, NOTHING, Acceptance
from .directories import is_directory, open_directory
from .location import RESERVED, Location, is_below, name_of
from .recognition import entries_of, is_mailbox
from .walk import Walk, unreadable

_LEVELS = 3
"""How deep mail is looked for where the template expects none."""

_PLACEHOLDER = re.compile(r"\{(user|domain)(?:\[(\d{1,3})(?::(\d{1,3}))?\])?\}")


def is_template(path: str) -> bool:
    """Whether a path has a placeholder."""
    return _PLACEHOLDER.search(path) is not None


class Template:
    """Where mailboxes lie, by a template. Raises ConfigError if the path is none that tells users apart."""

    def __init__(self, path: str, acceptance: Acceptance = NOTHING) -> None:
        names = [name for name in path.split("/") if name not in ("", ".")]
        fixed = next((at for at, name in enumerate(names) if "{" in name), len(names))
        self._pattern = names[fixed:]
        self.anchor = os.fsencode(("/" if path.startswith("/") else "") + "/".join(names[:fixed])) or b"."
        whole = "/".join(self._pattern)
        self._has_domain = "{domain}" in whole
        if "{user}" not in whole or re.search(r"[{}]", _PLACEHOLDER.sub("", whole)) or ".." in names:
            raise ConfigError(
                f"{path!r}: expected a path with {{user}}, and where wanted {{domain}} and letters of both "
                "such as {user[0]}, and no other braces"
            )
        self._acceptance = acceptance
        self._walk = Walk(self.anchor)
        self._left_out: list[Skipped] = []
        self._expressions = [re.compile(self._expression(name), re.DOTALL) for name in self._pattern]

    def locate(self, user: str) -> Location:
        """Where the mailbox of a user is to be. Raises StoreError for a user id that can't stand in this
        template."""
        return Location(
            anchor=self.anchor,
            below=tuple(self._expanded(user)),
            has_home=_PLACEHOLDER.search(self._pattern[-1]) is None,
        )

    def lay_out(self, user: str, place: bytes) -> Location:  # noqa: ARG002 (the template says the place)
        """Where to write the mailbox of a user. Raises StoreError as ``locate``."""
        return self.locate(user)

    def users(self) -> Iterator[str]:
        """Every user with a mailbox, sorted. Raises StoreError if a directory above mailboxes can't be
        listed.

        Links to directories inside the store are passed over, their targets are found by their own name;
        a mailbox behind one that leads elsewhere is told, though opening it will be refused.
        """
        self._left_out = []
        root = os.path.realpath(self.anchor)
        return iter(sorted(set(self._found(root, self.anchor, [], 0))))

    def left_out(self) -> Sequence[Skipped]:
        """See ``MailStore.left_out``."""
        return self._left_out

    def _found(self, root: bytes, path: bytes, names: list[bytes], level: int) -> Iterator[str]:
        if level == len(self._pattern):
            user = self._user(names)
            if user is None or not _may_be_mailbox(path):
                self._look_for_mail(path, names)
            elif not self._is_accepted(path):
                yield user
            return
        if "{" not in self._pattern[level]:
            name = os.fsencode(self._pattern[level])
            if os.path.lexists(path + b"/" + name):
                yield from self._found(root, path + b"/" + name, [*names, name], level + 1)
            else:
                self._look_for_mail(path, names)
            return
        for name in _directories(root, path):
            below = [*names, name]
            if self._expressions[level].fullmatch(os.fsdecode(name)):
                yield from self._found(root, path + b"/" + name, below, level + 1)
            else:
                self._look_for_mail(path + b"/" + name, below)
        self._look_for_mail(path, names, levels=-1)

    def _is_accepted(self, path: bytes) -> bool:
        """Whether a mailbox that can't be opened is known to the administrator, and accepted as it is."""
        if not self._acceptance.any:
            return False
        below = path[len(self.anchor) + 1 :]
        link = next((one for one in _above(below) if self._walk.link(one)), None)
        if link is None:
            return False
        judged = self._acceptance.judged(Skipped(printable(link), "leads-out", "a symbolic link"))
        if judged.reason == ACCEPTED:
            self._left_out.append(judged)
        return judged.reason == ACCEPTED

    def _look_for_mail(self, path: bytes, names: list[bytes], levels: int = _LEVELS) -> None:
        """Note what looks like mail in a directory that is no mailbox by this template, so many levels deep;
        -1: only what the directory holds itself, in files."""
        below = b"/".join(names)
        try:
            fd = open_directory(path)
        except OSError:
            return  # no directory; or it is above mailboxes, where that is an error
        try:
            if levels < 0:
                entries = entries_of(fd)
                found = list(self._walk.foreign(fd, below, entries))
            else:
                found = list(self._walk.through(fd, below, levels))
        except OSError as error:
            found = [unreadable(below, error)]
        finally:
            os.close(fd)
        self._left_out += self._acceptance.all_judged(
            finding.skipped for finding in found if finding.kind != "too-deep"
        )

    def _expression(self, name: str) -> str:
        """What matches the names that this part of the template may become. Whether all parts mean the
        same user is found out by expanding the template for that user."""
        named: set[str] = set()
        parts: list[str] = []
        done = 0
        for one in _PLACEHOLDER.finditer(name):
            parts.append(re.escape(name[done : one.start()]))
            first_whole = one[2] is None and one[1] not in named
            parts.append(f"(?P<{one[1]}>.+)" if first_whole else ".*")
            named |= {one[1]} if first_whole else set()
            done = one.end()
        return "".join([*parts, re.escape(name[done:])])

    def _user(self, names: list[bytes]) -> str | None:
        """The user whose mailbox has these names in the place of the template's; None if there is none."""
        values: dict[str, str] = {}
        for expression, name in zip(self._expressions, names, strict=True):
            found = expression.fullmatch(os.fsdecode(name))
            values |= found.groupdict() if found else {}
        user = f"{values['user']}@{values['domain']}" if self._has_domain else values["user"]
        try:
            return user if self._expanded(user) == names else None
        except StoreError:
            return None

    def _expanded(self, user: str) -> list[bytes]:
        local, at, domain = user.rpartition("@")
        if self._has_domain and not at:
            raise StoreError(f"user {user!r} has no domain, and the path of the partition needs one")
        if not at:
            local, domain = domain, ""
        values = {"user": local if self._has_domain else user, "domain": domain}

        def text(found: re.Match[str]) -> str:
            value = values[found[1]]
            if found[2] is None:
                return value
            begin = int(found[2])
            return value[begin : int(found[3]) if found[3] else begin + 1]

        return [name_of(_PLACEHOLDER.sub(text, name), user) for name in self._pattern]


def _may_be_mailbox(path: bytes) -> bool:
    """Whether this is a mailbox with or without an INBOX, or something that can't be told without more rights
    (then opening it will say so)."""
    try:
        fd = open_directory(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    try:
        # Nearly all are seen to be one at first sight; a mailbox may hold thousands of folders.
        return is_directory(fd, b"cur") or is_mailbox(fd, entries_of(fd), expected=True)
    except OSError:
        return True
    finally:
        os.close(fd)


def _above(path: bytes) -> Iterator[bytes]:
    """A path and those above it, beginning with the topmost."""
    names = path.split(b"/")
    return (b"/".join(names[:depth]) for depth in range(1, len(names) + 1))


def _directories(root: bytes, path: bytes) -> list[bytes]:
    """The directories in a directory, and links to directories that lie elsewhere than ``root``."""
    try:
        with os.scandir(path) as found:
            return sorted(one.name for one in found if _leads_on(root, one))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR) and os.path.realpath(path) != root:
            return []
        raise StoreError(f"{printable(path)} can't be listed: {error.strerror}") from error


def _leads_on(root: bytes, one: os.DirEntry[bytes]) -> bool:
    if one.name.startswith(RESERVED) or one.name == b"lost+found":
        return False
    if one.is_symlink():
        target = os.path.realpath(one.path)
        return os.path.isdir(target) and not is_below(root, target) and not is_below(target, root)
    return one.is_dir()
