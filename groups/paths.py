"""Logical paths: ``/partition/group/user/folder/uid``, each level optional from the right.

Owns how a path is read, printed and matched. A path names things in a backup, never a file: it is not
joined to a directory anywhere. What exists in a backup is known elsewhere and handed in as names.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from ..proto.errors import UsageError
from ..proto.structs import Record, replace

EVERYBODY = "user"
"""The predefined group: it holds every user, whatever other groups hold them too."""

_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PLAIN_UID = re.compile(r"[1-9][0-9]{0,9}")
_MARKED_MESSAGE = re.compile(r";(UID|NAME)=(.*)", re.IGNORECASE | re.DOTALL)
_BETWEEN_LEVELS = re.compile(r"(?<=[^/])/(?=[^/])")


class LogicalPath(Record):
    """What a path selects; None at a level means everything from there on.

    ``folder`` separates its levels by ``/``; alone it stands for itself and the folders below it. A message
    has either a ``uid`` or, where the store knows none, the ``name`` it lasts under. ``explicit`` marks a
    UID that was written ``;UID=2024``: plain digits after a folder may also be the name of a folder, and
    ``resolve`` decides. Raises UsageError for a level that is empty or has nothing above it.
    """

    partition: str | None = None
    group: str | None = None
    user: str | None = None
    folder: str | None = None
    uid: int | None = None
    name: bytes | None = None
    explicit: bool = False

    def __post_init__(self) -> None:
        message = self.name if self.uid is None else self.uid
        levels = (self.partition, self.group, self.user, self.folder, message)
        depth = sum(level is not None for level in levels)
        if not all(levels[:depth]):
            raise UsageError("a logical path needs every level above its last one, and none may be empty")
        if (self.uid is None and self.explicit) or (
            self.uid is not None and (self.uid < 0 or self.name is not None)
        ):
            raise UsageError("a message is named by a UID from 1 on or by its name, not by both")

    @classmethod
    def parse(cls, text: str) -> LogicalPath:
        """Read a path as a person types it or as ``str`` printed it. Raises UsageError.

        A last component of digits below a folder is read as a UID that is not ``explicit``; a slash after
        it makes it a folder.
        """
        if not text.startswith("/"):
            raise _wrong(text, "it starts with '/', as in /partition/group/user/folder/uid")
        levels = text[1:].removesuffix("/").split("/") if text != "/" else []
        _check_levels(text, levels)
        partition, group, user, *_ = [*map(_decoded, levels[:3]), None, None, None]
        whose = cls(partition, group, user)
        tail = levels[3:]
        if not tail:
            return whose
        if any(_MARKED_MESSAGE.fullmatch(level) for level in tail):
            return _parse_marked(text, whose, tail)
        if len(tail) > 1 and _PLAIN_UID.fullmatch(tail[-1]) and not text.endswith("/"):
            return replace(whose, folder=_decoded("/".join(tail[:-1])), uid=int(tail[-1]))
        return replace(whose, folder=_decoded("/".join(tail)))

    def resolve(self, folder_names: Collection[str]) -> LogicalPath:
        """This path, read with the knowledge of which folders its user has.

        ``/p/g/u/Archive/2024`` is the folder ``Archive/2024`` if the user has it (or one below it), else
        message 2024 of ``Archive``. Every other path, and an explicit UID, stays as it is.
        """
        if self.uid is None or self.explicit:
            return self
        folder = replace(self, folder=f"{self.folder}/{self.uid}", uid=None)
        return folder if any(folder.selects_folder(name) for name in folder_names) else self

    def __str__(self) -> str:
        """The canonical form: ``parse`` reads it back as an equal path, and it is safe on a terminal."""
        text = "".join(
            "/" + _encoded_level(level) for level in (self.partition, self.group, self.user) if level
        )
        if self.folder is not None:
            text += "/" + _encoded_folder(self.folder)
        if self.name is not None:
            return f"{text}/;NAME={_encoded(_text(self.name))}"
        if self.uid is not None:
            return f"{text}/;UID={self.uid}" if self.explicit else f"{text}/{self.uid}"
        if self.folder is not None and _ends_like_message(text):
            return text + "/"
        return text or "/"

    def selects_partition(self, name: str) -> bool:
        """Whether the path selects anything in this partition."""
        return self.partition in (None, name)

    def selects_group(self, name: str) -> bool:
        """Whether the path selects any of this group's mailboxes; one to the group ``user`` selects all."""
        return self.group in (None, EVERYBODY, name)

    def selects_user(self, name: str) -> bool:
        """Whether the path selects anything of this user."""
        return self.user in (None, name)

    def selects_folder(self, name: str) -> bool:
        """Whether the path selects anything in this folder. A path to a message means its own folder only."""
        if self.folder is None or name == self.folder:
            return True
        return self.uid is None and self.name is None and name.startswith(self.folder + "/")

    def selects_message(self, uid: int, name: bytes, suffix: bytes = b"", place: str = "") -> bool:
        """Whether the path selects a message of a selected folder, by its UID (0: none) and lasting name.
        Where several have that, the path may name one with what follows the name, and with where it lies
        before it."""
        if self.name is not None:
            return self.name in (name, name + suffix, whole_name(name, suffix, place))
        return self.uid in (None, uid)

    def covers(self, other: LogicalPath) -> bool:
        """Whether everything that ``other`` selects is selected by this path too."""
        for mine, theirs, everything in (
            (self.partition, other.partition, None),
            (self.group, other.group, EVERYBODY),
            (self.user, other.user, None),
        ):
            if mine is None:
                return True
            if theirs != mine and mine != everything:
                return False
        if self.folder is None:
            return True
        if other.folder is None:
            return False
        if self.uid is None and self.name is None:
            return self.selects_folder(other.folder)
        return (self.folder, self.uid, self.name) == (other.folder, other.uid, other.name)


