"""A real Ray cluster on the hosts of a network: one head, a node on each, started as ``ray start`` does it.

A node that is lost stays lost until a test starts it again, as a service manager would.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .network import Host, Network, command_line, end_group

PORT = 6379  # each host has all ports to itself

FAST = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_grpc_client_keepalive_time_ms": "2000",
    "RAY_grpc_client_keepalive_timeout_ms": "3000",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    "RAY_gcs_server_port_wait_time_s": "300",
    "RAY_raylet_start_wait_time_s": "300",
}
"""A quarter of what mailhaul sets: a lost host is seen after 6 s. Nodes end 5 s after their head, not 60. To
start may take as long as with mailhaul."""

# No processes that copy workers' output, scale the cluster or show it: nobody here would look, and each takes
# a second of a core to start. The object store is small, as nothing is kept in it.
_OPTIONS = (
    *("--block", "--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats"),
    "--include-log-monitor=false",
)
_HEAD_OPTIONS = ("--head", f"--port={PORT}", "--no-monitor", "--include-dashboard=false")
_START_SECONDS = 90.0
_END_SECONDS = 90.0
_BLOCKS = "This command will now block forever"
"""What ``ray start --block`` writes last, before it begins to look after its children."""
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The files of a host: its certificate and key, and the authority that all certificates come from."""

    cert: Path
    key: Path
    ca: Path


@contextmanager
def open_cluster(network: Network, *names: str, tls: Mapping[str, Tls] | None = None) -> Iterator[RayCluster]:
    """A cluster on these hosts, the first is the head. Ready when the block begins, gone when it ends."""
    # Not tmp_path: its name is too long for the sockets of Ray.
    place = Path(tempfile.mkdtemp(prefix="mh-"))
    cluster = RayCluster([network[name] for name in names], place, tls or {})
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(place)


@dataclass(frozen=True, slots=True)
class _Node:
    """What ``ray start`` runs as, and where it writes what it says."""

    process: subprocess.Popen[Any]
    log: Path

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def said(self) -> str:
        return self.log.read_text(errors="replace")


