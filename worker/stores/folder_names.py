"""Names of folders: what a person sees, and what the directory is called.

Directories of Maildir++ (``.Archive.2024``) and of LAYOUT=fs (``Archive/2024``) have the levels of a name
in modified UTF-7 (RFC 3501, 5.1.3). What can't be said otherwise than it stands on disk keeps that form,
so that every directory has a name and no two of a mailbox share one.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import count

INBOX = "INBOX"

_PLAIN = re.compile(r"[ -%'-~]+")
_CONTROL = re.compile(r"[\0-\x1f\x7f-\x9f/]")
_GUID = re.compile(rb"[0-9a-f]{32}")
_SHIFTED = re.compile(rb"&([^-]*)-")


def names(paths: Iterable[bytes]) -> dict[bytes, str]:
    """The name of each folder directory of one mailbox, by its path; ``b""`` is INBOX."""
    named: dict[bytes, str] = {}
    taken: set[str] = set()
    paths = sorted(paths)
    below = len(directory_name(paths))
    for path in paths:
        on_disk = _text(path)
        choices = (f"{on_disk}~{number}" for number in count(2))
        name = folder_name(path[: len(path) - below])
        if name in taken:
            name = (
                on_disk if on_disk not in taken else next(choice for choice in choices if choice not in taken)
            )
        named[path] = name
        taken.add(name)
    return named


LIST_INDEX = b"dovecot.list.index"
"""How the files begin in which a server with ``LAYOUT=index`` has the names of its folders, and others a
copy of what it finds in the directories."""


def are_guids(paths: Iterable[bytes]) -> bool:
    """With ``LAYOUT=index``: folders lie in directories that are called by their GUIDs."""
    found = list(paths)
    return bool(found) and all(map(_GUID.fullmatch, found))


def directory_name(paths: Sequence[bytes]) -> bytes:
    """With ``DIRNAME=``, how the paths of all folders end, the INBOX's too: each folder lies in a directory
    of that name in the one that is called as it. Empty if they don't."""
    _, slash, last = paths[0].rpartition(b"/") if paths else (b"", b"", b"")
    end = slash + last
    inboxes = (b"INBOX" + end, b".INBOX" + end)
    return end if slash and any(map(paths.__contains__, inboxes)) and _all_end(paths, end) else b""


def _all_end(paths: Iterable[bytes], end: bytes) -> bool:
    return all(path.endswith(end) and len(path) > len(end) for path in paths)


@lru_cache(maxsize=1024)
def folder_name(path: bytes) -> str:
    """The name of the folder in this directory of a mailbox, levels separated by ``/``."""
    if not path:
        return INBOX
    if path.startswith(b"."):
        levels = path[1:].split(b".")
        if b"/" in path or not all(levels):
            return _text(path[1:])
    else:
        levels = path.split(b"/")
    return "/".join(level_name(level) for level in levels)


def folder_path(name: str, *, dotted: bool) -> bytes:
    """The directory of a folder of this name: in Maildir++ if ``dotted``, else in LAYOUT=fs."""
    if name == INBOX:
        return b""
    levels = [_encoded_level(level) for level in name.split("/")]
    return b"." + b".".join(levels) if dotted else b"/".join(levels)


def level_name(level: bytes) -> str:
    """One level as a person sees it; as it stands on disk if the way back would not lead there."""
    try:
        name = decode(level)
    except ValueError:
        return _text(level)
    return name if not _CONTROL.search(name) and encode(name) == level else _text(level)


def decode(level: bytes) -> str:
    """Read modified UTF-7; bytes beyond ASCII are read as UTF-8 (some servers store it so). Raises
    ValueError if it is neither."""
    parts: list[str] = []
    done = 0
    for run in _SHIFTED.finditer(level):
        parts.append(_unshifted(level[done : run.start()]))
        parts.append(_decoded_run(run[1]) if run[1] else "&")
        done = run.end()
    return "".join([*parts, _unshifted(level[done:])])


def encode(name: str) -> bytes:
    """Write modified UTF-7. Raises ValueError for a text that holds half a character (a surrogate)."""
    parts: list[bytes] = []
    done = 0
    for run in _PLAIN.finditer(name):
        parts += [_encoded_run(name[done : run.start()]), run[0].encode("ascii")]
        done = run.end()
    return b"".join([*parts, _encoded_run(name[done:])])


def _encoded_level(level: str) -> bytes:
    try:
        return encode(level)
    except ValueError:
        return level.encode("utf-8", "surrogateescape")


def _unshifted(text: bytes) -> str:
    if b"&" in text:
        raise ValueError("a shift that is not ended")
    return text.decode("utf-8")


def _decoded_run(run: bytes) -> str:
    data = binascii.a2b_base64(run.replace(b",", b"/") + b"=" * (-len(run) % 4), strict_mode=True)
    return data.decode("utf-16-be")


def _encoded_run(text: str) -> bytes:
    """What is not printable ASCII, in base64; ``&`` alone is ``&-``."""
    plain = text.split("&")
    return b"&-".join(b"&" + _base64(part) + b"-" if part else b"" for part in plain)


def _base64(text: str) -> bytes:
    data = binascii.b2a_base64(text.encode("utf-16-be"), newline=False)
    return data.rstrip(b"=").replace(b"/", b",")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
