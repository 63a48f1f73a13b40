"""What systemd hears of a service."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mailhaul.coordinator.cli.service_manager import ServiceManager


@pytest.mark.parametrize("abstract", [False, True])
def test_readiness_and_the_end_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    name = f"mailhaul-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.settimeout(10)
        heard.bind(f"\0{name}" if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
        manager = ServiceManager()
        manager.is_ready()
        assert heard.recv(99) == b"READY=1"
        manager.is_stopping()
        assert heard.recv(99) == b"STOPPING=1"
        assert "NOTIFY_SOCKET" not in os.environ  # an operation is not the service


def test_without_a_listener_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    ServiceManager().is_ready()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    ServiceManager().is_ready()
