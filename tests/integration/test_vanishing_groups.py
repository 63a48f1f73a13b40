"""Groups that are renamed, or lose their last user: no backup depends on a moment of them that was purged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ..maildirs import Maildir
from ..verifying import command

CONFIG = """\
[staging]
path = "staging"

[[partition]]
name = "primary"
format = "maildir"
path = "STORE/{user}/Maildir"

[groups]
file = "groups.conf"
"""


@pytest.mark.parametrize("how", ["renamed", "last user gone"])
@pytest.mark.parametrize("rebuilds", [1, 2])
def test_a_group_that_is_no_more(tmp_path: Path, how: str, rebuilds: int) -> None:
    config = tmp_path / "mailhaul.toml"
    config.write_text(CONFIG.replace("STORE", str(tmp_path / "store")))
    groups = tmp_path / "groups.conf"
    groups.write_text("gold=b.*\n")
    ann, bob = (Maildir(tmp_path / "store" / user / "Maildir") for user in ("ann", "bob"))
    bob.message("1.M1P1.host:2,S")

    def run(name: str, *options: object, status: tuple[int, ...] = (0,)) -> Any:
        return command(f"--config {config} {name}", *options, status=status)

    def night(number: int) -> str:
        ann.message(f"{number}.M1P1.host:2,S", b"Subject: %d\n\nx\n" % number)
        return str(run("backup")["run"])

    night(1)
    if how == "renamed":
        groups.write_text("silver=b.*\n")
    else:
        shutil.rmtree(bob.root.parent)
    night(2)
    night(3)
    run("purge", "--last", 1)
    for _ in range(rebuilds):
        (tmp_path / "staging" / ".mailhaul" / "catalog.sqlite").unlink()
        run("catalog rebuild")
    latest = night(4)
    run("verify")
    listed = run("ls", "/", "--at", latest)
    assert "gold" not in str(listed)
    restored = run("restore", "/", "--at", latest, "--to", f"maildir:{tmp_path / 'restored'}")
    assert restored["restored"] == (5 if how == "renamed" else 4)
    assert run("backup", "--full")["state"] == "done"
    run("purge", "--last", 1)
    assert run("backup")["state"] == "done"
