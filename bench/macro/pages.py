"""Every page and resource of ``mailhaul serve`` on a large catalog: how long it takes, and what serve needs.

    python -m mailhaul.bench.macro.pages [--staging STAGING] [--rounds 40] [--json FILE]

Without ``--staging`` the catalog is made below the directory for temporary files: 100,000 mailboxes, 400
nights, 3 GB, three minutes. Starts serve, asks for each page in turn over its Unix socket, so many
rounds, and prints milliseconds (median, 95th percentile), processor time of serve for one answer, and
its memory. With mailboxes that have archives (``--lived``, or a STAGING that ``lived`` has added them to) all
pages inside them are asked for, too. Exits with 1 if an answer is no success, a 95th percentile is
above 300 ms (of the plan of a restore, which a page waits for and which is a command of its own: 3 s),
or the memory above 200 MB.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from . import catalogs, lived
from .machine import commit, machine
from .stores import ROOT

MOST_MILLISECONDS = 300.0
MOST_MILLISECONDS_OF_A_PLAN = 3000.0
MOST_BYTES = 200 * 10**6

_CONFIGURATION = """\
[staging]
path = {staging}
same_device = true

[[partition]]
name = "primary"
format = "maildir"
path = {store}

[[partition]]
name = "{lived}"
format = "maildir"
path = {lived_store}
"""
_DESTINATION = """
[[destination]]
name = "{name}"
kind = "directory"
path = {path}
"""
PAGES = (
    "/now",
    "/now/part",
    "/mailboxes",
    "/mailboxes?text=anna",
    "/mailboxes?text=example.org",
    "/mailboxes?text=099950",
    "/nights",
    "/nights?days=365&month=2026-01",
    "/nights/2026-11-20",
    "/runs/latest",
    "/places",
    "/alarms",
    "/alarms?held=anna&behind=50",
    "/proof",
    "/operations",
    "/api/v1/now",
    "/api/v1/mailboxes?text=anna",
    "/api/v1/status",
    "/api/v1/last-night",
    "/api/v1/nights",
    "/api/v1/runs",
    "/api/v1/runs/latest",
    "/api/v1/runs/latest/skipped",
    "/api/v1/places",
    "/api/v1/alarms",
    "/api/v1/holds",
    "/api/v1/notices",
    "/api/v1/proof",
    "/api/v1/proof/failed",
    "/api/v1/operations",
)


_PLANS = "/mailboxes/plan?"
_REASON = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a page took: milliseconds until its last byte was here, and of processor time of serve."""

    address: str
    status: int
    size_bytes: int
    median_ms: float
    p95_ms: float
    cpu_ms: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--staging", type=Path, help="with a catalog that was made before")
    parser.add_argument("--mailboxes", type=int, default=100_000)
    parser.add_argument("--nights", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--lived", action="store_true", help="add mailboxes that have archives: some minutes")
    parser.add_argument("--within", action="store_true", help="only pages inside these mailboxes")
    parser.add_argument("--json", type=Path, help="where the figures are kept")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailhaul-pages-")))
        staging = options.staging and options.staging.resolve()
        if staging is None:
            staging = scratch / "staging"
            shape = catalogs.Shape(mailboxes=options.mailboxes, nights=options.nights)
            catalogs.make(staging, shape)
            if options.lived:
                lived.add(staging, list(catalogs.nights_of(shape)))
        process = stack.enter_context(_serve(staging, scratch))
        client = stack.enter_context(closing(_Client(staging / ".mailhaul" / "serve.sock")))
        inside = tuple(_inside(client)) if (staging / lived.PARTITION).is_dir() else ()
        pages = inside if options.within else (*PAGES, *inside)
        figures = _measured(client, pages, options.rounds, process.pid)
        memory, peak = (_memory(process.pid, name) for name in ("VmRSS", "VmHWM"))
    _tell(figures, memory, peak)
    if options.json:
        document = {
            "commit": commit(),
            "machine": machine(Path(sys.executable)),
            "rounds": options.rounds,
            "resident_bytes": memory,
            "peak_bytes": peak,
            "pages": [asdict(figure) for figure in figures],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    slow = [figure for figure in figures if figure.status != 200 or _is_late(figure)]
    return 1 if slow or peak > MOST_BYTES else 0


class _Client(http.client.HTTPConnection):
    """One connection to the Unix socket, as a browser keeps it."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def ask(self, address: str) -> tuple[int, bytes]:
        """The status and the body of an answer."""
        self.request("GET", address)
        answer = self.getresponse()
        return answer.status, answer.read()

    def document(self, address: str, **query: str) -> Any:
        """What a resource of the API answers."""
        status, body = self.ask(f"/api/v1{address}?{urlencode(query)}")
        if status != 200:
            raise SystemExit(f"{address}: {status}: {body.decode()}")
        return json.loads(body)

    def look_into(self, path: str) -> None:
        """Say why: then the pages of a mailbox are shown."""
        _, page = self.ask(f"/mailboxes/mailbox?{urlencode({'path': path})}")
        token = re.search(rb'name="form_token" value="([^"]+)"', page)
        assert token, page
        body = urlencode({"form_token": token[1].decode(), "path": path, "reason": _REASON})
        origin = {"Content-Type": "application/x-www-form-urlencoded", "Origin": "http://localhost"}
        self.request("POST", "/mailboxes/look", body, origin)
        answer = self.getresponse()
        answer.read()
        assert answer.status == 303, answer.status


def _inside(client: _Client) -> Iterator[str]:
    """Every page and resource that looks into a mailbox, of each mailbox that has archives."""
    for owner in lived.OWNERS:
        path = f"/{lived.PARTITION}/user/{owner.user}"
        client.look_into(path)
        state = client.document("/mailboxes/mailbox", path=path, reason=_REASON)
        versions = [entry["run"] for entry in state["history"]]
        newest, middle = state["newest"], sorted(versions)[len(versions) // 3]
        inbox = f"{path}/INBOX"
        listed = client.document("/mailboxes/messages", path=inbox, reason=_REASON)["messages"]
        message = max(listed, key=lambda found: found["size_bytes"])["path"]
        attached = client.document("/mailboxes/message", path=message, reason=_REASON)["attachments"]
        gone = f"{path}/{lived.GONE}"
        for page, query in (
            ("/mailboxes/mailbox", {"path": path}),
            ("/mailboxes/mailbox", {"path": path, "at": middle}),
            ("/mailboxes/folder", {"path": inbox}),
            ("/mailboxes/folder", {"path": inbox, "at": middle, "skip": "50"}),
            ("/mailboxes/find", {"path": path}),
            ("/mailboxes/find", {"path": path, "go": "yes", "subject": "harbour"}),
            ("/mailboxes/find", {"path": path, "go": "yes", "subject": "harbour", "deleted": "yes"}),
            ("/mailboxes/message", {"path": message, "at": newest}),
            ("/mailboxes/message", {"path": message, "at": newest, "as": "html"}),
            ("/mailboxes/message/html", {"path": message, "at": newest}),
            *(
                ("/mailboxes/message/part", {"path": message, "at": newest, "number": part["number"]})
                for part in attached
            ),
            ("/mailboxes/message/raw", {"path": message, "at": newest}),
            ("/mailboxes/restore", {"kind": "restore", "path": gone, "at": middle}),
            ("/api/v1/mailboxes/mailbox", {"path": path, "reason": _REASON}),
            ("/api/v1/mailboxes/messages", {"path": inbox, "reason": _REASON}),
            ("/api/v1/mailboxes/message", {"path": message, "reason": _REASON}),
        ):
            yield f"{page}?{urlencode(query, safe='/@')}"
    # Of the last mailbox: each takes a process.
    for query in (
        {"kind": "restore", "path": gone, "at": middle},
        {"kind": "undelete", "path": path, "since": middle},
    ):
        yield f"{_PLANS}{urlencode(query, safe='/@')}"


@contextmanager
def _serve(staging: Path, scratch: Path) -> Iterator[subprocess.Popen[str]]:
    """``mailhaul serve`` over a staging area, ready to answer."""
    config = scratch / "mailhaul.toml"
    text = _CONFIGURATION.format(
        staging=json.dumps(str(staging)),
        store=json.dumps(f"{scratch}/store/{{user}}/Maildir"),
        lived=lived.PARTITION,
        lived_store=json.dumps(f"{staging.with_name('store')}/{{user}}"),
    )
    for name in catalogs.DESTINATIONS:
        (scratch / name).mkdir()
        text += _DESTINATION.format(name=name, path=json.dumps(str(scratch / name)))
    config.write_text(text)
    program = ROOT / ".venv" / "bin" / "mailhaul"
    process = subprocess.Popen(
        [program, "--config", config, "serve"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr
        said = []
        for line in process.stderr:
            said.append(line)
            if "the page is at" in line:
                break
        else:
            raise SystemExit(f"mailhaul serve did not begin: {''.join(said)}")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def _measured(client: _Client, addresses: Sequence[str], rounds: int, pid: int) -> list[Figures]:
    """Round by round: what slows the machine for a while slows every page. The first round is not counted."""
    answers = {address: client.ask(address) for address in addresses}
    took: dict[str, list[float]] = {address: [] for address in addresses}
    spent = dict.fromkeys(addresses, 0.0)
    for _ in range(rounds):
        for address in addresses:
            cpu, began = _cpu_seconds(pid), time.perf_counter()
            status, body = client.ask(address)
            took[address].append(time.perf_counter() - began)
            spent[address] += _cpu_seconds(pid) - cpu
            if status != answers[address][0]:
                answers[address] = status, body
    return [
        Figures(
            address=address,
            status=answers[address][0],
            size_bytes=len(answers[address][1]),
            median_ms=round(1000 * statistics.median(took[address]), 1),
            p95_ms=round(1000 * statistics.quantiles(took[address], n=20)[-1], 1),
            cpu_ms=round(1000 * spent[address] / rounds, 1),
        )
        for address in addresses
    ]


def _is_late(figure: Figures) -> bool:
    is_plan = figure.address.startswith(_PLANS)
    return figure.p95_ms > (MOST_MILLISECONDS_OF_A_PLAN if is_plan else MOST_MILLISECONDS)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def _tell(figures: Sequence[Figures], memory: int, peak: int) -> None:
    print("| page | status | kB | median ms | p95 ms | processor ms |")
    print("|---|---|---|---|---|---|")
    for figure in figures:
        late = " !" if _is_late(figure) else ""
        print(
            f"| {figure.address} | {figure.status} | {figure.size_bytes / 1000:.0f} | {figure.median_ms} |"
            f" {figure.p95_ms}{late} | {figure.cpu_ms} |"
        )
    print(
        f"\nmemory of serve: {memory / 1e6:.0f} MB, at most {peak / 1e6:.0f} MB;"
        f" load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
