"""The demo that a newcomer runs first: it succeeds, fits a screen, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2 as httpx


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a directory: mode and content, of links their target."""
    return {
        str(path.relative_to(root)): (
            path.lstat().st_mode,
            os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes(),
        )
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def make_store(root: Path, place: Path, *options: str) -> None:
    program = root / "deploy" / "demo" / "make_store.py"
    subprocess.run(
        [sys.executable, program, place, *options], check=True, stdout=subprocess.DEVNULL, timeout=60
    )


def test_demo(root: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, root / "deploy" / "demo" / "demo.py"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "all as it was"
    assert len(lines) <= 24
    assert max(map(len, lines)) < 80
    assert list(tmp_path.iterdir()) == []


def test_sample_stores_repeat(root: Path, tmp_path: Path) -> None:
    for name, seed in (("one", "1"), ("again", "1"), ("other", "2")):
        make_store(root, tmp_path / name, "--messages", "60", "--users", "3", "--seed", seed)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "again") != snapshot(tmp_path / "other")


def test_sample_store_tells_true_sizes(root: Path, tmp_path: Path) -> None:
    make_store(root, tmp_path / "store", "--messages", "300")
    sizes = 0
    for path in (tmp_path / "store").rglob("*,S=*"):
        told = re.search(r",S=(\d+),W=(\d+)", path.name)
        assert told
        content = path.read_bytes()
        assert [int(figure) for figure in told.groups()] == [
            len(content),
            len(re.sub(rb"\r?\n", b"\r\n", content)),
        ]
        sizes += 1
    assert sizes == 300


def test_serve_demo(root: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, root / "deploy" / "demo" / "serve_demo.py", "--nights", "3", "--messages", "150"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        lines = [line for line in iter(process.stdout.readline, "Ctrl-C ends it\n") if line]
        address = next(found[1] for line in lines if (found := re.search(r"once: (http\S+)", line)))
        with httpx.Client(base_url=address.partition("/enter")[0], timeout=30) as client:
            assert client.get(address).status_code == 303
            assert "mailbox-emptied" in client.get("/alarms").text
            assert "of 8 mailboxes" in client.get("/proof").text
            nights = client.get("/api/v1/nights").json()["nights"]
            assert len([night for night in nights if night["runs"]]) == 3
            vault = client.get("/api/v1/places").json()["places"][1]
            assert sum(copy["archives"] for copy in vault["copies"]) == 6
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert list(tmp_path.iterdir()) == []
