"""Whom the configuration trusts, as it is now."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from mailhaul.coordinator.serving.trust import TrustedHosts
from mailhaul.proto.errors import ConfigError


def names(file: Path) -> Collection[str]:
    """The words of a file; it can't be read where one of them is "wrong"."""
    if not file.exists():
        raise ConfigError(f"{file}: there is no such file")
    words = file.read_text().split()
    if "wrong" in words:
        raise ConfigError("serve.wrong: there is no such key")
    return words


def test_a_change_of_the_file_counts_at_once(tmp_path: Path) -> None:
    file = tmp_path / "mailhaul.toml"
    read: list[Path] = []

    def load(path: Path) -> Collection[str]:
        read.append(path)
        return names(path)

    file.write_text("admin01")
    trusted = TrustedHosts(file, load, lambda line: None)
    assert [trusted(), trusted()] == [{"admin01"}, {"admin01"}]
    assert len(read) == 1, "it is read once"
    file.write_text("admin01 admin02")
    assert trusted() == {"admin01", "admin02"}
    new = tmp_path / "new"
    new.write_text("admin03 admin02")
    os.utime(new, ns=(0, 0))
    new.replace(file)  # of the same length, and older
    assert trusted() == {"admin03", "admin02"}


def test_nobody_is_trusted_while_it_can_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "mailhaul.toml"
    file.write_text("admin01")
    said: list[str] = []
    trusted = TrustedHosts(file, names, said.append)
    assert trusted() == {"admin01"}
    file.write_text("admin02 wrong")
    assert not trusted() | trusted()
    assert said == [
        "until the configuration can be read no host is trusted: serve.wrong: there is no such key"
    ]
    file.unlink()
    assert not trusted() | trusted()
    assert len(said) == 2
    file.write_text("admin02")
    assert trusted() == {"admin02"}
