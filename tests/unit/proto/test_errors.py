"""The hierarchy of errors as a whole: what scripts and other processes rely on."""

from __future__ import annotations

import pickle

import pytest

from mailhaul.proto import errors

ALL = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.BackupError)
]


def test_codes_tell_errors_apart() -> None:
    codes = [error.code for error in ALL]
    assert len(set(codes)) == len(codes)


def test_exit_codes_are_those_that_are_documented() -> None:
    told = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {error.exit_code for error in ALL} <= told - {errors.EXIT_OK}


@pytest.mark.parametrize("kind", ALL)
def test_facts_survive_a_process_boundary(kind: type[errors.BackupError]) -> None:
    facts = {"reason": "vanished", "path": "/primary/user/jane"}
    came_back = pickle.loads(pickle.dumps(kind("gone", **facts)))
    assert type(came_back) is kind
    assert (str(came_back), came_back.message, came_back.facts) == ("gone", "gone", facts)
