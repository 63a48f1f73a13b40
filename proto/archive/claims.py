"""Checking what metadata claims before anything is done with it: every value that comes out of a frame
passes here. All functions raise DamagedError.
"""

from __future__ import annotations

from functools import lru_cache
from reprlib import Repr
from typing import cast

import msgpack

from ..errors import DamagedError
from ..records import ArchiveId, Attributes, Ownership, Piece
from . import recipes

MOST_CONTAINERS = 1 << 20
"""Lists and maps that one payload may decode to; an empty one takes a byte there and many in memory."""

_LIMIT = 1 << 63

_Shortener = Repr()
_Shortener.maxstring = _Shortener.maxother = 200
shown = _Shortener.repr
"""A value as text for a message, shortened."""


def _no_extension(code: int, _: bytes) -> None:
    raise ValueError(f"extension type {code}")


def unpack_map(payload: bytes) -> dict[str, object]:
    """A msgpack map with text keys."""
    # Each takes a byte at least: of a payload that is not longer they need not be counted.
    is_long = len(payload) > MOST_CONTAINERS
    left = MOST_CONTAINERS

    def counted(container: list[object]) -> list[object]:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"more than {MOST_CONTAINERS} lists and maps")
        return container

    def as_map(pairs: list[tuple[object, object]]) -> dict[object, object]:
        if is_long:
            counted(cast(list[object], pairs))
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a map has the same key twice")
        return found

    try:
        row = msgpack.unpackb(
            payload,
            unicode_errors="surrogateescape",
            ext_hook=_no_extension,
            max_ext_len=0,
            list_hook=counted if is_long else None,
            object_pairs_hook=as_map,
        )
    except (ValueError, msgpack.UnpackException, MemoryError) as error:
        raise DamagedError(f"metadata is not msgpack: {error}", reason="metadata") from error
    if not isinstance(row, dict) or not all(isinstance(key, str) for key in row):
        raise DamagedError("metadata is not a map", reason="metadata")
    return row


def rows(value: object) -> list[object]:
    """A list."""
    if not isinstance(value, list):
        raise DamagedError(f"not a list: {shown(value)}", reason="metadata")
    return value


def text(value: object) -> str:
    """Text, perhaps empty."""
    if not isinstance(value, str):
        raise DamagedError(f"not text: {shown(value)}", reason="metadata")
    return value


def name(value: object) -> str:
    """Text that is not empty: what a logical path is made of."""
    if not isinstance(value, str) or not value:
        raise DamagedError(f"not a name: {shown(value)}", reason="metadata")
    return value


def octets(value: object) -> bytes:
    """A byte string, perhaps empty."""
    if not isinstance(value, bytes):
        raise DamagedError(f"not bytes: {shown(value)}", reason="metadata")
    return value


def integer(value: object) -> int:
    """A signed 64-bit integer."""
    if type(value) is not int or not -_LIMIT <= value < _LIMIT:  # a boolean is none
        raise DamagedError(f"not a number: {shown(value)}", reason="metadata")
    return value


def number(value: object) -> int:
    """An integer from 0 to 2**63 - 1: a count, a size, an offset."""
    if type(value) is not int or not 0 <= value < _LIMIT:
        raise DamagedError(f"not a number, or below zero: {shown(value)}", reason="metadata")
    return value


def boolean(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise DamagedError(f"neither true nor false: {shown(value)}", reason="metadata")
    return value


def archive_id(value: object) -> ArchiveId:
    """The id of an archive."""
    if not isinstance(value, bytes) or len(value) != 16:
        raise DamagedError(f"not an archive id: {shown(value)}", reason="metadata")
    return ArchiveId(value)


def ownership(mode: object, uid: object, gid: object) -> Ownership:
    """Mode and owner in the ranges that a system call takes."""
    try:
        return _ownership(mode, uid, gid)
    except TypeError as error:
        raise DamagedError(f"not an owner: {shown((mode, uid, gid))}", reason="metadata") from error


@lru_cache(1024, typed=True)  # a mailbox has thousands of directories, and hardly more than one owner
def _ownership(mode: object, uid: object, gid: object) -> Ownership:
    owner = Ownership(number(mode), number(uid), number(gid))
    if owner.mode >= 1 << 16 or owner.uid >= 1 << 32 or owner.gid >= 1 << 32:
        raise DamagedError(f"not an owner: {shown((mode, uid, gid))}", reason="metadata")
    return owner


def attributes(value: object) -> Attributes:
    """Named values, each name once."""
    found = []
    for pair in rows(value):
        if not isinstance(pair, list) or len(pair) != 2:
            raise DamagedError(f"not an attribute: {shown(pair)}", reason="metadata")
        found.append((name(pair[0]), octets(pair[1])))
    if len(dict(found)) != len(found):
        raise DamagedError(f"an attribute stands twice: {shown(value)}", reason="metadata")
    return tuple(found)


def piece(archive: ArchiveId, offset: int, length: int, recipe: int, joined: bool) -> Piece:
    """A piece with a recipe that there is; whether the archive has such data is seen when it is read."""
    if recipe >= recipes.RECIPE_LIMIT or (joined and recipe == recipes.RAW):
        raise DamagedError(f"not a piece: recipe {recipe}", reason="metadata")
    return Piece(archive, offset, length, recipe, joined)
