"""A real run and a real receiver, watched: by ``status``, over HTTP, in a textfile, in the log."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from mailhaul.coordinator.monitoring.exposition import make_registry, serve_metrics
from mailhaul.coordinator.monitoring.metrics import SpaceCollector
from mailhaul.proto.errors import BackupError
from mailhaul.worker.staging.space import Space

from ..trees import differences, snapshot

MAILHAUL = Path(sys.executable).with_name("mailhaul")
WAIT_SECONDS = 60.0
MESSAGES = 160

CONFIG = """\
[staging]
path = "staging"
host = "here"
reserve = "1 MiB"
{staging}

[[partition]]
host = "here"
format = "maildir"
path = "{store}/{{domain}}/{{user}}/Maildir"

[dispatch]
workers_per_host = 1
{load}
[metrics]
textfile = "mailhaul.prom"

[log]
file = "events.log"
"""
SLOW = """
[load]
messages_per_second = 20
"""


@pytest.fixture(scope="module")
def store(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mail") / "store"
    program = root / "deploy" / "demo" / "make_store.py"
    options = ("--messages", str(MESSAGES), "--users", "4")
    subprocess.run(
        [sys.executable, program, place, *options], check=True, stdout=subprocess.DEVNULL, timeout=60
    )
    return place


class Site:
    """A configuration, and the command in its directory."""

    def __init__(self, place: Path, store: Path) -> None:
        self.place = place
        self.store = store
        self.staging = place / "staging"

    def configure(self, *, load: str = "", staging: str = "") -> None:
        (self.place / "mailhaul.toml").write_text(CONFIG.format(store=self.store, load=load, staging=staging))

    def run(self, *arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [MAILHAUL, *arguments], cwd=self.place, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def status(self) -> Any:
        return json.loads(self.run("status", "--json"))

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """The command in a process group of its own, which is ended with the context."""
        with subprocess.Popen(
            [MAILHAUL, *arguments],
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.place / "events.log").read_text().splitlines()]


@pytest.fixture
def site(tmp_path: Path, store: Path) -> Site:
    return Site(tmp_path, store)


def eventually(look: Callable[[], Any]) -> Any:
    """What ``look`` returns, as soon as that is true."""
    until = time.monotonic() + WAIT_SECONDS
    while not (found := look()):
        assert time.monotonic() < until, f"not within {WAIT_SECONDS:g} s"
        time.sleep(0.1)
    return found


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def parsed(text: str) -> dict[str, float]:
    """Samples by name and labels."""
    return {
        sample.name
        + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return parsed(answer.read().decode())


def terminal(
    arguments: Sequence[str | Path], place: Path, send: signal.Signals | None = None, after: bytes = b""
) -> tuple[int, str]:
    """Exit status and output of a command on a terminal of 80 columns; it gets a signal ``after`` it has
    printed that."""
    parent, child = pty.openpty()
    os.environ["COLUMNS"] = "80"
    try:
        process = subprocess.Popen(
            arguments, cwd=place, stdin=subprocess.DEVNULL, stdout=child, stderr=child, close_fds=True
        )
    finally:
        del os.environ["COLUMNS"]
        os.close(child)
    text = b""
    try:
        while True:
            try:
                piece = os.read(parent, 65536)
            except OSError:  # the other end is closed
                break
            text += piece
            if send is not None and after in text:
                process.send_signal(send)
                send = None
        status = process.wait(WAIT_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(parent)
    return status, re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text.decode())


def test_a_run_that_is_killed_and_goes_on_is_watched_all_the_time(site: Site) -> None:
    site.configure(load=SLOW)
    assert "there is no staging area yet" in site.run("status")
    assert site.status()["run"] is None
    port = free_port()
    with site.started("backup", "--metrics-listen", f"127.0.0.1:{port}") as process:
        run = eventually(lambda: (found := site.status()["run"]) and found["done"]["messages"] and found)
        assert (run["pid"], run["state"], run["counts"]["running"]) == (process.pid, "running", 1)
        assert run["expected_messages"] == MESSAGES
        assert run["units"][0]["unit"] == "primary/user/0"
        found = scrape(port)
        assert found["mailhaul_units group=user partition=primary state=running"] == 1
        assert 0 < found["mailhaul_run_messages group=user partition=primary"] <= MESSAGES
        assert found["mailhaul_last_run_state state=running"] == 1
        assert found["mailhaul_last_good_backup_timestamp_seconds group=user partition=primary"] == 0
        status, text = terminal([MAILHAUL, "status"], site.place)
        assert status == 0
        assert text.startswith(f"run {run['run']} for ")
        assert [line for line in text.splitlines() if len(line) > 80 and str(site.staging) not in line] == []
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT_SECONDS)
    after = site.status()
    assert (after["run"], after["owner"], after["runs"][0]["state"]) == (None, None, "interrupted")
    assert "interrupted" in site.run("status")
    assert not (site.place / "mailhaul.prom").exists()

    site.configure()
    site.run("backup", "--resume", "latest")
    ended = site.status()
    assert (ended["run"], ended["runs"][0]["state"]) == (None, "done")
    assert ended["good"][0]["run"] == run["run"]
    written = parsed((site.place / "mailhaul.prom").read_text())
    assert written["mailhaul_last_run_state state=done"] == 1
    good = written["mailhaul_last_good_backup_timestamp_seconds group=user partition=primary"]
    assert 0 <= time.time() - good < WAIT_SECONDS
    events = [event["event"] for event in site.events()]
    assert events.count("run.started") == 2
    assert events[-2:] == ["unit.sealed", "run.ended"]
    assert {one["run"] for one in site.events()} == {run["run"]}
    site.run("restore", "/", "--to", f"maildir:{site.place}/back/{{domain}}/{{user}}/Maildir")
    restored, original = snapshot(site.place / "back"), snapshot(site.store)
    assert len(messages(original)) == MESSAGES
    assert differences(messages(original), messages(restored)) == []


def messages(tree: dict[bytes, Any]) -> dict[bytes, Any]:
    """The messages of a tree."""
    return {where: one for where, one in tree.items() if b"/cur/" in where or b"/new/" in where}


def test_a_run_that_ends_by_itself_leaves_nothing_behind(site: Site) -> None:
    site.configure()
    port = free_port()
    site.run("backup", "--metrics-listen", f"127.0.0.1:{port}")
    assert sorted(path.name for path in (site.staging / ".mailhaul").glob("status*")) == ["status.json"]
    assert json.loads((site.staging / ".mailhaul" / "status.json").read_text())["state"] == "done"
    with pytest.raises(OSError, match="refused"):
        scrape(port)


@pytest.mark.parametrize(("send", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_watching_ends_when_it_is_told_to(site: Site, send: signal.Signals, status: int) -> None:
    site.configure()
    site.run("backup")
    watched, text = terminal([MAILHAUL, "status", "--watch"], site.place, send, after=b"primary/user ")
    assert watched == status
    assert "no run is going on; the last one: " in text
    assert "primary/user" in text


def test_watch_and_json_do_not_go_together(site: Site) -> None:
    site.configure()
    site.run("status", "--watch", "--json", status=2)


def test_a_port_that_is_taken_costs_no_backup(site: Site) -> None:
    site.configure()
    with serve_metrics(CollectorRegistry(), "127.0.0.1:0") as taken:
        address = f"127.0.0.1:{taken.port}"
        with pytest.raises(BackupError, match=f"can't serve metrics at {address}: .*another program"):
            serve_metrics(CollectorRegistry(), address)
        command = [str(MAILHAUL), "backup", "--metrics-listen", address]
        done = subprocess.run(command, cwd=site.place, capture_output=True, text=True, timeout=60, check=True)
    assert "another program uses the port: the run goes on without" in done.stderr
    assert list(site.staging.rglob("*.mha"))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_metrics_are_served_until_they_are_closed(tmp_path: Path, host: str) -> None:
    if host == "[::1]" and not socket.has_ipv6:
        pytest.skip("no IPv6")
    server = serve_metrics(make_registry(SpaceCollector(Space(tmp_path, 7))), f"{host}:0")
    url = f"http://{host}:{server.port}/metrics"
    for _ in range(3):
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert parsed(answer.read().decode())["mailhaul_staging_reserve_bytes"] == 7
    server.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=30)


def test_an_address_of_another_host() -> None:
    with pytest.raises(BackupError, match=r"can't serve metrics at 192\.0\.2\.1:9410: "):
        serve_metrics(CollectorRegistry(), "192.0.2.1:9410")
    with pytest.raises(BackupError, match=r"can't serve metrics at nowhere\.invalid:9410: "):
        serve_metrics(CollectorRegistry(), "nowhere.invalid:9410")


def test_the_receiver_is_watched(site: Site) -> None:
    port, listen = free_port(), free_port()
    address = f'"tcp://127.0.0.1:{listen}"'
    site.configure(staging=f'listen = {address}\naddress = {address}\nkeys = "keys"')
    site.run("keys", "make", "receiver", "here", "--dir", "keys")
    with site.started("receive", "--metrics-listen", f"127.0.0.1:{port}") as process:
        receiver = eventually(lambda: site.staging.is_dir() and site.status()["receiver"])
        assert (receiver["pid"], receiver["streams"]) == (process.pid, [])
        with closing(socket.create_connection(("127.0.0.1", listen), timeout=30)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
            eventually(lambda: scrape(port)["mailhaul_receiver_strangers_total"])
        site.run("backup")
        found = scrape(port)
        assert found["mailhaul_receiver_up"] == 1
        assert found["mailhaul_last_run_state state=done"] == 1
        assert found["mailhaul_staging_reserve_bytes"] == 1 << 20
        text = site.run("status")
        assert "receiver: up for " in text
        assert "it turned away 1 stranger" in text
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0
