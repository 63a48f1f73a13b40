"""What every adapter and every wrapper of Place promises (worker/archives/ports.py)."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.proto.errors import (
    AccessError,
    DamagedError,
    ExistsError,
    LockedUntilError,
    PlaceError,
)
from mailhaul.worker.archives.ports import Copy, Place

from .places import ADAPTERS, Adapter
from .putting import Failing, Pattern, killed_while_putting

NAME = "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.mha"
OTHER = "primary/other/20261121T031500Z-4f3a.0.0123456789abcdee.mha"
PLAIN = "README.txt"
HOSTILE = [
    "", "/", ".", "..", "/etc/passwd", "../outside", "a/../../outside", "a//b", "a/", "a/.", ".hidden",
    "a/.hidden", "a b", "a\nb", "a\0b", "ä", "a\\b", "-rf", "a/-rf", "a;b", "$(a)", "C:a", "\udcff",
    "a" * 401,
]  # fmt: skip
SMALL = 3 * 509 + 7
SEVERAL = 9 << 20
"""Bytes that are copied in several pieces."""


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    """An adapter over an empty place."""
    with ADAPTERS[request.param](tmp_path) as made:
        yield made


@pytest.fixture
def place(adapter: Adapter) -> Iterator[Place]:
    """The place of the adapter, open."""
    with closing(adapter.open()) as opened:
        yield opened


def put(place: Place, name: str, size: int = SMALL, salt: bytes = b"") -> Copy:
    copy = place.put(name, Pattern(size, salt))
    place.commit()
    return copy


def names(place: Place, prefix: str = "") -> list[str]:
    return sorted(copy.name for copy in place.list(prefix))


def holds(place: Place, copy: Copy, salt: bytes = b"") -> bool:
    """Whether the bytes of a copy are those of the pattern."""
    with closing(place.open(copy.name, copy.version)) as file:
        return file.size == copy.size_bytes and is_pattern(file.read_at(0, file.size), salt)


def is_pattern(data: bytes, salt: bytes = b"") -> bool:
    return data == Pattern(len(data), salt).read_at(0, len(data))


def test_an_empty_place_has_nothing(place: Place) -> None:
    assert names(place) == []
    assert place.stat(NAME) is None
    with pytest.raises(DamagedError) as missing:
        place.open(NAME)
    assert missing.value.facts["reason"] == "missing"
    place.remove(NAME)
    place.commit()
    place.request([(NAME, "")])


@pytest.mark.parametrize("size", [0, 1, SMALL, SEVERAL])
def test_what_is_put_is_there(adapter: Adapter, size: int) -> None:
    with closing(adapter.open()) as place:
        copied: list[int] = []
        copy = place.put(NAME, Pattern(size), on_bytes=copied.append)
        place.commit()
        assert (copy.name, copy.size_bytes, sum(copied)) == (NAME, size, size)
    with closing(adapter.open()) as place:
        (listed,) = place.list()
        found = place.stat(NAME)
        assert found is not None
        for one in (listed, found, place.stat(NAME, copy.version)):
            assert one is not None
            assert (one.name, one.size_bytes, one.version) == (NAME, size, copy.version)
            assert one.checksum in (b"", copy.checksum)
        assert holds(place, copy)
        assert adapter.remains() == []


def test_the_checksum_is_that_of_the_bytes(place: Place) -> None:
    from blake3 import blake3

    copy = put(place, NAME, SEVERAL)
    assert copy.checksum in (b"", blake3(Pattern(SEVERAL).read_at(0, SEVERAL)).digest())


def test_any_part_can_be_read(place: Place) -> None:
    copy = put(place, NAME, SEVERAL)
    whole = Pattern(SEVERAL)
    with closing(place.open(NAME, copy.version)) as file:
        for offset, length in [(0, 1), (5, 4096), (SEVERAL - 3, 3), (4 << 20, 70_000), (SEVERAL // 2, 0)]:
            assert file.read_at(offset, length) == whole.read_at(offset, length)
        assert file.read_at(SEVERAL - 3, 100) == whole.read_at(SEVERAL - 3, 3)
        assert file.read_at(SEVERAL, 1) == b""
        assert file.read_at(SEVERAL + 1, 1) == b""
        file.close()


def test_names_are_listed_by_how_they_begin(place: Place) -> None:
    for name in (NAME, OTHER, PLAIN):
        put(place, name)
    assert names(place) == sorted([NAME, OTHER, PLAIN])
    assert names(place, "primary/") == sorted([NAME, OTHER])
    assert names(place, "primary/us") == [NAME]
    assert names(place, "primary/user/") == [NAME]
    assert names(place, NAME) == [NAME]
    assert names(place, NAME + "x") == []
    assert names(place, "READ") == [PLAIN]
    assert names(place, "primary/user/x/") == []


def test_hostile_names_are_refused(place: Place) -> None:
    calls: list[Callable[[str], object]] = [
        lambda name: place.put(name, Pattern(SMALL)), place.stat, place.open, place.remove
    ]  # fmt: skip
    for name in HOSTILE:
        for call in calls:
            with pytest.raises(AccessError):
                call(name)
    assert names(place) == []


def test_hostile_names_are_passed_over(adapter: Adapter, place: Place) -> None:
    if adapter.plant is None:
        pytest.skip("nothing can be put there past the port")
    put(place, NAME)
    for name in ("a b", "ä", ".hidden", "primary/.hidden/x", "a\nb", "primary/user/-rf"):
        adapter.plant(name, b"x")
    assert names(place) == [NAME]


def test_a_put_can_be_repeated(adapter: Adapter, place: Place) -> None:
    first = put(place, NAME, SEVERAL)
    again = put(place, NAME, SEVERAL)
    assert (again.name, again.size_bytes, again.version) == (NAME, SEVERAL, first.version)
    with closing(adapter.open()) as other:
        assert put(other, NAME, SEVERAL).version == first.version
        assert names(other) == [NAME]


@pytest.mark.parametrize(("size", "salt"), [(SMALL, b"other"), (SMALL + 1, b""), (0, b""), (SEVERAL, b"x")])
def test_nothing_is_overwritten(adapter: Adapter, place: Place, size: int, salt: bytes) -> None:
    copy = put(place, NAME)
    with pytest.raises(ExistsError):
        put(place, NAME, size, salt)
    place.close()  # it may be alone with what it has in its hands: a drive
    with closing(adapter.open()) as other:
        assert holds(other, copy)
        assert names(other) == [NAME]
    assert adapter.remains() == []


@pytest.mark.parametrize("size", [SMALL, SEVERAL])
def test_what_is_known_to_be_damaged_is_replaced(adapter: Adapter, place: Place, size: int) -> None:
    bad = put(place, NAME, size, salt=b"damaged")
    with pytest.raises(OSError, match="of the source"):
        place.put(NAME, Failing(size, size - 1, OSError(28, "of the source")), instead_of=[bad.version])
    assert holds(place, bad, salt=b"damaged"), "as long as nothing better is there"
    good = place.put(NAME, Pattern(size), instead_of=[bad.version])
    place.commit()
    assert holds(place, good)
    assert (good.version == "") == (bad.version == "")
    again = place.put(NAME, Pattern(size), instead_of=[bad.version])
    assert again.version == good.version
    place.close()
    with closing(adapter.open()) as other:
        assert holds(other, good)
        if bad.version:
            other.remove(NAME, bad.version)
        assert names(other) == [NAME]
        assert holds(other, good)
    assert adapter.remains() == []


@pytest.mark.parametrize("at", [0, SEVERAL // 2, SEVERAL - 1])
@pytest.mark.parametrize(
    "error", [DamagedError("lost", reason="io-error"), OSError(28, "of the source"), KeyboardInterrupt()]
)
def test_a_source_that_fails_leaves_nothing(adapter: Adapter, at: int, error: BaseException) -> None:
    with closing(adapter.open()) as place:
        put(place, OTHER)
        with pytest.raises(type(error)) as raised:
            place.put(NAME, Failing(SEVERAL, at, error))
        assert raised.value is error
        assert place.stat(NAME) is None
        assert names(place) == [OTHER]
        assert holds(place, put(place, NAME, SEVERAL))
    with closing(adapter.open()) as place:
        assert names(place) == sorted([NAME, OTHER])
    assert adapter.remains() == []


def test_a_source_that_ends_early_leaves_nothing(adapter: Adapter, place: Place) -> None:
    short = Pattern(SMALL)
    short.read_at = lambda offset, length: b""  # type: ignore[method-assign]
    with pytest.raises(DamagedError):
        place.put(NAME, short)
    assert place.stat(NAME) is None
    assert adapter.remains() == []


@pytest.mark.parametrize("at", [0, SEVERAL // 2, SEVERAL])
def test_a_put_that_was_killed_leaves_nothing(adapter: Adapter, at: int) -> None:
    if adapter.settings is None:
        pytest.skip("no other process can open it")
    killed_while_putting(adapter.settings, NAME, SEVERAL, at)
    with closing(adapter.open()) as place:
        found = place.stat(NAME)
        assert found is None or holds(place, found)
        assert names(place) == ([NAME] if found else [])
        assert adapter.remains() == []
        copy = put(place, NAME, SEVERAL)
        assert holds(place, copy)
    assert adapter.remains() == []


def test_what_is_removed_is_gone(adapter: Adapter, place: Place) -> None:
    kept = put(place, OTHER)
    copy = put(place, NAME)
    place.remove(NAME, copy.version)
    place.remove(NAME, copy.version)
    assert place.stat(NAME) is None
    assert names(place) == [OTHER]
    with pytest.raises(DamagedError):
        place.open(NAME, copy.version)
    with closing(adapter.open()) as other:
        assert names(other) == [OTHER]
        assert holds(other, kept)
        assert holds(other, put(other, NAME, SMALL, b"other"), b"other")


def test_a_version_that_is_not_there_is_missing(place: Place) -> None:
    copy = put(place, NAME)
    unknown = f"{copy.version or 'v'}0"
    assert place.stat(NAME, unknown) is None
    with pytest.raises(DamagedError):
        place.open(NAME, unknown)
    place.remove(NAME, unknown)
    assert names(place) == [NAME]


def test_locked_copies_stay(adapter: Adapter, place: Place) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    if not adapter.locks:
        copy = put(place, NAME)
        with pytest.raises(PlaceError):
            place.lock(NAME, copy.version, until)
        with pytest.raises(PlaceError):
            place.put(OTHER, Pattern(SMALL), lock_until=until)
        assert names(place) == [NAME]
        return
    copy = place.put(NAME, Pattern(SMALL), lock_until=until)
    place.commit()
    assert copy.locked_until is not None
    assert copy.locked_until >= until
    with pytest.raises(LockedUntilError) as locked:
        place.remove(NAME, copy.version)
    assert locked.value.facts["until"] == copy.locked_until
    later = until + timedelta(hours=1)
    assert place.lock(NAME, copy.version, later) >= later
    assert place.lock(NAME, copy.version, until) >= later
    found = place.stat(NAME, copy.version)
    assert found is not None
    assert found.locked_until is not None
    assert found.locked_until >= later
    assert holds(place, copy)


def test_all_is_read_in_some_order(place: Place) -> None:
    copies = [put(place, name) for name in (NAME, OTHER, PLAIN)]
    addresses = [(copy.name, copy.version) for copy in copies]
    assert sorted(place.reading_order(addresses)) == sorted(addresses)
    assert list(place.reading_order([])) == []
    place.request(addresses)
    place.request(addresses)
    assert all(holds(place, copy) for copy in copies)


def test_a_big_file_takes_little_memory(adapter: Adapter, place: Place) -> None:
    if adapter.most_memory_bytes is None:
        pytest.skip("it holds what it is given")
    put(place, OTHER)
    tracemalloc.start()
    try:
        copy = put(place, NAME, adapter.file_bytes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= adapter.most_memory_bytes
    whole = Pattern(adapter.file_bytes)
    with closing(place.open(NAME, copy.version)) as file:
        assert file.size == whole.size
        for offset in range(0, whole.size, 4 << 20):
            assert file.read_at(offset, 4 << 20) == whole.read_at(offset, 4 << 20)


def test_closing_can_be_repeated(adapter: Adapter) -> None:
    place = adapter.open()
    put(place, NAME)
    place.close()
    place.close()
    never = adapter.open()
    never.close()
    with closing(adapter.open()) as other:
        assert names(other) == [NAME]
