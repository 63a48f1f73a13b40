"""Names of files: safe, stable, never shared."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.worker.exports.file_names import folder_path, message_names, safe_name

from ....maildirs import message

NAMES = st.text(st.one_of(st.sampled_from("./%~:ab "), st.characters(codec=None)), max_size=300)


@given(st.lists(NAMES, unique=True, max_size=20))
def test_no_two_share_a_name(names: list[str]) -> None:
    assert len({safe_name(name) for name in names}) == len(names)


@given(NAMES)
def test_names_are_safe(name: str) -> None:
    made = safe_name(name).decode()
    assert 0 < len(made.encode()) <= 240
    assert made.isprintable()
    assert not set(made) & set('/\\:*?"<>|')
    assert made[0] != "."
    assert made[-1] not in ". "
    assert not made.endswith((".eml", ".mbox", ".jsonl"))


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("jane@example.org", "jane@example.org"),
        ("Entwürfe", "Entwürfe"),
        ("example.org/jane", "example.org%2Fjane"),
        ("..", "%2E%2E"),
        (".hidden", "%2Ehidden"),
        ("list.mbox", "list%2Embox"),
        ("Re: 50%", "Re%3A 50%25"),
        ("a\nb\udcff", "a%0Ab%FF"),
        ("", "%"),
    ],
)
def test_what_a_name_becomes(name: str, made: str) -> None:
    assert safe_name(name).decode() == made


def test_levels_of_a_folder() -> None:
    assert folder_path("Archive/2024") == (b"Archive", b"2024")
    assert folder_path("a//..") == (b"a", b"%", b"%2E%2E")


def test_names_of_messages() -> None:
    names = [*islice(message_names(message(uid=341, date_ns=1_600_000_000 * 10**9), "Re:  50%\n of it."), 2)]
    assert names == [b"20200913T122640Z.341.Re_50_of_it.eml", b"20200913T122640Z.341.Re_50_of_it~2.eml"]
    (first,) = islice(message_names(message(b"1.host"), ""), 1)
    (other,) = islice(message_names(message(b"2.host"), ""), 1)
    assert first != other
    assert first == next(message_names(message(b"1.host"), ""))


@given(NAMES)
def test_any_subject_makes_a_name(subject: str) -> None:
    name = next(message_names(message(uid=1), subject)).decode()
    assert name.isprintable()
    assert "/" not in name
    assert len(name.encode()) < 200
