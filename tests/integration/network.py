"""Hosts with links that can be cut: network namespaces on this machine, one for each host.

They are joined by a bridge that has a namespace of its own, so nothing outside is touched, no address can
clash with one that is in use, and two networks at a time don't see each other. Hosts share the file system.
All of it, processes included, is gone after ``Network.close``; what a killed test run has left is removed
by the next one.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple
from uuid import uuid4

import pytest

SUBNET = "10.111.0."
"""Of every network: the hosts have the addresses 1, 2 ... in it, in their order."""

Cut = Literal["down", "drop"]
"""``down`` takes the carrier away, as a pulled cable does. ``drop`` loses every packet and tells nobody."""

_NAMESPACES = Path("/run/netns")
_OURS = re.compile(r"mailhaul-(?P<pid>[0-9]+)-(?P<began>[0-9]+)-[0-9a-f]{8}-[a-z0-9-]+")
_CLONE_NEWNET = 0x40000000
_COMMAND_SECONDS = 30
_END_SECONDS = 10.0

# At the receiving end of each direction: a packet that its sender's own kernel drops is told to the sender.
_DROP = """\
table netdev link {{
    chain arriving {{
        type filter hook ingress device "{device}" priority 0
        {condition} drop
    }}
}}
"""


class Tools(NamedTuple):
    """The programs that make and change networks."""

    ip: Path
    nft: Path


@contextmanager
def open_network(require_tool: Callable[[str], Path], *names: str) -> Iterator[Network]:
    """A network of hosts with these names, for as long as the block lasts. Without root or the tools the
    test skips; in CI it fails."""
    tools = Tools(require_tool("ip"), require_tool("nft"))
    if os.geteuid() != 0:
        reason = "network namespaces are made by root"
        _ = pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    remove_leftovers(tools)
    network = Network(tools, names)
    try:
        yield network
    finally:
        network.close()


def remove_leftovers(tools: Tools) -> None:
    """End the processes and remove the namespaces of test runs that are gone themselves."""
    for name in _names():
        found = _OURS.fullmatch(name)
        if found and _birth(int(found["pid"])) != int(found["began"]):
            _end_all(tools, name)
            with suppress(subprocess.CalledProcessError):  # another run removes it at the same time
                _call(tools.ip, "netns", "delete", name)


class Network:
    """Hosts by name, in the order given; each reaches all others."""

    def __init__(self, tools: Tools, names: Sequence[str]) -> None:
        self._tools = tools
        # Says whose it is, so that leftovers can be told from what is in use, and is on no machine twice.
        self._prefix = f"mailhaul-{os.getpid()}-{_birth(os.getpid())}-{uuid4().hex[:8]}"
        self._switch = f"{self._prefix}-switch"
        self.hosts: dict[str, Host] = {}
        try:
            self._build(names)
        except BaseException:
            self.close()
            raise

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def close(self) -> None:
        """End every process on every host, remove all. Repeatable."""
        for host in self.hosts.values():
            host.end_all()
        for name in _names():
            if name.startswith(self._prefix):
                _end_all(self._tools, name)
                _call(self._tools.ip, "netns", "delete", name)

    def _build(self, names: Sequence[str]) -> None:
        self._ip("netns", "add", self._switch)
        self._ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        self._ip("-n", self._switch, "link", "set", "dev", "bridge", "up")
        for number, name in enumerate(names, 1):
            namespace, port = f"{self._prefix}-{name}", f"port{number}"
            self._ip("netns", "add", namespace)
            self._ip("-n", namespace, "link", "set", "dev", "lo", "up")
            pair = ("type", "veth", "peer", "name", port, "netns", self._switch)
            self._ip("-n", namespace, "link", "add", "eth0", *pair)
            self._ip("-n", self._switch, "link", "set", "dev", port, "master", "bridge", "up")
            self._ip("-n", namespace, "address", "add", f"{SUBNET}{number}/24", "dev", "eth0")
            self._ip("-n", namespace, "link", "set", "dev", "eth0", "up")
            self.hosts[name] = Host(
                self._tools, name, f"{SUBNET}{number}", namespace, _Port(self._switch, port)
            )

    def _ip(self, *arguments: str) -> None:
        _call(self._tools.ip, *arguments)


class _Port(NamedTuple):
    """The other end of a host's link."""

    namespace: str
    device: str


