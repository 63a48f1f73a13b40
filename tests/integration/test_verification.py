"""Verification over a chain of incremental backups: what it says is lost is what a restore of each moment
fails on, exactly; and what ``--fix`` and the next backup bring back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.proto.archive.frames import FrameType

from ..verifying import Backups, command, damage_data, hit, interrupted_after, make_chain, run

DAYS = 8


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Backups:
    """A chain of incremental backups, that nobody changes."""
    return make_chain(tmp_path_factory.mktemp("chain"), DAYS)


@pytest.fixture
def chain(made: Backups, tmp_path: Path) -> Backups:
    """A copy of the chain."""
    return made.copied(tmp_path / "staging")


def test_a_whole_chain_is_whole(chain: Backups, tmp_path: Path) -> None:
    assert len(chain.archives()) == DAYS
    document = chain.verify("--data", damaged=False)
    assert document["affected"] == document["damaged"] == document["unknown_files"] == []
    assert chain.failing(tmp_path / "out") == set()
    stored = 3 * DAYS + DAYS // 2 + 2
    assert document["contents"] == stored < document["messages"]


DAMAGES: dict[str, tuple[Callable[[Path], object], int]] = {
    "deleted": (Path.unlink, 1),
    "block": (lambda file: hit(file, FrameType.BLOCK), 1),
    "messages": (lambda file: hit(file, FrameType.MESSAGES), 2),
    "directory": (lambda file: hit(file, FrameType.DIRECTORY), 4),
    "cut off": (lambda file: os.truncate(file, file.stat().st_size * 2 // 3), 3),
    "overwritten": (lambda file: file.write_bytes(b"x" * 1000), 4),
}
"""What is done to an archive, and to each how many-th."""


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_verify_names_exactly_what_a_restore_fails_on(chain: Backups, tmp_path: Path, damage: str) -> None:
    inflict, stride = DAMAGES[damage]
    costly = 0
    for file in chain.archives()[::stride]:
        data = file.read_bytes()
        inflict(file)
        document = chain.verify(damaged=True)
        failing = chain.failing(tmp_path / "out")
        assert chain.told(document) == failing
        assert any(one["path"].startswith(str(file)) for one in document["damaged"])
        costly += bool(failing)
        file.write_bytes(data)
    assert costly or damage == "directory"
    chain.verify(damaged=False)


def test_what_is_lost_is_read_again_and_old_moments_become_whole(chain: Backups, tmp_path: Path) -> None:
    file = chain.archives()[1]
    damage_data(file)
    damaged = file.read_bytes()
    document = chain.verify("--fix", damaged=True)
    assert {one["remedy"] for one in document["affected"]} == {"next-backup"}
    (fixed,) = document["repaired"]
    assert (fixed["outcome"], fixed["filled_bytes"]) == ("rewritten", 0)
    assert fixed["lost_bytes"] > 0
    assert Path(fixed["aside"]).read_bytes() == damaged
    assert not file.exists()
    assert (chain.staging / fixed["new_file"]).name == file.name.replace(".mha", ".g1.mha")

    # The archives are whole now; what is lost is told on.
    document = chain.verify(damaged=True)
    assert document["damaged"] == []
    assert chain.told(document) == chain.failing(tmp_path / "out") != set()

    newest = chain.back_up()
    assert chain.restored(newest, tmp_path / "out") == set()
    document = chain.verify(damaged=True)
    assert {one["remedy"] for one in document["affected"]} == {"archive"}
    (fixed,) = chain.verify("--fix", "--data", damaged=True)["repaired"]
    assert (fixed["outcome"], fixed["lost_bytes"]) == ("rewritten", 0)
    chain.verify("--data", damaged=False)
    assert chain.failing(tmp_path / "out") == set()
    assert not [archive for archive in chain.archives() if ".g1." in archive.name]


def test_an_archive_that_is_gone_is_stored_anew(chain: Backups, tmp_path: Path) -> None:
    file = chain.archives()[2]
    file.unlink()
    (fixed,) = chain.verify("--fix", damaged=True)["repaired"]
    assert (fixed["outcome"], fixed["file"]) == ("missing", str(file.relative_to(chain.staging)))
    newest = chain.back_up()
    assert chain.restored(newest, tmp_path / "out") == set()
    document = chain.verify("--fix", damaged=True)
    assert chain.told(document) == chain.failing(tmp_path / "out") != set()


def test_a_catalog_that_was_made_again_does_not_stand_in_the_way(chain: Backups, tmp_path: Path) -> None:
    damage_data(chain.archives()[1])
    chain.verify("--fix", damaged=True)
    (chain.staging / ".mailhaul" / "catalog.sqlite").unlink()
    command("catalog rebuild", "--staging", chain.staging)
    # It knows of holes, and not that they were not meant to be.
    assert chain.told(chain.verify("--fix", damaged=True)) == chain.failing(tmp_path / "out") != set()
    newest = chain.back_up()
    assert chain.restored(newest, tmp_path / "out") == set()
    chain.verify("--fix", damaged=True)
    chain.verify("--data", damaged=False)
    assert chain.failing(tmp_path / "out") == set()


def test_a_purge_leaves_what_was_repaired(chain: Backups, tmp_path: Path) -> None:
    damage_data(chain.archives()[1])
    chain.archives()[5].unlink()
    chain.verify("--fix", damaged=True)
    chain.back_up()
    chain.verify("--fix", damaged=True)
    kept = list(chain.moments)[-3:]
    command("purge", "--last", 3, "--staging", chain.staging)
    chain.moments = {moment: chain.moments[moment] for moment in kept}
    document = chain.verify("--data")
    assert chain.told(document) == chain.failing(tmp_path / "out")
    assert kept[-1] not in {moment for moment, _ in chain.told(document)}


def test_what_is_expunged_and_lost_is_nowhere(chain: Backups) -> None:
    damage_data(chain.archives()[0])
    document = chain.verify(damaged=True)
    runs = list(chain.moments)
    (expunged,) = [one for one in document["affected"] if one["path"].endswith("NAME=11.M1P1.host")]
    assert (expunged["first"], expunged["last"], expunged["remedy"]) == (runs[0], runs[2], "nowhere")
    others = [one for one in document["affected"] if one["path"].startswith("/primary/user/jane/INBOX/")]
    assert {(one["last"], one["remedy"]) for one in others if one != expunged} == {(runs[-1], "next-backup")}


def test_metadata_that_is_lost_is_nearest_to_another_moment(chain: Backups) -> None:
    runs, file = list(chain.moments), chain.archives()[3]
    file.unlink()
    document = chain.verify(damaged=True)
    (jane,) = [one for one in document["affected"] if one["path"] == "/primary/user/jane"]
    assert (jane["first"], jane["last"]) == (runs[3], runs[3])
    assert (jane["remedy"], jane["source"], jane["file"]) == ("moment", runs[2], str(file))


def test_only_one_moment_or_what_was_sealed_since(chain: Backups) -> None:
    runs, files = list(chain.moments), chain.archives()
    files[-1].unlink()
    document = chain.verify("--at", runs[2], damaged=False)
    assert {archive["file"] for archive in document["archives"]} == set(map(str, files[:3]))
    assert chain.verify("--since", "2000-01-01", damaged=True)["damaged"]
    # Nights in which nothing changed have no archive: there is nothing to complain of.
    assert chain.verify("--since", "2100-01-01", damaged=False)["archives"] == []
    nobody = ("verify", "/primary/nix", "--staging", chain.staging, "--since", "2100-01-01")
    assert command(*nobody, status=(1,))["error"]["code"] == "not-found"


def test_by_age_what_was_not_read_for_long_is_read_and_all_that_is_damaged_stays_so(chain: Backups) -> None:
    def read(age: str, *, damaged: bool) -> set[str]:
        found = chain.verify("--older-than", age, damaged=damaged)
        return {archive["file"] for archive in found["archives"]}

    assert len(read("1h", damaged=False)) == DAYS  # no archive was ever read
    assert read("1h", damaged=False) == set()
    assert len(read("0s", damaged=False)) == DAYS
    path, gone, *_ = chain.archives()
    damage_data(path)
    assert read("1h", damaged=False) == set()
    gone.rename(gone.with_name("away"))
    assert read("1h", damaged=True) == {str(gone)}
    gone.with_name("away").rename(gone)
    assert len(read("0s", damaged=True)) == DAYS
    assert read("1h", damaged=True) == {str(path)}  # as long as it is


def test_a_sample_is_taken_of_all_archives(chain: Backups) -> None:
    document = chain.verify("--data", "--sample", "20%", damaged=False)
    assert len(document["archives"]) == DAYS
    assert all(0 < archive["frames"] < archive["sampled_of"] for archive in document["archives"])
    assert 0 < document["contents"] < 20
    assert all(one["last_checked"]["frames"] is None for one in document["archives"])
    for file in chain.archives():
        damage_data(file)
    assert len({one["path"].split(" at ")[0] for one in chain.verify("--sample", "1%")["damaged"]}) == DAYS
    command("verify", "--staging", chain.staging, "--sample", "0%", status=(2,))


def test_files_that_the_catalog_does_not_know_or_knows_otherwise(chain: Backups) -> None:
    first, second, third, *_ = chain.archives()
    stranger = first.with_name("20200101T000000Z-0000.0.0123456789abcdef.mha")
    stranger.write_bytes(first.read_bytes())
    document = chain.verify(damaged=False)
    assert document["unknown_files"] == [str(stranger.relative_to(chain.staging))]
    second.write_bytes(third.read_bytes())
    document = chain.verify(damaged=True)
    assert [(one["path"], one["reason"]) for one in document["damaged"]] == [(str(second), "foreign")]


def test_an_interrupted_verification_goes_on(chain: Backups) -> None:
    refused = command("verify", "--staging", chain.staging, "--resume", status=(2,))
    assert "nothing to resume" in refused["error"]["message"]
    with interrupted_after(3):
        command("verify", "--data", "--staging", chain.staging, status=(1,))
    command("verify", "--data", "--resume", "--staging", chain.staging, status=(2,))
    document = chain.verify("--resume", damaged=False)
    assert document["data"] is True
    assert len(document["archives"]) == DAYS - 3
    assert document["contents"] > 0
    command("verify", "--staging", chain.staging, "--resume", status=(2,))

    with interrupted_after(DAYS):
        command("verify", "--staging", chain.staging, status=(1,))
    document = chain.verify("--resume", damaged=False)
    assert document["archives"] == []
    assert document["messages"] > 0
    document = chain.verify(damaged=False)
    assert all(archive["last_checked"]["frames"] for archive in document["archives"])
    assert any(one["last_checked"]["data"] for one in document["archives"])


def test_what_people_read(chain: Backups) -> None:
    at = ("--staging", chain.staging)
    status, text, _ = run("verify", "--data", *at)
    assert (status, text.count("\n")) == (0, 1)
    assert text.startswith(f"{DAYS} archives, ")
    assert text.endswith(": all whole\n")
    assert "(a sample of " in run("verify", "--sample", "5%", *at)[1]
    first, second, third, *_ = chain.archives()
    damage_data(first)
    second.unlink()
    third.write_bytes(b"x" * 5000)
    # A backup sees that a file is missing; that one is damaged within it learns from a repair.
    text = run("verify", *at)[1]
    assert "(block); once `verify --fix` has run, the next backup reads it again" in text
    assert "(missing); the next backup reads it again" in text
    status, text, error = run("verify", "--fix", *at)
    assert (status, error.count("--fix")) == (4, 0)
    assert "once `verify --fix`" not in text
    lines = text.splitlines()
    assert {line.partition(":")[0] for line in lines[:-1]} == {
        "damaged",
        "lost",
        "rewritten",
        "recorded as missing",
        "given up",
    }
    for told in (
        "the next backup reads it again",
        "it is nowhere else",
        "nearest to it is the mailbox as of ",
        "the next backup reads again what it held",
        "nothing of it can be read: ",
        "; the damaged file is ",
    ):
        assert told in text, told
    assert lines[-1].endswith(" lost")
    assert "verify --fix rewrites damaged archives" in run("verify", *at)[2]
    chain.back_up()
    assert "the same is in " in run("verify", *at)[1]
