"""Damaged files keep their content and lose their place; in this order, and as often as it is tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhaul.coordinator.verifying.set_aside import drop_original, keep_copy
from mailhaul.proto.errors import StagingError

FILE = "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.mha"


def put(staging: Path, content: bytes) -> Path:
    path = staging / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_file_is_in_both_places_until_it_loses_its_own(tmp_path: Path) -> None:
    path = put(tmp_path, b"damaged")
    aside = keep_copy(tmp_path, FILE)
    assert aside == tmp_path / ".mailhaul" / "damaged" / FILE
    assert keep_copy(tmp_path, FILE) == aside
    assert path.samefile(aside)
    drop_original(tmp_path, FILE)
    drop_original(tmp_path, FILE)
    assert not path.exists()
    assert keep_copy(tmp_path, FILE).read_bytes() == b"damaged"


def test_none_takes_the_place_of_another(tmp_path: Path) -> None:
    kept = []
    for content in (b"first", b"second", b"third"):
        put(tmp_path, content)
        kept.append(keep_copy(tmp_path, FILE))
        drop_original(tmp_path, FILE)
    assert [path.read_bytes() for path in kept] == [b"first", b"second", b"third"]


def test_where_it_can_not_be_done_nothing_is_lost(tmp_path: Path) -> None:
    path = put(tmp_path, b"damaged")
    (tmp_path / ".mailhaul").write_bytes(b"no directory")
    with pytest.raises(StagingError, match="set aside"):
        keep_copy(tmp_path, FILE)
    assert path.read_bytes() == b"damaged"
    with pytest.raises(StagingError, match="set aside"):
        drop_original(tmp_path, "primary")
