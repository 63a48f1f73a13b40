"""What the tests need of a server that speaks S3, whichever it is; and the smallest of them, moto."""

from __future__ import annotations

import atexit
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from botocore.config import Config
from botocore.session import Session

from mailhaul.worker.destinations.s3.dialect import Dialect
from mailhaul.worker.destinations.s3.probing import probe
from mailhaul.worker.destinations.settings import S3Destination

REGION = "us-east-1"
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """Where a server listens, and with which key it lets us in. ``locks``: it has Object Lock."""

    name: str
    port: int
    key: str
    secret: str
    locks: bool

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Any:
        """A client of the tests, which looks at what the product did, past it."""
        return _client(self)

    def new_bucket(self, *, locks: bool = False) -> str:
        """An empty bucket that nobody else has."""
        name = f"mail-{os.getpid()}-{next(_numbers)}"
        facts = {"ObjectLockEnabledForBucket": True} if locks else {}
        self.client().create_bucket(Bucket=name, **facts)
        return name

    def dialect(self) -> Dialect:
        """What it can do, found out once."""
        return _dialect(self)

    def destination(
        self,
        bucket: str,
        journal: Path,
        *,
        port: int = 0,
        prefix: str = "site1/",
        lock: Literal["", "governance", "compliance"] = "",
        **more: Any,
    ) -> S3Destination:
        """A destination in a bucket; its key lies in a file beside the journal. ``port`` is that of a proxy
        in front of the server."""
        journal.parent.mkdir(parents=True, exist_ok=True)
        credentials = journal.with_suffix(".env")
        credentials.touch(mode=0o600)
        credentials.write_text(f"AWS_ACCESS_KEY_ID={self.key}\nAWS_SECRET_ACCESS_KEY={self.secret}\n")
        return S3Destination(
            name=self.name,
            bucket=bucket,
            journal=str(journal),
            endpoint=f"http://127.0.0.1:{port or self.port}",
            prefix=prefix,
            region=REGION,
            credentials=str(credentials),
            lock=lock,
            **more,
        )


@cache
def _client(server: S3Server) -> Any:
    return Session().create_client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
        region_name=REGION,
        config=Config(retries={"total_max_attempts": 3, "mode": "standard"}),
    )


@cache
def _dialect(server: S3Server) -> Dialect:
    lock: Literal["", "governance"] = "governance" if server.locks else ""
    with TemporaryDirectory() as place:
        bucket = server.new_bucket(locks=server.locks)
        return probe(server.destination(bucket, Path(place) / "journal", lock=lock))


@cache
def moto() -> S3Server:
    """moto, in a process of its own that ends with this one."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = started(command)
    atexit.register(end, process)
    server = S3Server(name="moto", port=port, key="key", secret="secret", locks=True)
    wait_for(server.port, process)
    return server


def started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """A server that does not outlive this process, however that ends."""
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def free_port() -> int:
    """A loopback port that nobody listens on right now."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Until somebody listens on a port; raises RuntimeError if the process ends, or takes too long."""
    until = time.monotonic() + seconds
    while True:
        with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), timeout=1)):
            return
        if process.poll() is not None or time.monotonic() > until:
            end(process)
            raise RuntimeError(f"what was started does not listen on {port}")
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that was started here. Repeatable."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
