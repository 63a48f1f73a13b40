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

from ..configured import Configured, Joined
from ..histories import PARTS, USERS, lived, mail_at, seeds
from ..sealed import Erasable, everything_encrypted
from ..trees import differences
from .test_histories import Calm

_SHARE = 4
"""One in so many rounds: nearly all that can go wrong goes wrong without encryption, too."""


@pytest.mark.parametrize("part", range(PARTS))
def test_every_kept_moment_restores_exactly(tmp_path: Path, rounds: int, part: int) -> None:
    for seed in list(seeds(rounds, part))[::_SHARE]:
        with everything_encrypted():
            _lived(Calm(tmp_path / str(seed), random.Random(seed)), seed)


@pytest.mark.parametrize("part", range(2))
def test_with_keys_by_configuration(tmp_path: Path, rounds: int, part: int) -> None:
    for seed in list(seeds(rounds, part))[:: _SHARE * 2]:
        _lived((Joined if part else Configured)(tmp_path / str(seed), random.Random(seed)), seed)


class Erased(Calm):
    """Mailboxes that are erasable, some of which are erased: all of them are gone from what was stored until
    then, and everybody else is as before."""

    def __init__(self, place: Path, rng: random.Random) -> None:
        super().__init__(place, rng)
        self.mailboxes = Erasable(*USERS)

    def erase(self) -> None:
        """What only one of them had until now is unreadable."""
        user = self.rng.choice(USERS)
        self.told.append(f"erase {user}")
        self.mailboxes.destroy(user)
        self.stored.pop(user, None)
        for seen in self.seen.values():
            seen.pop(user, None)

    def flag(self) -> None:
        """Most often somebody is erased instead."""
        self.erase() if self.rng.random() < 0.7 else super().flag()

    def move(self) -> None:
        """Now and then somebody is erased instead."""
        self.erase() if self.rng.random() < 0.4 else super().move()

    def _restores(self, run: str) -> None:
        self._restored(run)

    def _restores_newest(self, run: str) -> None:
        assert self._restored(run) or not self.seen[run], "the last moment can always be restored"

    def _restored(self, run: str) -> bool:
        """Whether the moment is there; if so, with everybody who was not erased. Others are left out: status
        3, or 1 if all are."""
        target = self.place / "restored"
        where = ("--at", run, "--to", f"maildir:{target}/{{user}}")
        done = self.command("restore", "/", *where, status=(0, 1, 3))
        if "error" in done:
            assert done["error"]["code"] == "not-found", done
        else:
            assert {skip["reason"] for skip in done["skipped"]} <= {"erased"}, done
            found = mail_at(target)
            for user in self.seen[run].keys() | found.keys():
                assert differences(self.seen[run].get(user, {}), found.get(user, {})) == [], (run, user)
        shutil.rmtree(target, ignore_errors=True)
        return "error" not in done


@pytest.mark.parametrize("part", range(PARTS))
def test_who_is_erased_is_gone_and_everybody_else_is_not(tmp_path: Path, rounds: int, part: int) -> None:
    for seed in list(seeds(rounds, part))[:: 2 * _SHARE]:
        history = Erased(tmp_path / str(seed), random.Random(seed))
        with everything_encrypted(mailboxes=history.mailboxes):
            _lived(history, seed)


def _lived(history: Calm, seed: int) -> None:
    """Live one, with what it did in the error if there is any. There are archives, and all have keys."""
    try:
        lived(history.live, history.rng)
    except BaseException as error:
        error.add_note(f"seed {seed}, in {history.place}:\n  " + "\n  ".join(history.told))
        raise
    assert _encrypted(history.place)
    shutil.rmtree(history.place)


def _encrypted(place: Path) -> int:
    """How many archives there are; all of them have keys."""
    found = 0
    for path in place.rglob("*.mha"):
        with closing(LocalFile(str(path))) as file:
            assert read_slots(file), path
        found += 1
    return found
