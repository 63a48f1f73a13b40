"""Programs of the site that are called before and after things happen: ``[hooks]`` of the configuration.

Each gets the facts as JSON on its standard input, and those that are a word or a number in the environment
(``MAILHAUL_...``). One that is called before can stop what follows; one that is called after undoes nothing,
but its failure is told. None is waited for beyond its limit. Failures are on record beside the catalog, in
``hooks.jsonl``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from ..proto.errors import DamagedError, HookError
from ..proto.ports import Clock
from ..proto.structs import Mutable, Record, asdict, field
from .clock import SystemClock, utc
from .durable import read_lines
from .settings import HookConfig

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor  # only who has hooks pays for them

Facts = Mapping[str, Any]

_DAY_SECONDS = 86_400
_MOST_RECORD_BYTES = 4 << 20


class HookFailure(Record, kw_only=True):
    """A hook that failed: when (ISO time), in which run (empty: none), why, and what it said last."""

    hook: str
    run: str
    at: str
    why: str
    output: str

    def told(self) -> str:
        """In one paragraph."""
        said = f": {self.output.strip()}" if self.output.strip() else ""
        return f"the hook {self.hook} {self.why}{said}"


class Around(Mutable):
    """What goes on between two hooks. ``facts`` are for the one after; ``troubles`` tell how that failed."""

    facts: dict[str, Any] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()


class Hooks:
    """Calls hooks by their names. ``environment`` is what they find beside the facts; failures are recorded
    in the staging area, where there is one."""

    def __init__(
        self,
        hooks: Mapping[str, HookConfig],
        clock: Clock,
        environment: Mapping[str, str],
        staging: Path | None = None,
    ) -> None:
        self._hooks = hooks
        self._clock = clock
        self._environment = environment
        self._staging = staging

    def __contains__(self, name: str) -> bool:
        return name in self._hooks

    @contextmanager
    def around(self, what: str, facts: Facts) -> Iterator[Around]:
        """Call ``before_WHAT``, do what is in the context, call ``after_WHAT``: however that ended, with what
        was added to the facts by then; ``state`` and ``error`` are added for what was raised.

        Raises HookError if the first fails; nothing has been done then, and the other is not called.
        """
        if failure := self.call(f"before_{what}", facts):
            raise HookError(failure.told(), hook=failure.hook)
        around = Around(dict(facts))
        try:
            yield around
        except BaseException as error:
            state = "failed" if isinstance(error, Exception) else "interrupted"
            told = getattr(error, "message", "") or str(error) or type(error).__name__
            self.call(f"after_{what}", {**around.facts, "state": state, "error": told})
            raise
        if failure := self.call(f"after_{what}", around.facts):
            around.troubles = (failure.told(),)

    def call(self, name: str, facts: Facts, stop: Event | None = None) -> HookFailure | None:
        """Call a hook, if there is one, and wait for it; returns how it failed. ``stop`` ends it."""
        hook = self._hooks.get(name)
        if hook is None:
            return None
        from .hook_calls import run_hook

        facts = {"hook": name, **facts}
        why, output = run_hook(hook.command, facts, self._environment, self._seconds(hook), stop or Event())
        if not why:
            return None
        at = utc(self._clock.now()).isoformat(timespec="seconds")
        failure = HookFailure(hook=name, run=str(facts.get("run", "")), at=at, why=why, output=output)
        if self._staging is not None:
            _record(self._staging, failure)
        return failure

    def _seconds(self, hook: HookConfig) -> float:
        """How long a hook may take that begins now."""
        if hook.until is None:
            return hook.limit_seconds
        now = datetime.fromtimestamp(self._clock.now())
        left = hook.until * 60 - (now.hour * 3600 + now.minute * 60 + now.second)
        return float(left if left > 0 else left + _DAY_SECONDS)


NO_HOOKS = Hooks({}, SystemClock(), {})
"""Nothing is called."""


class HooksBehind:
    """Calls one hook again and again, one call after the other, while the work goes on."""

    def __init__(self, hooks: Hooks, name: str) -> None:
        self._hooks = hooks
        self._name = name
        self._stop = Event()
        self._thread: ThreadPoolExecutor | None = None
        self._calls: list[Future[HookFailure | None]] = []

    def call(self, facts: Facts) -> None:
        """Call it with these facts, soon."""
        if self._name in self._hooks:
            from concurrent.futures import ThreadPoolExecutor

            self._thread = self._thread or ThreadPoolExecutor(1, "hooks")
            self._calls.append(self._thread.submit(self._hooks.call, self._name, facts, self._stop))

    def failures(self) -> list[HookFailure]:
        """Those of all calls, which are waited for."""
        return [failure for call in self._calls if (failure := call.result())]

    def end(self) -> None:
        """Whatever is still going on or was asked for ends. Repeatable."""
        self._stop.set()
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)


def failures_of(staging: Path, run: str = "") -> list[HookFailure]:
    """The failures on record, oldest first; of one run, or all. Raises DamagedError, StagingError."""
    found = []
    path = _place(staging)
    for line in read_lines(path):
        try:
            failure = HookFailure(**json.loads(line))
        except (TypeError, ValueError):
            if not line.endswith(b"}"):
                continue  # it was being written when the machine went down
            raise DamagedError(f"{path} is damaged: {line[:80]!r}", path=str(path)) from None
        if run in ("", failure.run):
            found.append(failure)
    return found


def _place(staging: Path) -> Path:
    return staging / ".mailhaul" / "hooks.jsonl"


def _record(staging: Path, failure: HookFailure) -> None:
    """Where that can't be, the failure is told all the same."""
    path = _place(staging)
    with suppress(OSError):
        if path.exists() and path.stat().st_size > _MOST_RECORD_BYTES:
            path.replace(path.with_name("hooks.1.jsonl"))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(json.dumps(asdict(failure)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def told(failures: Iterable[HookFailure], most: int = 5) -> tuple[str, ...]:
    """In words, the first of them."""
    found = [failure.told() for failure in failures]
    return (*found[:most], *([f"and {len(found) - most} hooks more"] if len(found) > most else []))
