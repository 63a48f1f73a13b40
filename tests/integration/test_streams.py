"""A stream of several archives that was cut: each reader says so, and gives what is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mailhaul.proto.archive.splitting import archives_in
from mailhaul.worker.keepsake import mailhaul_restore

from ..agreement import disagreements
from ..maildirs import Maildir
from ..trees import differences, snapshot
from .command import Mailhaul

USERS = ("anna", "dora")
CONFIG = """\
[staging]
path = "staging"
[[partition]]
format = "maildir"
path = "{place}/store"
[groups]
file = "groups"
"""


def bounds(stream: Path) -> list[int]:
    """Where the archives in a file end."""
    files = archives_in(str(stream))
    ends, at = [], 0
    for file in files:
        at += file.size
        ends.append(at)
        file.close()
    return ends


def test_a_stream_that_is_cut_between_two_archives_is_told_by_every_reader(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, mailhaul = tmp_path / "store", Mailhaul(tmp_path)
    for number, user in enumerate(USERS):
        Maildir(store / user).message(f"{number}.M1P1.host:2,S", b"Subject: %d\n\nmail\n" % number * 300)
    (tmp_path / "groups").write_text("early=[a-c].*\n")
    config = tmp_path / "mailhaul.toml"
    config.write_text(CONFIG.format(place=tmp_path))
    command = [
        str(Path(sys.executable).with_name("mailhaul")),
        "--config",
        str(config),
        "backup",
        "-f",
        "-",
        "/",
    ]
    data = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=True).stdout
    whole = tmp_path / "whole.mha"
    whole.write_bytes(data)
    first, second, last = bounds(whole)
    assert last == len(data)
    found = mailhaul.run(None, "verify", "--data", "-f", whole)
    assert (found["messages"], found["damaged"]) == (2, [])
    to = ("--to", f"maildir:{tmp_path / 'all'}")
    assert mailhaul.run(None, "restore", "/", "-f", whole, *to)["restored"] == 2
    assert differences(snapshot(store), snapshot(tmp_path / "all")) == []
    assert mailhaul_restore.main([str(whole), "--to", str(tmp_path / "alone")]) == 0
    assert differences(snapshot(store), snapshot(tmp_path / "alone")) == []
    assert mailhaul_restore.main([str(whole), "--runs"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split("\t")[1:] == ["2", "primary"]

    cut = tmp_path / "cut.mha"
    for number, (content, reason, restored) in enumerate(
        (
            (data[:first], "no-end", 1),
            (data[:second], "no-end", 2),
            (data[: last - 20], "no-footer", 2),
            (data[:first] + data[second:], "missing", 1),
        )
    ):
        cut.write_bytes(content)
        told = mailhaul.run(None, "verify", "-f", cut, status=4)
        assert reason in {one["reason"] for one in told["damaged"]}, number
        to = ("--to", f"maildir:{tmp_path / str(number)}")
        report = mailhaul.run(None, "restore", "/", "-f", cut, *to, status=4)
        assert report["restored"] == restored
        assert reason in {one["reason"] for one in report["damaged"]}
        assert mailhaul_restore.main([str(cut), "--to", str(tmp_path / f"alone{number}")]) == 4
        copies = len(list((tmp_path / f"alone{number}").glob("*/cur/*")))
        assert copies == restored
        assert disagreements([cut]) == []
