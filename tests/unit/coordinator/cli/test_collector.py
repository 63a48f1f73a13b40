"""Records that stay are not gone through for cycles."""

from __future__ import annotations

import gc

import pytest

from mailhaul.coordinator.cli.collector import kept_records


@pytest.mark.parametrize("on", [True, False])
def test_what_was_made_meanwhile_is_left_alone(on: bool) -> None:
    before = gc.isenabled()
    frozen = gc.get_freeze_count()
    try:
        gc.enable() if on else gc.disable()
        with kept_records():
            assert not gc.isenabled()
            made = [[number] for number in range(1000)]
        assert gc.isenabled() is on
        assert gc.get_freeze_count() >= frozen + len(made)
    finally:
        gc.unfreeze()
        gc.enable() if before else gc.disable()


def test_it_is_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="x"), kept_records():
        raise ValueError("x")
    assert gc.isenabled()
    gc.unfreeze()
