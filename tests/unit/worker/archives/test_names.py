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
    before_name,
    check_relative,
    generation_name,
    parse_name,
    readable_path,
    sent_name,
)

NAME = "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.mha"
RESTORE = ".mailhaul/restores/20261121T031500Z-4f3a"
KEPT = f"{RESTORE}/before.12.00112233445566ff"
SENT = f"{KEPT}.0123456789abcdef"


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


def test_what_is_kept_before_a_restore_is_sent_by_a_name_of_its_own(tmp_path: Path) -> None:
    archive = ArchiveId(bytes.fromhex("0123456789abcdef") + b"only in it")
    assert before_name("20261121T031500Z-4f3a", 12, "00112233445566ff") == KEPT
    assert sent_name(KEPT, archive) == SENT
    with pytest.raises(AccessError, match="no restore 20261121T031500Z-4f3a"):
        archive_path(tmp_path, SENT)
    (tmp_path / RESTORE).mkdir(parents=True)
    assert archive_path(tmp_path, SENT) == readable_path(tmp_path, SENT) == tmp_path / SENT
    # What counts already is read, and written by nobody else.
    assert readable_path(tmp_path, KEPT) == tmp_path / KEPT
    with pytest.raises(AccessError):
        archive_path(tmp_path, KEPT)
    assert check_relative(KEPT) == KEPT


@pytest.mark.parametrize(
    "name",
    [
        f"/{SENT}",
        f"../{SENT}",
        f"x/{SENT}",
        f"{SENT}/x",
        f"{SENT}.unkept",
        f"{SENT}.1.partial",
        f"{KEPT}.unkept",
        f"{RESTORE}/order.json",
        f"{RESTORE}/journal.jsonl",
        f"{RESTORE}/../20261121T031500Z-4f3b/before.1.00112233445566ff.0123456789abcdef",
        ".mailhaul/restores/../restores/before.1.00112233445566ff.0123456789abcdef",
        ".mailhaul/restores/before.1.00112233445566ff.0123456789abcdef",
        f"{RESTORE}/before.1.00112233445566ff.0123456789abcde",
        f"{RESTORE}/before.1.00112233445566FF.0123456789abcdef",
        f"{RESTORE}/before.1234567890.00112233445566ff.0123456789abcdef",
        f"{RESTORE}/before.\u0661.00112233445566ff.0123456789abcdef",
        f"{SENT}\n",
        f"{SENT}\0",
    ],
)
def test_nothing_else_of_a_restore_is_written_or_read(tmp_path: Path, name: str) -> None:
    (tmp_path / RESTORE).mkdir(parents=True)
    for look in (archive_path, readable_path):
        with pytest.raises(AccessError):
            look(tmp_path, name)


@pytest.mark.parametrize("linked", [".mailhaul", ".mailhaul/restores", RESTORE])
def test_no_symbolic_link_is_followed_to_a_restore(tmp_path: Path, linked: str) -> None:
    (tmp_path / "elsewhere" / RESTORE).mkdir(parents=True)
    link = tmp_path / "area" / linked
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere" / linked)
    for look in (archive_path, readable_path):
        with pytest.raises(AccessError):
            look(tmp_path / "area", SENT)


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
