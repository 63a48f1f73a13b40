"""What an open directory holds."""

from __future__ import annotations

import os
from pathlib import Path

from mailhaul.worker.packing.entries import DIRECTORY, FILE
from mailhaul.worker.packing.hot_path import entries_in
from mailhaul.worker.stores.directories import names_in, open_directory


def test_it_is_listed_as_it_is_now(tmp_path: Path) -> None:
    """Also what came since it was opened, and since it was listed (on btrfs only with a step of its own)."""
    directory = open_directory(os.fsencode(tmp_path))
    try:
        (tmp_path / "first").mkdir()
        assert names_in(directory) == [b"first"]
        (tmp_path / "second").write_bytes(b"")
        found = {(name, kind) for name, kind, _ in entries_in(directory)}
        assert found == {(b"first", DIRECTORY), (b"second", FILE)}
        (tmp_path / "third").write_bytes(b"")
        assert sorted(names_in(directory)) == [b"first", b"second", b"third"]
    finally:
        os.close(directory)


def test_nobody_lists_one_otherwise(root: Path) -> None:
    """Where directories are open for long, and are written to meanwhile."""
    for folder in ("stores", "exports"):
        for module in (root / "worker" / folder).rglob("*.py"):
            if module.name != "template.py":  # that lists by path
                text = module.read_text()
                assert "os.listdir(" not in text, module
                assert "os.scandir(" not in text, module
