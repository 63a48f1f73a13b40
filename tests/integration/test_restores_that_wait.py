"""Restores in the queue that wait for a tape: others go on beside them."""

from __future__ import annotations

import shutil
from pathlib import Path

from mailhaul.coordinator.serving.rules import RESTORES_AT_ONCE

from ..maildirs import Maildir
from .serving import Served, wait_until

DESTINATION = """\

[[destination]]
name = "drive"
kind = "tape"
file = "{place}/drive0"
capacity = "100 MB"

[sweep]
copies = ["drive"]
look_again = "0s"
keep_staged = "0s"
keep_newest = false
"""


def mail(root: Path) -> list[bytes]:
    """All messages below a directory."""
    return sorted(
        path.read_bytes() for path in root.rglob("*") if path.parent.name in ("cur", "new") and path.is_file()
    )


def test_restores_that_wait_for_a_tape_keep_others_from_nothing(tmp_path: Path) -> None:
    served = Served(tmp_path, more=DESTINATION.format(place=tmp_path))
    for number in range(5):
        Maildir(served.store / "anna").message(f"{number}.M1P1.host:2,S", b"Subject: %d\n\nold\n" % number)
    served.run("backup")
    served.run("sweep")
    (volume,) = (tmp_path / "drive0").glob("*.tap")
    shutil.move(volume, tmp_path)
    Maildir(served.store / "bert").message("1.M1P1.host:2,S", b"Subject: new\n\nnew\n")
    served.run("backup")  # lies in the staging area

    def restore(user: str, place: str) -> int:
        to = f"maildir:{tmp_path}/{place}/{{user}}"
        return served.put_in("restore", f"/primary/user/{user}", "--to", to)

    with served.serving():
        waiting = [restore("anna", f"back{number}") for number in range(RESTORES_AT_ONCE)]
        for number in waiting:
            wait_until(lambda: served.operation(number).waits_for.startswith("waits for 1 archive: "))  # noqa: B023
            assert served.operation(number).state == "running"
        other = restore("bert", "other")
        wait_until(lambda: served.operation(other).ended)
        assert served.operation(other).state == "done"
        served.run("operations", "stop", "--all")
        for number in waiting:
            wait_until(lambda: served.operation(number).ended)  # noqa: B023
            assert (served.operation(number).state, served.operation(number).waits_for) == ("stopped", "")
    assert mail(tmp_path / "other") == mail(served.store / "bert") != []
