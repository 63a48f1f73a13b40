"""One process serves a staging area at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhaul.coordinator.serving.serve_lock import is_served, serving
from mailhaul.proto.errors import LockedError


def test_a_second_one_is_refused_as_long_as_the_first_is_there(tmp_path: Path) -> None:
    assert not is_served(tmp_path)
    with serving(tmp_path):
        assert is_served(tmp_path)
        with pytest.raises(LockedError, match="another `mailhaul serve` serves"), serving(tmp_path):
            pass
    assert not is_served(tmp_path)
    with serving(tmp_path):
        pass
