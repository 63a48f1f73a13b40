"""``mailhaul tape``, over volumes that are files."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.cli.main import main
from mailhaul.proto.errors import EXIT_DAMAGED, EXIT_FAILED, EXIT_OK, EXIT_USAGE
from mailhaul.proto.records import STAGING, Location
from mailhaul.worker.destinations.settings import TapeDestination
from mailhaul.worker.destinations.tape.opening import open_tape_place

from ..tapes import damage, source

ARCHIVES = {"p/a.mha": 700_000, "p/b.mha": 300_000}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with tapes, on which nothing was written yet."""
    (tmp_path / "staging").mkdir()
    path = tmp_path / "mailhaul.toml"
    path.write_text(
        f"""
        [staging]
        path = "{tmp_path}/staging"
        [[partition]]
        format = "maildir"
        path = "{tmp_path}/mail/{{user}}"
        [[destination]]
        name = "drive"
        kind = "tape"
        file = "drive0"
        capacity = "100 MB"
        """
    )
    return path


def put(config: Path) -> None:
    settings = TapeDestination(
        name="drive",
        state=str(config.parent / "staging/.mailhaul/destinations/drive"),
        file=str(config.parent / "drive0"),
    )
    with closing(open_tape_place(settings)) as place:
        for name, size in ARCHIVES.items():
            place.put(name, source(name, size))
        place.commit()


def ask(capsys: pytest.CaptureFixture[str], config: Path, *words: str, status: int = EXIT_OK) -> dict:  # type: ignore[type-arg]
    capsys.readouterr()
    assert main(["--config", str(config), "tape", *words, "--json"]) == status
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return document


def test_a_volume_from_its_label_to_its_end(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(capsys, config, "list", "drive") == {"volumes": [], "wanted": []}
    labelled = ask(capsys, config, "label", "drive", "Monday")["volume"]
    assert (labelled["label"], labelled["state"], labelled["record_bytes"]) == ("Monday", "empty", 256 << 10)
    put(config)
    (listed,) = ask(capsys, config, "list", "drive")["volumes"]
    assert listed["volume"] == labelled["volume"]
    assert (listed["archives"], listed["size_bytes"], listed["where"]) == (2, 1_000_000, "V00001.tap")
    assert ask(capsys, config, "check", "drive", "Monday")["damaged"] == []
    # A new label needs to know what it gives up.
    refused = ask(capsys, config, "label", "drive", "Tuesday", "--in", "V00001", status=EXIT_FAILED)
    assert refused["error"]["facts"]["volume"] == labelled["volume"]
    over = ["--in", "V00001", "--over", labelled["volume"]]
    again = ask(capsys, config, "label", "drive", "Tuesday", *over)["volume"]
    assert (again["uses"], again["archives"]) == (2, 0)
    (listed,) = ask(capsys, config, "list", "drive")["volumes"]
    assert listed["label"] == "Tuesday"


def test_what_is_on_the_volumes_is_found_again(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(config)
    before = ask(capsys, config, "list", "drive")
    state = config.parent / "staging/.mailhaul/destinations/drive"
    state.rename(state.with_name("lost"))
    assert ask(capsys, config, "list", "drive")["volumes"] == []
    (found,) = ask(capsys, config, "inventory", "drive")["found"]
    assert found["volume"] == before["volumes"][0]
    assert ask(capsys, config, "list", "drive") == before


def test_damage_is_found(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(config)
    damage(config.parent / "drive0/V00001.tap", 6)
    checked = ask(capsys, config, "check", "drive", "V00001", "--retire", "worn", status=EXIT_DAMAGED)
    assert [one["name"] for one in checked["damaged"]] == ["p/a.mha"]
    (listed,) = ask(capsys, config, "list", "drive")["volumes"]
    assert (listed["state"], listed["retired"]) == ("retired", "worn")


def test_a_volume_that_leaves(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(config)
    where = ask(capsys, config, "eject", "drive", "V00001")["where"]
    assert where == str(config.parent / "drive0/ejected/V00001.tap")
    (listed,) = ask(capsys, config, "list", "drive")["volumes"]
    assert listed["where"] == "away"
    assert main(["--config", str(config), "tape", "list", "drive"]) == EXIT_OK
    assert "away" in capsys.readouterr().out
    ask(capsys, config, "check", "drive", "V00001", status=EXIT_FAILED)
    (wanted,) = ask(capsys, config, "list", "drive")["wanted"]
    assert wanted["label"] == "V00001"


def test_a_volume_that_is_lost_for_good(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was on it is copied again; of what lay nowhere else, that is told."""
    mail = config.parent / "mail/ann"
    for name in ("cur", "new", "tmp"):
        (mail / name).mkdir(parents=True)
    (mail / "cur/1.host:2,S").write_bytes(b"Subject: a\n\nmail\n")
    config.write_text(config.read_text() + '[sweep]\ncopies = ["drive"]\nlook_again = "0s"\n')
    arguments = ["--config", str(config)]
    for words in (["backup"], ["sweep"], ["sweep"]):
        assert main([*arguments, *words]) == EXIT_OK
    ask(capsys, config, "forget", "drive", "V00001", status=EXIT_USAGE)  # it is in reach
    where = ask(capsys, config, "eject", "drive", "V00001")["where"]
    Path(where).unlink()
    forgotten = ask(capsys, config, "forget", "drive", "V00001")
    assert (forgotten["copies"], forgotten["missing"]) == (1, [])
    ask(capsys, config, "forget", "drive", "V00001", status=EXIT_FAILED)  # it is not known any more
    for _ in range(2):
        assert main([*arguments, "sweep"]) == EXIT_OK
    (archive,) = (config.parent / "staging").glob("[!._]*/*/*.mha")
    content = archive.read_bytes()
    archive.unlink()
    assert main([*arguments, "restore", "/", "--from", "drive", "--to", f"maildir:{config.parent}/back"]) == 0
    (message,) = (config.parent / "back").rglob("1.host*")
    assert message.read_bytes() == b"Subject: a\n\nmail\n"

    archive.write_bytes(content)
    (volume,) = ask(capsys, config, "list", "drive")["volumes"]
    Path(ask(capsys, config, "eject", "drive", volume["label"])["where"]).unlink()
    archive.unlink()
    with Catalog.open(config.parent / "staging", write=True) as catalog:
        (record,) = catalog.archives()
        catalog.drop_copy(record.archive, Location(STAGING, record.name))
    forgotten = ask(capsys, config, "forget", "drive", volume["volume"], status=EXIT_DAMAGED)
    assert (forgotten["copies"], forgotten["missing"]) == (1, [record.name])


def test_what_is_no_tape_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(
        config.read_text()
        + f"""
        [[destination]]
        name = "vault"
        kind = "directory"
        path = "{config.parent}/vault"
        """
    )
    ask(capsys, config, "list", "vault", status=EXIT_USAGE)
    ask(capsys, config, "list", "other", status=EXIT_USAGE)
    config.write_text(config.read_text().replace('file = "drive0"', ""))
    ask(capsys, config, "list", "drive", status=EXIT_USAGE)