def message_path(
    partition: str, group: str, user: str, folder: str, uid_or_name: int | bytes, *, ambiguous: bool = False
) -> str:
    """The path of one message as text.

    A message without UID is told by its lasting name. Set ``ambiguous`` where the user has a folder whose
    name ends like the UID; the UID is then written so that no folder can be meant.
    """
    if isinstance(uid_or_name, bytes):
        # A file whose name is nothing but flags has an empty lasting name; a path needs one.
        return str(LogicalPath(partition, group, user, folder, name=uid_or_name or b":"))
    return str(LogicalPath(partition, group, user, folder, uid_or_name, explicit=ambiguous))


def whole_name(name: bytes, suffix: bytes, place: str) -> bytes:
    """What tells a message from all others of its folder, also from those of the same lasting name."""
    return place.encode("utf-8", "surrogateescape") + b"/" + name + suffix


def printable(name: bytes) -> str:
    """A file name or relative path as text for people: what would disturb a terminal is percent-encoded."""
    return _encoded(_text(name), keep="/")


def _wrong(text: str, expected: str) -> UsageError:
    return UsageError(f"{_encoded(text, keep='/%')!r} is no logical path: {expected}", path=text)


def _check_levels(text: str, levels: list[str]) -> None:
    for level in levels:
        if not level:
            raise _wrong(text, "a level is empty (two slashes in a row)")
        if level in (".", ".."):
            raise _wrong(
                text, f"a level can't be {level!r}; a name that really is {level!r} is written with %2E"
            )
        if _STRAY_PERCENT.search(level):
            raise _wrong(text, "'%' stands before two hexadecimal digits; the sign itself is written %25")


def _parse_marked(text: str, whose: LogicalPath, tail: list[str]) -> LogicalPath:
    """A path with ``;UID=`` or ``;NAME=`` among the components after the user."""
    marked = _MARKED_MESSAGE.fullmatch(tail[-1])
    if marked is None or text.endswith("/") or len(tail) < 2 or any(map(_MARKED_MESSAGE.match, tail[:-1])):
        raise _wrong(text, "';UID=' and ';NAME=' stand last, after a folder")
    kind, value = marked[1].upper(), marked[2]
    folder = _decoded("/".join(tail[:-1]))
    if kind == "UID":
        if not _PLAIN_UID.fullmatch(value):
            raise _wrong(text, "a UID is a whole number from 1 on")
        return replace(whose, folder=folder, uid=int(value), explicit=True)
    if not value:
        raise _wrong(text, "after ';NAME=' stands the name of a message")
    return replace(whose, folder=folder, name=_decoded(value).encode("utf-8", "surrogateescape"))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _decoded(text: str) -> str:
    return _ESCAPES.sub(lambda run: _text(bytes.fromhex(run[0].replace("%", ""))), text)


def _encoded(text: str, keep: str = "") -> str:
    """Percent-encode what would be misread or would disturb a terminal; ``keep`` stays as it is."""
    if text.isprintable() and ("/" in keep or "/" not in text) and ("%" in keep or "%" not in text):
        return text
    return "".join(
        char if char in keep or (char.isprintable() and char not in "/%") else _escaped(char) for char in text
    )


def _escaped(char: str) -> str:
    # A surrogate that stands for no byte has no bytes of its own: shown, though nothing reads it back.
    errors = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", errors))


def _encoded_level(text: str) -> str:
    return text.replace(".", "%2E") if text in (".", "..") else _encoded(text)


def _encoded_folder(text: str) -> str:
    """Encode a folder name; slashes stay plain but for those beside which a level would be empty."""
    return "/".join(
        "%3B" + _encoded(level[1:]) if level.startswith(";") else _encoded_level(level)
        for level in _BETWEEN_LEVELS.split(text)
    )


def _ends_like_message(text: str) -> bool:
    """Whether the text of a folder's path would be read as that of a message."""
    tail = text[1:].split("/")[3:]
    return len(tail) > 1 and _PLAIN_UID.fullmatch(tail[-1]) is not None