class Host:
    """One host: an address, a link, and the processes that were started there."""

    def __init__(self, tools: Tools, name: str, address: str, namespace: str, port: _Port) -> None:
        self.name = name
        self.address = address
        self.namespace = namespace
        self._tools = tools
        self._port = port
        self._started: list[subprocess.Popen[Any]] = []

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is on the host for as long as the block lasts: its new sockets and processes are the
        host's, and stay so."""
        with (
            Path("/proc/thread-self/ns/net").open("rb") as before,
            (_NAMESPACES / self.namespace).open("rb") as there,
        ):
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def run(
        self, *command: str | Path, timeout_seconds: float = 60, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command's output and exit status. Raises TimeoutExpired, after killing it and its children."""
        process = self.popen(
            *command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
        )
        try:
            out, err = process.communicate(timeout=timeout_seconds)
        finally:
            end_group(process)
            self._started.remove(process)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def popen(
        self, *command: str | Path, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """A process in a group of its own, which ends with the host at the latest. ``env`` is added to this
        process's environment; the standard input is empty unless given."""
        options = {"stdin": subprocess.DEVNULL, **options}
        with self.inside():
            process = subprocess.Popen(
                command, env={**os.environ, **(env or {})}, start_new_session=True, **options
            )
        self._started.append(process)
        return process

    def pids(self, words: str = "") -> list[int]:
        """The processes on this host whose command line has these words in it, whoever started them."""
        return [pid for pid in _pids(self._tools, self.namespace) if words in command_line(pid)]

    def cut(self, how: Cut = "down") -> None:
        """Cut the link, until it is healed."""
        if how == "down":
            self._set_port("down")
        else:
            self._drop("")

    def lose(self, percent: int) -> None:
        """Lose so many of a hundred packets in each direction, until the link is healed."""
        self._drop(f"numgen random mod 100 < {percent}")

    def heal(self) -> None:
        """Undo ``cut`` and ``lose``. Repeatable."""
        self._set_port("up")
        for namespace, _ in self._ends():
            # Added first, as removing what is not there is an error.
            self._nft(namespace, "add table netdev link\ndelete table netdev link\n")

    def end(self, *words: str) -> None:
        """Kill every process on this host that has any of these words in its command line."""
        _end(lambda: [pid for word in words for pid in self.pids(word)], self.name)

    def end_all(self) -> None:
        """Kill every process on this host. Repeatable."""
        for process in self._started:
            end_group(process)
        self._started.clear()
        _end_all(self._tools, self.namespace)

    def _set_port(self, state: str) -> None:
        _call(self._tools.ip, "-n", self._port.namespace, "link", "set", "dev", self._port.device, state)

    def _drop(self, condition: str) -> None:
        self.heal()
        for namespace, device in self._ends():
            self._nft(namespace, _DROP.format(device=device, condition=condition))

    def _ends(self) -> tuple[tuple[str, str], ...]:
        return (self.namespace, "eth0"), self._port

    def _nft(self, namespace: str, rules: str) -> None:
        _call(self._tools.ip, "netns", "exec", namespace, self._tools.nft, "-f", "-", told=rules)


def command_line(pid: int) -> str:
    """The words of a running process, or nothing once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def end_group(process: subprocess.Popen[Any]) -> None:
    """Kill a process that leads a group, and the group; what it had for pipes is closed. Repeatable."""
    if process.returncode is None:  # else its number may be somebody else's by now
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_END_SECONDS)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _end_all(tools: Tools, namespace: str) -> None:
    _end(lambda: _pids(tools, namespace), namespace)


def _end(listed: Callable[[], list[int]], where: str) -> None:
    """Kill what is listed until nothing is: processes start others meanwhile."""
    until = time.monotonic() + _END_SECONDS
    while pids := listed():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > until:
            raise TimeoutError(f"{where}: processes that can't be killed: {pids}")
        time.sleep(0.02)


def _pids(tools: Tools, namespace: str) -> list[int]:
    if not (_NAMESPACES / namespace).exists():
        return []
    listed = _call(tools.ip, "netns", "pids", namespace).split()
    return [int(pid) for pid in listed if int(pid) != os.getpid()]


def _names() -> list[str]:
    return sorted(path.name for path in _NAMESPACES.iterdir()) if _NAMESPACES.is_dir() else []


def _birth(pid: int) -> int:
    """When a process began, in ticks since the machine did; -1 for none. With the pid it is told from all
    others that ever were."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1
    return int(fields[19])


def _call(program: Path, *arguments: str | Path, told: str = "") -> str:
    done = subprocess.run(
        [program, *arguments],
        input=told,
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS,
        check=False,
    )
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
    return done.stdout


def _enter(namespace: int) -> None:
    # As os.setns, which Python has from 3.12 on.
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
