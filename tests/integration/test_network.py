"""The hosts of the tests: they reach each other, links are cut and lossy as told, nothing is left over."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailhaul.tests.integration.network import Cut, Host, Network, Tools, open_network, remove_leftovers

PORT = 7000
SENT = 500

LEAVE_HOSTS_BEHIND = """\
import os, shutil, signal, subprocess
from pathlib import Path
from mailhaul.tests.integration.network import open_network
with open_network(lambda name: Path(shutil.which(name)), "left") as network:
    sleeper = network["left"].popen("sleep", "1000", stdout=subprocess.DEVNULL)
    print(network["left"].namespace, sleeper.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def network(require_tool: Callable[[str], Path]) -> Iterator[Network]:
    with open_network(require_tool, "one", "two") as network:
        yield network


@pytest.fixture
def tools(require_tool: Callable[[str], Path]) -> Tools:
    return Tools(require_tool("ip"), require_tool("nft"))


@pytest.fixture
def pair(network: Network) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection from the first host to the second."""
    listener = listen(network["two"])
    with listener, socket_on(network["one"]) as client:
        client.connect((network["two"].address, PORT))
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(10)
            yield client, accepted
    network["two"].heal()


def socket_on(host: Host, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    with host.inside():
        made = socket.socket(type=kind)
    made.settimeout(10)
    return made


def listen(host: Host) -> socket.socket:
    listener = socket_on(host)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host.address, PORT))
    listener.listen()
    return listener


@pytest.mark.parametrize("how", ["down", "drop"])
def test_cut_link(network: Network, pair: tuple[socket.socket, socket.socket], how: Cut) -> None:
    client, accepted = pair
    client.sendall(b"before")
    assert accepted.recv(100) == b"before"
    network["two"].cut(how)
    client.sendall(b"meanwhile")  # nobody is told
    accepted.settimeout(0.5)
    with pytest.raises(TimeoutError):
        accepted.recv(100)
    network["two"].heal()
    accepted.settimeout(10)
    assert accepted.recv(100) == b"meanwhile"


def test_lossy_link(network: Network) -> None:
    network["two"].lose(30)
    try:
        with (
            socket_on(network["one"], socket.SOCK_DGRAM) as sender,
            socket_on(network["two"], socket.SOCK_DGRAM) as receiver,
        ):
            receiver.bind((network["two"].address, PORT))
            for _ in range(SENT):
                sender.sendto(b"x", (network["two"].address, PORT))
            receiver.settimeout(0.3)
            assert 0.5 * SENT < count_received(receiver) < 0.9 * SENT
    finally:
        network["two"].heal()


def count_received(receiver: socket.socket) -> int:
    count = 0
    while True:
        try:
            receiver.recv(100)
        except TimeoutError:
            return count
        count += 1


def test_networks_do_not_see_each_other(require_tool: Callable[[str], Path], network: Network) -> None:
    with open_network(require_tool, "alone", "two") as other, listen(network["two"]):
        assert other["two"].address == network["two"].address
        with socket_on(other["alone"]) as client, pytest.raises(ConnectionRefusedError):
            client.connect((network["two"].address, PORT))


def test_everything_ends_with_the_network(tools: Tools, require_tool: Callable[[str], Path]) -> None:
    with open_network(require_tool, "one") as network:
        host = network["one"]
        parent = host.popen("sh", "-c", "sleep 1000 & setsid sleep 1000 & wait", stdout=subprocess.DEVNULL)
        while len(host.pids("sleep 1000")) < 3:  # the shell's command line has the words, too
            assert parent.poll() is None
        pids = host.pids()
        network.close()
        assert not any(map(is_running, pids))
        assert network.hosts["one"].namespace not in listed(tools)
        network.close()


def test_leftovers_of_a_killed_run_are_removed(tools: Tools, network: Network, root: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-P", "-c", LEAVE_HOSTS_BEHIND],
        stdout=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    namespace, pid = killed.stdout.split()
    assert namespace in listed(tools)
    assert is_running(int(pid))
    remove_leftovers(tools)
    assert namespace not in listed(tools)
    assert not is_running(int(pid))
    assert network["one"].namespace in listed(tools), "the owner of this one is alive"


def listed(tools: Tools) -> str:
    return subprocess.run([tools.ip, "netns", "list"], capture_output=True, text=True, check=True).stdout


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_command_that_takes_too_long_is_killed(network: Network) -> None:
    assert network["one"].run("echo", "there").stdout == "there\n"
    with pytest.raises(subprocess.TimeoutExpired):
        network["one"].run("sh", "-c", "sleep 1000; true", timeout_seconds=0.2)
    assert network["one"].pids("sleep 1000") == []
