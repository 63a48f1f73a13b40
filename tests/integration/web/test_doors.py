"""Where ``mailhaul serve`` lets people in: the Unix socket, TLS, one browser of this host."""

from __future__ import annotations

import re
import socket as sockets
import ssl
import stat
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx2 as httpx

from mailhaul.tests.integration.servers.certificates import Authority
from mailhaul.tests.integration.serving import Served
from mailhaul.tests.pages import PASSWORD, form_token


def at_socket(served: Served) -> httpx.Client:
    """Whoever runs the tests, at the socket of the staging area."""
    # The path may be longer than that of a socket can be, as for the program itself.
    short = Path(served.place, "s")
    if not short.is_symlink():
        short.symlink_to(served.staging / ".mailhaul")
    transport = httpx.HTTPTransport(uds=str(short / "serve.sock"))
    return httpx.Client(transport=transport, base_url="http://localhost", timeout=30)


def line_with(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """The next line on stderr that has it."""
    assert process.stderr
    for line in process.stderr:
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"no line with {pattern}")


def test_the_socket_is_for_its_owner_and_goes_with_the_service(tmp_path: Path) -> None:
    served = Served(tmp_path)
    socket = served.staging / ".mailhaul" / "serve.sock"
    with served.serving() as process:
        line_with(process, "the page is at unix:")
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        with at_socket(served) as client:
            me = client.get("/api/v1/me").json()
            assert (me["name"].startswith("local:"), me["role"]) == (True, "operator")
            assert client.get("/now").status_code == 200
            assert client.get("/now", headers={"host": "evil.example"}).status_code == 403
    assert not socket.exists()
    with closing(sockets.socket(sockets.AF_UNIX)) as left_behind:  # by one that was killed
        left_behind.bind(str(Path(served.place, "s", "serve.sock")))
    with served.serving() as process:
        line_with(process, "the page is at unix:")
        with at_socket(served) as client:
            assert client.get("/now").status_code == 200


def test_over_tcp_there_is_tls_or_nothing(tmp_path: Path, require_tool: Callable[[str], Path]) -> None:
    served = Served(tmp_path)
    done = subprocess.run(
        served.words("serve", "--listen", "127.0.0.1:0"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "without TLS" in done.stderr
    authority = Authority(require_tool, tmp_path)
    cert, key = authority.certify("IP:127.0.0.1")
    Served(tmp_path, more=f'tls_cert = "{cert}"\ntls_key = "{key}"\n')
    password = tmp_path / "password"
    password.touch(0o600)
    password.write_text(PASSWORD + "\n")
    served.run("users", "add", "anna", "--role", "viewer", "--password-file", password)
    with served.serving("--listen", "127.0.0.1:0") as process:
        address = line_with(process, r"the page is at (https://\S+)")[1]
        trusted = ssl.create_default_context(cafile=str(authority.file))
        with httpx.Client(base_url=address, verify=trusted, timeout=30) as client:
            page = client.get("/log-in")
            assert page.headers["strict-transport-security"]
            token = form_token(page.text)
            answer = client.post("/log-in", data={"form_token": token, "name": "anna", "password": PASSWORD})
            assert (answer.status_code, answer.headers["location"]) == (303, "/")
            assert client.get("/api/v1/me").json()["role"] == "viewer"
            # A role that is changed from the command line ends the session.
            served.run("users", "role", "anna", "operator")
            assert client.get("/api/v1/me").status_code == 401
    acts = served.run("audit", "--check")
    assert acts["flaws"] == []
    assert [(act["what"], act["outcome"]) for act in acts["acts"]] == [
        ("add user", "begun"),
        ("add user", "done"),
        ("log in", "done"),
        ("change role", "begun"),
        ("change role", "done"),
    ]


def test_one_browser_of_this_host_is_let_in_once(tmp_path: Path) -> None:
    served = Served(tmp_path)
    with served.serving("--browse") as process:
        address = line_with(process, r"one browser, once: (\S+)")[1]
        base = address.partition("enter")[0]
        with httpx.Client(base_url=base, timeout=30) as client:
            assert client.get("/now").headers["location"].startswith("/log-in")
            assert client.get("/enter?key=wrong").status_code == 403
            assert client.get(address).status_code == 303
            assert client.get("/api/v1/me").json()["role"] == "operator"
        with httpx.Client(base_url=base, timeout=30) as another:
            assert another.get(address).status_code == 403
            assert another.get("/api/v1/me").status_code == 401
