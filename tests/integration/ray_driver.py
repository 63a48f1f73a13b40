"""A program that drives a Ray cluster from the host it runs on: ``python ray_driver.py ADDRESS``.

It takes orders from its standard input and answers each with a line, both JSON; see the functions of
``ORDERS``. Times are those of CLOCK_MONOTONIC, which all hosts of a test share.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import ray

LABEL = "mailhaul/host"

# Ray prints what it likes: only answers go where the answers are read.
_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

_LOOK_SECONDS = 0.05
_CONNECT_SECONDS = 30.0


class Sleeper:
    """What a worker does here."""

    def pid(self) -> int:
        return os.getpid()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def live_hosts() -> list[str]:
    """The hosts whose nodes are alive."""
    nodes: Callable[[], list[dict[str, Any]]] = ray.nodes
    return sorted(node["Labels"].get(LABEL, "") for node in nodes() if node["Alive"])


def pid_on(host: str) -> int:
    """A worker is started on a host: its process."""
    pid: int = ray.get(_sleeper(host).pid.remote(), timeout=_CONNECT_SECONDS)
    return pid


def watch(host: str, seconds: float) -> dict[str, Any]:
    """When a host is lost, and when a call that runs there fails, and with what; within ``seconds`` from now.
    A line with the process of the call comes before the answer."""
    worker = _sleeper(host)
    say(ray.get(worker.pid.remote(), timeout=_CONNECT_SECONDS))
    call = worker.sleep.remote(seconds)
    until = time.monotonic() + seconds
    seen: dict[str, Any] = {}
    while time.monotonic() < until and len(seen) < 3:
        if "host_lost" not in seen and host not in live_hosts():
            seen["host_lost"] = time.monotonic()
        if "error" not in seen and ray.wait([call], timeout=0)[0]:
            seen |= {"call_failed": time.monotonic(), "error": _error_of(call)}
        time.sleep(_LOOK_SECONDS)
    return seen


ORDERS: dict[str, Callable[..., Any]] = {"live_hosts": live_hosts, "pid_on": pid_on, "watch": watch}


def say(answer: object) -> None:
    print(json.dumps(answer), file=_answers, flush=True)


def _sleeper(host: str) -> Any:
    return ray.remote(num_cpus=0, label_selector={LABEL: host})(Sleeper).remote()


def _error_of(call: Any) -> str:
    try:
        ray.get(call, timeout=_CONNECT_SECONDS)
    except Exception as error:
        return type(error).__name__
    return ""


def _connect(address: str) -> None:
    """The head's own node may still be coming up."""
    until = time.monotonic() + _CONNECT_SECONDS
    while True:
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
            return
        except (ConnectionError, RuntimeError, ValueError):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    _connect(sys.argv[1])
    say("ready")
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        say(ORDERS[name](*arguments))
