"""The process of those who look, as the governor has it: begun, heard, begun again when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from ..dispatch.processes import SPAWN, birth, bound_waits, end, end_of
from .probing import Blind, Report, enter
from .settings import HostRules

AGAIN_SECONDS = 5.0
"""When it has ended, another is begun after so long, then after twice that, and so on, up to
MOST_AGAIN_SECONDS."""

MOST_AGAIN_SECONDS = 80.0


class Probes:
    """Looks at these hosts, in a process of its own."""

    def __init__(self, hosts: Sequence[HostRules]) -> None:
        self._hosts = hosts
        self._not_before = 0.0
        self._process: SpawnProcess | None = None
        self.channel: Connection | None = None
        """Where something is to be read when there are reports; None while there is no process."""

    def reports(self, now: float) -> list[Report]:
        """What was said since; does not wait, but for a process to begin. ``now`` is a moment by a clock that
        goes on evenly."""
        if self.channel is None:
            if now < self._not_before:
                return []
            try:
                self._begin()
            except (OSError, EOFError) as error:
                return self._ended(now, f"no process to look can be started: {error}")
        reports: list[Report] = []
        try:
            while self.channel is not None and self.channel.poll():
                reports.append(self.channel.recv())
        except (EOFError, OSError):
            reports += self._ended(now, "")
        return reports

    def close(self) -> None:
        """End it. Repeatable."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        if self._process is not None:
            end(self._process)
            self._process = None

    def _begin(self) -> None:
        ours, theirs = SPAWN.Pipe()
        try:
            process = SPAWN.Process(target=enter, args=(theirs, self._hosts), name="probes", daemon=True)
            with birth():
                process.start()
            bound_waits(ours)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.channel, self._process = ours, process

    def _ended(self, now: float, why: str) -> list[Report]:
        if self._process is not None:
            self._process.join(1.0)
            why = why or f"the process that looks {end_of(self._process.exitcode)}"
        self.close()
        self._not_before = now + AGAIN_SECONDS
        return [Blind(host.host, why) for host in self._hosts]
