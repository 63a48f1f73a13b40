"""Names of archives from other hosts: nothing leads out of the staging area."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhaul.proto.errors import AccessError
from mailhaul.proto.records import ArchiveId
from mailhaul.worker.archives.names import (
    ArchiveName,
    archive_name,
    archive_path,
    generation_name,
    parse_name,
)

NAME = "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.mha"


def test_a_name_is_a_path_below_the_area(tmp_path: Path) -> None:
    assert archive_path(tmp_path, NAME) == tmp_path / NAME
    assert archive_path(tmp_path, "a.b-c_d/x/20261121T031500Z-4f3a.17.0123456789abcdef.mha")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x.0.0123456789abcdef.mha",
        "user/x.0.0123456789abcdef.mha",
        "a/b/c/x.0.0123456789abcdef.mha",
        "../user/x.0.0123456789abcdef.mha",
        "primary/../x.0.0123456789abcdef.mha",
        "primary/user/../../x.0.0123456789abcdef.mha",
        "/primary/user/x.0.0123456789abcdef.mha",
        "primary//x.0.0123456789abcdef.mha",
        "primary/user/.hidden.0.0123456789abcdef.mha",
        ".mailhaul/user/x.0.0123456789abcdef.mha",
        "primary/user/x.mha",
        "primary/user/x.0.mha",
        "primary/user/x.0.0123456789abcde.mha",
        "primary/user/x.0.0123456789ABCDEF.mha",
        "primary/user/x.0.0123456789abcdef.g0.mha",
        "primary/user/x.0.0123456789abcdef.mha.1.partial",
        "primary/user/x.0.0123456789abcdef.mha\n",
        "primary/user/x.0.0123456789abcdef.mha\0",
        "primary/us er/x.0.0123456789abcdef.mha",
        "primary/user/x.\u0661.0123456789abcdef.mha",
        "primary/\udcff/x.0.0123456789abcdef.mha",
        "p" * 101 + "/user/x.0.0123456789abcdef.mha",
        "primary/user/" + "x" * 65 + ".0.0123456789abcdef.mha",
        "primary/user/x.1234567890.0123456789abcdef.mha",
    ],
)
def test_what_is_no_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(AccessError):
        archive_path(tmp_path, name)


@pytest.mark.parametrize("linked", ["primary", "primary/user"])
def test_no_symbolic_link_is_followed(tmp_path: Path, linked: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "area" / linked
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AccessError):
        archive_path(tmp_path / "area", NAME)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "primary").write_bytes(b"")
    with pytest.raises(AccessError):
        archive_path(tmp_path, NAME)


def test_generations_of_an_archive_have_names_of_their_own(tmp_path: Path) -> None:
    assert generation_name(NAME, 0) == NAME
    first = generation_name(NAME, 1)
    assert first == "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.g1.mha"
    assert generation_name(first, 12) == "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.g12.mha"
    assert generation_name(first, 0) == NAME
    assert archive_path(tmp_path, first) == tmp_path / first


def test_a_name_is_made_and_read() -> None:
    archive = ArchiveId(bytes.fromhex("0123456789abcdef") + b"only in it")
    assert archive_name("primary", "user", "20261121T031500Z-4f3a", 0, archive) == NAME
    named = ArchiveName(
        partition="primary",
        group="user",
        run="20261121T031500Z-4f3a",
        shard=0,
        digits="0123456789abcdef",
    )
    assert parse_name(NAME) == named
    assert str(named) == NAME
    anew = parse_name(generation_name(NAME, 3))
    assert (anew.generation, anew.digits) == (3, "0123456789abcdef")
    assert str(anew) == generation_name(NAME, 3)
