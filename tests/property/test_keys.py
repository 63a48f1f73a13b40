"""Shares and paper keys, whatever the key: enough shares give it back, and typing errors are found."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.keys.paper import paper_secret, paper_text
from mailhaul.proto.keys.records import Kem
from mailhaul.proto.keys.secret_files import PRIVATE_BYTES, Secret, Share
from mailhaul.proto.keys.shamir import combine, split

LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


@st.composite
def secrets(draw: st.DrawFn) -> Secret:
    kem = draw(st.sampled_from([Kem.X25519, Kem.HYBRID]))
    share = Share(
        number=draw(st.integers(1, 3)), threshold=2, count=3, set=draw(st.binary(min_size=4, max_size=4))
    )
    size = PRIVATE_BYTES[kem]
    return Secret(
        name="ops",
        kem=kem,
        recipient=draw(st.binary(min_size=16, max_size=16)),
        private=draw(st.binary(min_size=size, max_size=size)),
        share=draw(st.sampled_from([None, share])),
    )


@given(st.binary(min_size=1, max_size=40), st.integers(2, 5), st.integers(0, 3))
def test_enough_shares_give_the_secret_back_and_fewer_do_not(
    secret: bytes, threshold: int, more: int
) -> None:
    shares = split(secret, threshold, threshold + more)
    for numbers in combinations(shares, threshold):
        assert combine({number: shares[number] for number in numbers}) == secret
    assert combine(shares) == secret
    if len(secret) > 16:  # by chance shorter ones might
        for numbers in combinations(shares, threshold - 1):
            assert combine({number: shares[number] for number in numbers}) != secret


@pytest.mark.parametrize("wrong", [(1, 3), (4, 3), (2, 256), (0, 0)])
def test_thresholds(wrong: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="can't be what is needed"):
        split(b"secret", *wrong)


@pytest.mark.parametrize("wrong", [{}, {1: b"a", 2: b"bc"}, {0: b"a", 1: b"b"}, {256: b"a"}])
def test_what_can_be_no_shares(wrong: dict[int, bytes]) -> None:
    with pytest.raises(ValueError, match="shares"):
        combine(wrong)


@given(secrets())
def test_paper_is_read_back_however_it_is_typed(secret: Secret) -> None:
    text = paper_text(secret)
    assert paper_secret("ops", text) == secret
    assert paper_secret("ops", text.upper().replace("MAILHAUL PAPER KEY", "mailhaul paper key")) == secret
    lines = [line.partition(":")[2].replace(" ", "") for line in text.splitlines()[1:]]
    assert paper_secret("ops", "\n\n".join(["# typed", *lines])) == secret


@given(secrets(), st.data())
def test_up_to_four_wrong_letters_of_a_line_are_found_there(secret: Secret, data: st.DataObject) -> None:
    lines = paper_text(secret).splitlines()
    number = data.draw(st.integers(1, len(lines) - 1))
    line = list(lines[number])
    places = [at for at, letter in enumerate(line) if at > 3 and letter != " "]
    for at in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=4, unique=True)):
        line[at] = data.draw(st.sampled_from(LETTERS.replace(line[at], "")))
    lines[number] = "".join(line)
    with pytest.raises(ValueError, match=f"^line {number}: letters are wrong$"):
        paper_secret("ops", "\n".join(lines))


def test_each_single_typing_error_is_found() -> None:
    """Another letter, one too many, one too few, two swapped: at every place of a key."""
    secret = Secret(name="ops", kem=Kem.X25519, recipient=bytes(range(16)), private=bytes(range(100, 132)))
    lines = paper_text(secret).splitlines()
    for number, line in enumerate(lines[1:], 1):
        letters = line.partition(":")[2].replace(" ", "")
        wrong = {
            letters[:at] + other + letters[end:]
            for at in range(len(letters))
            for end in (at, at + 1)
            for other in (*LETTERS, "b", "1", "", letters[at + 1 : at + 2] + letters[at])
        } - {letters}
        wrong |= {letters[:at] + letters[at + 1] + letters[at] + letters[at + 2 :] for at in range(29)}
        for typed in wrong - {letters}:
            with pytest.raises(ValueError, match=f"^line {number}: "):
                paper_secret("ops", "\n".join([*lines[:number], typed, *lines[number + 1 :]]))


@given(secrets(), st.data())
def test_lines_that_are_missing_repeated_or_elsewhere(secret: Secret, data: st.DataObject) -> None:
    lines = [line.partition(":")[2] for line in paper_text(secret).splitlines()[1:]]
    order = data.draw(st.lists(st.sampled_from(range(len(lines))), max_size=9))
    if order != list(range(len(lines))):
        typed = [lines[at] for at in order]
        if typed != lines:
            with pytest.raises(ValueError, match=r"letters are wrong|there are"):
                paper_secret("ops", "\n".join(typed))
