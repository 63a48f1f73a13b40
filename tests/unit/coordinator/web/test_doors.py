"""Where the page listens, and what is refused."""

from __future__ import annotations

import grp
import os
import socket
import stat
from pathlib import Path

import pytest

from mailhaul.coordinator.web import doors
from mailhaul.coordinator.web.settings import PageConfig, ProxyConfig, split_address
from mailhaul.proto.errors import ConfigError

PROXY = ProxyConfig(header="X-Remote-User", peers=("127.0.0.1",))


def test_a_socket_that_nobody_else_may_use(tmp_path: Path) -> None:
    staging = tmp_path / ("long" * 30)
    with doors.opened(PageConfig(), staging) as (door,):
        path = staging / ".mailhaul" / "serve.sock"
        assert door.address == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


def test_what_is_no_socket_stays_where_a_socket_was_to_be(tmp_path: Path) -> None:
    file = tmp_path / "page.pem"
    file.write_text("a certificate")
    with (
        pytest.raises(ConfigError, match="no socket"),
        doors.opened(PageConfig(socket=file), tmp_path),
    ):
        pass
    assert file.read_text() == "a certificate"


def test_a_socket_for_a_group(tmp_path: Path) -> None:
    group = grp.getgrgid(os.getegid()).gr_name
    page = PageConfig(socket=tmp_path / "page.sock", socket_group=group)
    with doors.opened(page, tmp_path):
        status = (tmp_path / "page.sock").stat()
        assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o660, os.getegid())
    with (
        pytest.raises(ConfigError, match="socket_group"),
        doors.opened(PageConfig(socket=tmp_path / "page.sock", socket_group="no-such-group"), tmp_path),
    ):
        pass


def test_without_tls_or_a_proxy_nobody_comes_over_the_network(tmp_path: Path) -> None:
    for page in (
        PageConfig(listen="127.0.0.1:0"),
        PageConfig(listen="127.0.0.1:0", tls_cert=tmp_path / "cert"),
        PageConfig(listen="[::1]:0", tls_key=tmp_path / "key", proxy=PROXY),
    ):
        with pytest.raises(ConfigError, match="tls_cert"), doors.opened(page, tmp_path):
            pass
        assert not (tmp_path / ".mailhaul" / "serve.sock").exists()


def test_behind_a_proxy_and_for_a_browser_of_this_host(tmp_path: Path) -> None:
    page = PageConfig(listen="127.0.0.1:0", proxy=PROXY)
    with doors.opened(page, tmp_path, loopback=True) as (_, proxied, loopback):
        assert proxied.address != loopback.address
        assert loopback.address.startswith("http://127.0.0.1:")
        host, port = split_address(loopback.address.removeprefix("http://").removesuffix("/"))
        with socket.create_connection((host, port), timeout=10):
            pass


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        page = PageConfig(listen=f"127.0.0.1:{taken.getsockname()[1]}", proxy=PROXY)
        with pytest.raises(ConfigError, match="can't listen"), doors.opened(page, tmp_path):
            pass


@pytest.mark.parametrize("text", ["", ":80", "host", "host:", "host:x", "host:65536", "host:-1", "::1"])
def test_what_is_no_address(text: str) -> None:
    if text == "::1":
        assert split_address(text) == (":", 1)  # brackets are missing: no such host
    else:
        with pytest.raises(ValueError, match="ADDRESS:PORT"):
            split_address(text)