class RayCluster:
    """Nodes by the names of their hosts. ``place`` is a directory with a short name.

    ``token_file`` lets everybody in; ``environment(name)`` is what a process of Ray needs on a host.
    """

    def __init__(self, hosts: Collection[Host], place: Path, tls: Mapping[str, Tls]) -> None:
        self._hosts = {host.name: host for host in hosts}
        self._head = next(iter(self._hosts.values()))
        self._place = place
        self._tls = tls
        self._nodes: dict[str, _Node] = {}
        self._driver: Driver | None = None
        self.address = f"{self._head.address}:{PORT}"
        self.token_file = place / "token"
        self.token_file.touch(0o600)
        self.token_file.write_text(secrets.token_hex(32))

    def environment(self, name: str) -> dict[str, str]:
        values = {**FAST, "RAY_USAGE_STATS_ENABLED": "0"}
        values |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}
        if tls := self._tls.get(name):
            values |= {
                "RAY_USE_TLS": "1",
                "RAY_TLS_SERVER_CERT": str(tls.cert),
                "RAY_TLS_SERVER_KEY": str(tls.key),
                "RAY_TLS_CA_CERT": str(tls.ca),
            }
        return values

    def start(self) -> None:
        """Start what does not run, and wait for it. Raises RuntimeError, with the logs, if something does not
        come up."""
        for name in self._hosts:
            if name not in self._nodes:
                self.start_node(name)
        self.await_hosts(*self._hosts)

    def start_node(self, name: str) -> None:
        """Begin to start the node of a host, or its head; does not wait."""
        host = self._hosts[name]
        # A new one each time: what an earlier start has left there tells Ray that it runs already.
        temporary = tempfile.mkdtemp(prefix=f"{name}.", dir=self._place)
        role = _HEAD_OPTIONS if host is self._head else (f"--address={self.address}",)
        written = Path(temporary, "start.log")
        with written.open("wb") as log:
            process = host.popen(
                Path(sys.executable).with_name("ray"),
                *("start", *role, *_OPTIONS),
                f"--node-ip-address={host.address}",
                f"--temp-dir={temporary}",
                f"--labels=mailhaul/host={name}",
                env=self.environment(name),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._nodes[name] = _Node(process, written)

    def await_hosts(self, *names: str) -> None:
        """Wait until the nodes of exactly these hosts are alive, and each ``ray start`` looks after its own.
        Raises RuntimeError with the logs.

        Ray 2.60 calls a node alive up to a second before its ``ray start`` knows. If the node is lost in
        between, ``ray start`` goes on asking the head for a living node for
        ``RAY_raylet_start_wait_time_s``, and meanwhile doesn't collect the raylet that has ended; to the
        workers a raylet that nobody has collected is alive, so they stay as long
        (``findings/ray-start-lost-node.sh``).
        """
        until = time.monotonic() + _START_SECONDS
        while (alive := self._alive()) != sorted(names) or self._starting(names):
            ended = [name for name in names if self._nodes[name].has_ended()]
            if ended or time.monotonic() > until:
                logs = "\n".join(self._nodes[name].said() for name in names)
                raise RuntimeError(f"alive: {alive}, ended: {ended}\n{logs}")
            time.sleep(_LOOK_SECONDS)

    def _starting(self, names: Collection[str]) -> list[str]:
        return [name for name in names if _BLOCKS not in self._nodes[name].said()]

    def _alive(self) -> object:
        try:
            return self.driver().ask("live_hosts")
        except EOFError:
            return "nobody answers"  # on a busy machine the head needs longer than FAST lets the driver wait

    def driver(self) -> Driver:
        """The program that asks the cluster; started again if it was lost with the cluster."""
        if self._driver is None or not self._driver.is_running():
            self._driver = Driver(self._head, self.address, self.environment(self._head.name))
        return self._driver

    def kill_raylet(self, name: str) -> None:
        """kill -9 of what holds a node together. Returns when all that belongs to the node is gone."""
        self._kill(name, "/raylet ")
        self.await_end(name)

    def await_end(self, name: str) -> None:
        """Wait until nothing is left of a node that is ending: ``ray start`` ends when one of its children
        does, workers when their raylet does. Seen: 3 s after a cut was healed. Only for a node that was
        waited for with ``await_hosts``. Raises RuntimeError, with what is still there."""
        node, host = self._nodes.pop(name), self._hosts[name]
        until = time.monotonic() + _END_SECONDS
        while not node.has_ended() or host.pids("ray::"):
            if time.monotonic() > until:
                left = [command_line(pid) for pid in host.pids()]
                raise RuntimeError(f"{name}: still there: {left}\n{node.said()}")
            time.sleep(_LOOK_SECONDS)

    def kill_gcs(self) -> None:
        """kill -9 of what holds the cluster together."""
        self._kill(self._head.name, "/gcs_server ")

    def restart(self) -> None:
        """End what is left of the nodes and start them all."""
        self.stop()
        self.start()

    def repair(self) -> None:
        """Start what has ended, and wait until all is there."""
        if self._nodes[self._head.name].has_ended():
            self.restart()
            return
        for name in [name for name, node in self._nodes.items() if node.has_ended()]:
            self.await_end(name)
        self.start()

    def stop(self) -> None:
        """Kill every process of every node. Repeatable."""
        if self._driver is not None:
            self._driver.close()
        for name, node in self._nodes.items():
            end_group(node.process)
            self._hosts[name].end("ray::", "/default_worker.py ")
        self._nodes.clear()

    def _kill(self, name: str, words: str) -> None:
        (pid,) = self._hosts[name].pids(words)
        os.kill(pid, signal.SIGKILL)


class Driver:
    """A process on a host of the cluster that carries out what ``ray_driver`` offers."""

    def __init__(self, host: Host, address: str, environment: Mapping[str, str]) -> None:
        self._process = host.popen(
            *(sys.executable, "-P", Path(__file__).with_name("ray_driver.py"), address),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._orders, self._answers = self._process.stdin, self._process.stdout
        self._read = b""
        assert self.answer(_START_SECONDS) == "ready"

    def is_running(self) -> bool:
        return self._process.poll() is None

    def ask(self, order: str, *arguments: object, timeout_seconds: float = 60) -> Any:
        """Give an order; returns the answer."""
        self.tell(order, *arguments)
        return self.answer(timeout_seconds)

    def tell(self, order: str, *arguments: object) -> None:
        """Give an order whose answers are read later."""
        self._orders.write(json.dumps([order, *arguments]).encode() + b"\n")

    def answer(self, timeout_seconds: float = 60) -> Any:
        """The next line. Raises TimeoutError, or EOFError if the process ended."""
        until = time.monotonic() + timeout_seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            while b"\n" not in self._read:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise TimeoutError(f"the driver did not answer within {timeout_seconds:.0f} s")
                data = self._answers.read(65536)
                if not data:
                    raise EOFError("the driver has ended")
                self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        end_group(self._process)


def make_certificates(openssl: Path, place: Path, hosts: Collection[Host]) -> dict[str, Tls]:
    """A certificate for each host, good for its address, from an authority of their own."""
    ca = Tls(cert=place / "ca.pem", key=place / "ca.key", ca=place / "ca.pem")
    _certify(openssl, ca, "-x509", "-subj", "/CN=test authority")
    return {host.name: _certificate_of(openssl, place, host, ca) for host in hosts}


def _certificate_of(openssl: Path, place: Path, host: Host, ca: Tls) -> Tls:
    tls = Tls(cert=place / f"{host.name}.pem", key=place / f"{host.name}.key", ca=ca.cert)
    names = f"subjectAltName=IP:{host.address},IP:127.0.0.1,DNS:localhost"
    signed = ("-x509", "-CA", ca.cert, "-CAkey", ca.key, "-addext", names)
    _certify(
        openssl, tls, *signed, "-addext", "basicConstraints=critical,CA:FALSE", "-subj", f"/CN={host.name}"
    )
    return tls


def _certify(openssl: Path, tls: Tls, *options: str | Path) -> None:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", tls.key)
    subprocess.run(
        [openssl, "req", *key, *options, "-days", "2", "-out", tls.cert],
        check=True,
        capture_output=True,
        timeout=30,
    )
    tls.key.chmod(0o600)
