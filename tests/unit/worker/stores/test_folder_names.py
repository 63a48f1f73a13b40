"""Names of folders, from directories and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.worker.stores.folder_names import decode, encode, folder_name, level_name, names

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"", "INBOX"),
        (b".Sent", "Sent"),
        (b".Archive.2024", "Archive/2024"),
        (b"Archive/2024", "Archive/2024"),
        (b".Entw&APw-rfe", "Entwürfe"),
        (b".Projects.R&-D", "Projects/R&D"),
        (b"&U,BTFw-", "台北"),
        (b".Entw\xc3\xbcrfe", "Entwürfe"),
        (b".two words", "two words"),
    ],
)
def test_names_as_people_see_them(path: bytes, name: str) -> None:
    assert folder_name(path) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b".a&AC8-b", "a&AC8-b"),  # a slash inside a level
        (b".a&AC4-b", "a&AC4-b"),  # a dot, which nobody encodes
        (b".a&AAo-b", "a&AAo-b"),  # a line feed
        (b".&AIU-", "&AIU-"),  # a control character beyond ASCII
        (b".&AGE-", "&AGE-"),  # an "a", which nobody encodes
        (b".&2AA-", "&2AA-"),  # half a character
        (b".&!!!-", "&!!!-"),
        (b".a&b", "a&b"),
        (b".\xff\xfe", "\udcff\udcfe"),
        (b"..a", ".a"),
        (b".a.", "a."),
        (b".a..b", "a..b"),
        (b"a\nb", "a\nb"),
        (b".a/b", "a/b"),
    ],
)
def test_what_cannot_be_said_otherwise_stays_as_it_is_on_disk(path: bytes, name: str) -> None:
    assert folder_name(path) == name


def test_no_two_folders_share_a_name() -> None:
    paths = [b"", b".INBOX", b".Entw&APw-rfe", b".Entw\xc3\xbcrfe", b".a.b", b"a/b", b"a.b", b"..a.b"]
    named = names(paths)
    assert sorted(named) == sorted(paths)
    assert len(set(named.values())) == len(paths)
    assert named[b""] == "INBOX"
    assert names(reversed(paths)) == named


def test_a_directory_of_a_fixed_name_in_each_folder_is_no_level_of_its_name() -> None:
    """``DIRNAME=mAildir``."""
    paths = [b"INBOX/mAildir", b"Archive/mAildir", b"Archive/2024/mAildir"]
    assert names(paths) == {
        b"INBOX/mAildir": "INBOX",
        b"Archive/mAildir": "Archive",
        b"Archive/2024/mAildir": "Archive/2024",
    }


@pytest.mark.parametrize(
    "paths",
    [
        [b"INBOX/mAildir", b"Archive"],  # only some
        [b"Archive/mAildir", b"Sent/mAildir"],  # without an INBOX nothing says that it is one
        [b"", b"INBOX/mAildir", b"Archive/mAildir"],  # the INBOX lies elsewhere
    ],
)
def test_a_level_that_only_some_folders_have_is_one(paths: list[bytes]) -> None:
    assert {path.decode() or "INBOX" for path in paths} == set(names(paths).values())


@given(TEXT)
def test_any_text_comes_back(text: str) -> None:
    assert decode(encode(text)) == text


@given(
    st.binary(max_size=30) | st.from_regex(rb"([a-z&,+/A-Z0-9-]|&[A-Za-z0-9,+]{0,8}-){0,12}", fullmatch=True)
)
def test_any_directory_has_one_name_and_is_found_by_it(level: bytes) -> None:
    name = level_name(level)
    assert name.encode("utf-8", "surrogateescape") == level or encode(name) == level


@given(st.lists(st.binary(min_size=1, max_size=6), unique=True))
def test_names_are_unique_whatever_the_directories_are_called(paths: list[bytes]) -> None:
    assert len(set(names(paths).values())) == len(paths)
