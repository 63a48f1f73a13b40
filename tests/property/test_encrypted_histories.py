"""The histories without damage once more, with archives that are encrypted: nights have the structure key
only, restores the private key as well. Most have their keys from the test; some by the configuration and the
command line, with sweeps, runs that are killed, and restores into the store."""

from __future__ import annotations

import random
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.slots import read_slots

from ..configured import Configured
from ..histories import PARTS, lived, seeds
from ..sealed import everything_encrypted
from .test_histories import Calm

_SHARE = 4
"""One in so many rounds: nearly all that can go wrong goes wrong without encryption, too."""


@pytest.mark.parametrize("part", range(PARTS))
def test_every_kept_moment_restores_exactly(tmp_path: Path, rounds: int, part: int) -> None:
    for seed in list(seeds(rounds, part))[::_SHARE]:
        place = tmp_path / str(seed)
        history = Calm(place, random.Random(seed))
        try:
            with everything_encrypted():
                lived(history.live, history.rng)
        except BaseException as error:
            error.add_note(f"seed {seed}, in {place}:\n  " + "\n  ".join(history.told))
            raise
        assert _encrypted(place)
        shutil.rmtree(place)


@pytest.mark.parametrize("part", range(2))
def test_with_keys_by_configuration(tmp_path: Path, rounds: int, part: int) -> None:
    for seed in list(seeds(rounds, part))[:: _SHARE * 2]:
        place = tmp_path / str(seed)
        history = Configured(place, random.Random(seed))
        try:
            lived(history.live, history.rng)
        except BaseException as error:
            error.add_note(f"seed {seed}, in {place}:\n  " + "\n  ".join(history.told))
            raise
        assert _encrypted(place)
        shutil.rmtree(place)


def _encrypted(place: Path) -> int:
    """How many archives there are; all of them have keys."""
    found = 0
    for path in place.rglob("*.mha"):
        with closing(LocalFile(str(path))) as file:
            assert read_slots(file), path
        found += 1
    return found
