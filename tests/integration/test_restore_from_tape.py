"""``restore --from`` a tape: one drive, several workers, and a copy that has to be good."""

from __future__ import annotations

from pathlib import Path

from ..maildirs import Maildir
from ..trees import differences, snapshot
from .command import Mailhaul

CONFIG = """\
[staging]
path = "staging"

[[partition]]
format = "maildir"
path = "{place}/store"

[dispatch]
workers_per_host = 2

[[destination]]
name = "drive"
kind = "tape"
file = "drive0"
capacity = "100 MB"

[sweep]
copies = ["drive"]
look_again = "0s"
"""


def test_workers_do_not_take_the_drive_from_each_other(tmp_path: Path) -> None:
    store, mailhaul = tmp_path / "store", Mailhaul(tmp_path)
    for number, user in enumerate(("anna", "ben", "cara")):
        Maildir(store / user).message(f"{number}.M1P1.host:2,S", b"Subject: %d\n\nmail\n" % number * 300)
    config = tmp_path / "mailhaul.toml"
    config.write_text(CONFIG.format(place=tmp_path))
    mailhaul.run(config, "backup")
    mailhaul.run(config, "sweep")
    (staged,) = (tmp_path / "staging" / "primary").rglob("*.mha")

    def restore(name: str, status: int = 0) -> Path:
        target = tmp_path / name
        mailhaul.run(config, "restore / --from drive", "--to", f"maildir:{target}", status=status)
        return target

    # It lies in the staging area; it does not.
    assert differences(snapshot(store), snapshot(restore("staged"))) == []
    kept = staged.read_bytes()
    staged.unlink()
    assert differences(snapshot(store), snapshot(restore("recalled"))) == []
    assert staged.read_bytes() == kept

    # The copy there is what is looked at, though there is a good one here.
    (volume,) = (tmp_path / "drive0").glob("*.tap")
    data = bytearray(volume.read_bytes())
    at = data.index(kept)
    data[at + 1000 : at + len(kept)] = bytes(len(kept) - 1000)
    volume.write_bytes(data)
    restore("damaged", status=4)
    assert staged.read_bytes() == kept
