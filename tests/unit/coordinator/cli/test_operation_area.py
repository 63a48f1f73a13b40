"""Root beside the staging area of another user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailhaul.coordinator.cli import main

CONFIG = """
[staging]
path = "staging"

[[partition]]
name = "primary"
format = "maildir"
path = "/srv/nothing/{user}"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make what another user can't read")
def test_root_makes_nothing_in_the_staging_area_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mailhaul.toml").write_text(CONFIG)
    staging = Path("staging")
    staging.mkdir()
    os.chown(staging, 65534, 65534)
    for words in (
        ("users", "add", "anna", "--role", "operator", "--no-password"),
        ("operations", "add", "backup"),
        ("operations", "stop", "--all"),
        ("notify", "acknowledge", "failed:backup"),
        ("serve",),
    ):
        assert main.main(words) == 2, words
        assert "runuser -u" in capfd.readouterr().err
    assert list(staging.iterdir()) == []
    os.chown(staging, 0, 0)
    assert main.main(("users", "add", "anna", "--role", "operator", "--no-password")) == 0
