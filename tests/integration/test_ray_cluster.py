"""What mailhaul relies on in Ray, seen on hosts whose links are really cut: how soon a lost host is noticed,
that a host that was cut off is not stopped, and that nobody gets in without token or certificate."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailhaul.tests.integration.network import Host, Network, open_network
from mailhaul.tests.integration.ray_cluster import PORT, RayCluster, make_certificates, open_cluster

pytestmark = pytest.mark.xdist_group("ray")

NOTICED_SECONDS = 25.0
"""Seen: 6. As given to Ray: 3 to 4 checks of a second, a second each; 5 s for calls. The rest is for a slow
machine."""


@pytest.fixture(scope="module")
def network(require_tool: Callable[[str], Path]) -> Iterator[Network]:
    with open_network(require_tool, "staging", "store01") as network:
        yield network


@pytest.fixture(scope="module")
def cluster(network: Network) -> Iterator[RayCluster]:
    with open_cluster(network, "staging", "store01") as cluster:
        yield cluster


def test_host_that_is_cut_off(network: Network, cluster: RayCluster) -> None:
    store01, driver = network["store01"], cluster.driver()
    driver.tell("watch", "store01", 60)
    worker = driver.answer()
    assert worker in store01.pids()
    cut = time.monotonic()
    store01.cut("drop")
    try:
        seen = driver.answer(90)
        assert seen["host_lost"] - cut < NOTICED_SECONDS
        assert seen["call_failed"] - cut < NOTICED_SECONDS
        assert seen["error"] in ("ActorUnavailableError", "ActorDiedError")
        assert worker in store01.pids(), "it is lost, but works on: that is what epochs are for"
    finally:
        store01.heal()
    cluster.await_end("store01")
    assert worker not in store01.pids()
    cluster.start()
    assert driver.ask("live_hosts") == ["staging", "store01"]


def test_node_that_is_killed(network: Network, cluster: RayCluster) -> None:
    driver = cluster.driver()
    driver.tell("watch", "store01", 60)
    worker = driver.answer()
    killed = time.monotonic()
    cluster.kill_raylet("store01")
    seen = driver.answer(90)
    assert seen["host_lost"] - killed < NOTICED_SECONDS
    assert seen["call_failed"] - killed < NOTICED_SECONDS
    assert worker not in network["store01"].pids()
    cluster.start()
    assert driver.ask("pid_on", "store01") in network["store01"].pids()


def test_head_that_is_killed(network: Network, cluster: RayCluster) -> None:
    driver = cluster.driver()
    cluster.kill_gcs()
    with pytest.raises(EOFError):  # Ray ends the process that drives it
        driver.answer(60)
    cluster.restart()
    assert cluster.driver().ask("live_hosts") == ["staging", "store01"]


def test_mutual_tls(require_tool: Callable[[str], Path], tmp_path: Path) -> None:
    openssl = require_tool("openssl")
    with open_network(require_tool, "staging", "store01") as network:
        certificates = make_certificates(openssl, tmp_path, list(network.hosts.values()))
        with open_cluster(network, "staging", "store01", tls=certificates) as cluster:
            assert cluster.driver().ask("pid_on", "store01") in network["store01"].pids()
            store01, tls = network["store01"], certificates["store01"]
            context = ssl.create_default_context(cafile=tls.ca)
            context.set_alpn_protocols(["h2"])
            assert first_byte(store01, network["staging"], context) == b"", "no certificate, no word"
            context.load_cert_chain(tls.cert, tls.key)
            assert first_byte(store01, network["staging"], context)


def first_byte(host: Host, head: Host, context: ssl.SSLContext) -> bytes:
    """What the head says to a client on this host, which checks the head's certificate."""
    with host.inside():
        connection = socket.create_connection((head.address, PORT), timeout=10)
    with context.wrap_socket(connection, server_hostname=head.address) as secured:
        return secured.recv(1)
