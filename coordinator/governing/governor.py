"""The governor of a run: has the mail hosts looked at that the run works on, decides how much the work
there may do, and says so to engines, to the workers on this host, and to whoever looks on.

A thread does it, whatever the run waits for. It raises nothing into the run: where it can't go on, the work
goes on at the share for those who can't look. One process looks at a host for all runs of a staging area
(``Seat``); the others take what that has found.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType

from ...proto.errors import BackupError
from ...proto.ports import Clock
from ...proto.structs import Mutable
from ...worker.load.share import drop_share, write_share
from ...worker.stores.imap.probe import STEPS
from ..clock import utc
from ..dispatch.tuning import HoldBack
from ..snapshots import write_snapshot
from .effort import ALLOWANCE, Effort, after_blindness, after_look, begun_at, first_effort, gone_on_with
from .probes import Probes
from .probing import Began, Blind, Late, Looked, Report
from .settings import HostRules
from .state import GovernorState, lock_file, read_state, state_file
from .window import Window

TURN_SECONDS = 0.25
"""The governor looks around this often."""

SAY_SECONDS = 1.0
"""So often it says what the workers may have, and tells of itself."""

REMEMBERED_SECONDS = 300.0
"""A run that begins so soon after another one begins with the effort at which that has ended."""

HERE = ""
"""How engines call the host of this process."""

_ALL = 0.999

Look = Callable[[Sequence[HostRules]], Probes]
"""Begins to look at hosts."""


class _Host(Mutable, eq=False):
    """What is known of a host that has work. ``name`` is how engines call it."""

    name: str
    rules: HostRules
    window: Window
    steps: Mapping[str, Window]
    since: float
    effort: Effort
    seat: int | None = None
    blind: str = ""
    is_of_no_use: bool = False  # that the work gives way; it was said
    began: float | None = None  # when the look began that is under way
    counted: float = 0.0  # when that was found late last
    count: int = 1
    busy: int = 0
    looks: int = 0
    late: int = 0
    slowed_seconds: float = 0.0

    @property
    def share(self) -> float:
        """What each worker does of its work, so that all together do ``level`` of what they could."""
        return min(1.0, self.effort.level * self.count / max(1, self.busy))


class Governor:
    """Governs the hosts that it is told of while the context lasts (a tuning.Restraint). Workers know it by
    ``name``. ``hosts`` are those that may have work, by how engines call them. ``tell`` is told, in a line,
    of what somebody should see to; ``look`` begins to look."""

    def __init__(
        self,
        staging: Path,
        name: str,
        hosts: Mapping[str, HostRules],
        clock: Clock,
        tell: Callable[[str], object],
        look: Look = Probes,
    ) -> None:
        self._staging = staging
        self._name = name
        self._rules = hosts
        self._clock = clock
        self._tell = tell
        self._look = look
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}
        self._probes: list[Probes] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._govern, name="governor", daemon=True)
        self._next_said = 0.0
        self._unsaid: dict[str, float] = {}

    # Restraint: called by engines

    def level(self, host: str) -> float:
        """See Restraint."""
        with self._lock:
            found = self._hosts.get(host)
            return 1.0 if found is None else found.effort.level

    def occupied(self, host: str, count: int, busy: int) -> None:
        """See Restraint."""
        with self._lock:
            found = self._known(host)
            if found is not None:
                found.count, found.busy = count, busy

    def held_back(self) -> list[HoldBack]:
        """See Restraint."""
        with self._lock:
            unsaid, self._unsaid = self._unsaid, {}
        return [HoldBack(host, self._name, share) for host, share in unsaid.items()]

    # The thread

    def __enter__(self) -> Governor:
        with self._lock:
            self._known(HERE)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        self.close()

    def close(self) -> None:
        """Let go of everything: nobody is held back any more. Repeatable."""
        self._look_no_more()
        if HERE in self._hosts:
            with suppress(BackupError):
                drop_share(HERE, self._name)

    def _look_no_more(self) -> None:
        """Others may look, where they have work too."""
        for probes in self._probes:
            probes.close()
        for host in self._hosts.values():
            if host.seat is not None:
                self._show(host, self._state(host, self._clock.monotonic()))
                os.close(host.seat)
                host.seat = None

    def _known(self, name: str) -> _Host | None:
        """A host that is governed; from now on it has work."""
        if name not in self._hosts and (rules := self._rules.get(name)) is not None:
            self._hosts[name] = _Host(
                name=name,
                rules=rules,
                window=Window(rules.window_seconds),
                steps={step: Window(rules.window_seconds) for step in STEPS},
                since=self._clock.now(),
                effort=first_effort(rules.rules),
            )
        return self._hosts.get(name)

    def _govern(self) -> None:
        try:
            while not self._ending.is_set():
                self.turn()
                self._wait()
        except Exception as error:
            self._fall_back(error)
            # Renewed, not written for long: nobody is held back by a run that is gone.
            while not self._ending.wait(SAY_SECONDS):
                self._renew()

    def _wait(self) -> None:
        channels = [probe.channel for probe in self._probes if probe.channel is not None]
        if channels:
            wait(channels, TURN_SECONDS)
        else:
            self._ending.wait(TURN_SECONDS)

    def turn(self) -> None:
        """Look around once: hear those who look, decide, say what the workers may have. The thread does
        nothing else."""
        now = self._clock.monotonic()
        is_due = now >= self._next_said
        if is_due:
            self._take_seats()
        reports = [report for probe in self._probes for report in probe.reports(now)]
        with self._lock:
            by_name = {host.rules.host: host for host in self._hosts.values()}
            for report in reports:
                if (host := by_name.get(report.host)) is not None:
                    self._note(host, report, now)
            for host in self._hosts.values():
                self._note_overdue(host, now)
            hosts = list(self._hosts.values()) if is_due else []
        if is_due:
            passed = min(now - self._next_said + SAY_SECONDS, 2 * SAY_SECONDS) if self._next_said else 0.0
            self._next_said = now + SAY_SECONDS
            for host in hosts:
                self._say(host, now, passed)

    def _take_seats(self) -> None:
        """Begin to look at hosts that nobody looks at."""
        with self._lock:
            without = [host for host in self._hosts.values() if host.seat is None]
        taken = [host for host in without if self._take_seat(host)]
        if taken:
            self._probes.append(self._look([host.rules for host in taken]))

    def _take_seat(self, host: _Host) -> bool:
        path = lock_file(self._staging, host.rules.host)
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError:
            return False  # there is no staging area yet: the run is just making it
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            self._follow(host)
            return False
        host.seat = file
        before = read_state(self._staging, host.rules.host)
        if before is not None and before.is_fresh(utc(self._clock.now()), REMEMBERED_SECONDS):
            with self._lock:
                host.effort = gone_on_with(before.effort or host.effort, host.rules.rules)
        return True

    def _follow(self, host: _Host) -> None:
        """Do as the one does who looks; without anything fresh from there, as somebody who can't look."""
        state = read_state(self._staging, host.rules.host)
        with self._lock:
            if state is not None and state.is_fresh(utc(self._clock.now())):
                host.effort = begun_at(state.level, host.rules.rules)
            else:
                host.effort = after_blindness(host.effort, host.rules.rules)

    def _note(self, host: _Host, report: Report, now: float) -> None:
        rules = host.rules.rules
        match report:
            case Began():
                host.began, host.counted = now, 0.0
                return
            case Blind(why=why):
                host.began = None
                host.effort = after_blindness(host.effort, rules)
                if why != host.blind:
                    host.blind = why
                    self._tell(
                        f"the users of {host.rules.host} can't be minded: {why}; its work goes on at "
                        f"{host.effort.level:.0%}"
                    )
                return
            case Looked(look=look):
                seconds = look.seconds
                for step, took in look.steps.items():
                    if took is not None:
                        host.steps[step].add(now, took)
            case Late(seconds=seconds):
                pass
        if host.blind:
            host.blind = ""
            self._tell(f"the users of {host.rules.host} are minded again")
        host.began = None
        host.looks += 1
        host.late += seconds > rules.target_seconds
        host.window.add(now, seconds)
        if not host.counted:
            self._decide(host, seconds)

    def _note_overdue(self, host: _Host, now: float) -> None:
        """A look that has not come back in time is late, whatever it will say; and once more with each
        second."""
        target = host.rules.rules.target_seconds
        if host.began is None or host.blind or now - host.began <= max(target * ALLOWANCE, TURN_SECONDS):
            return
        if now - host.counted >= SAY_SECONDS:
            host.counted = now
            self._decide(host, now - host.began)

    def _decide(self, host: _Host, seconds: float) -> None:
        host.effort = after_look(host.effort, host.rules.rules, seconds)
        if host.effort.keeps and not host.is_of_no_use:
            host.is_of_no_use = True
            self._tell(
                f"the users of {host.rules.host} wait too long, however little work is done there: it goes "
                f"on at {host.effort.level:.0%}"
            )

    def _say(self, host: _Host, now: float, passed_seconds: float) -> None:
        """What the workers may have, to them; how it stands, to whoever looks on."""
        with self._lock:
            share = host.share
            if host.effort.level < _ALL:
                host.slowed_seconds += passed_seconds
            state = self._state(host, now)
            if host.name != HERE:
                self._unsaid[host.name] = share
        if host.name == HERE:
            write_share(HERE, self._name, share)
        if host.seat is not None:
            self._show(host, state)

    def _show(self, host: _Host, state: GovernorState) -> None:
        with suppress(OSError):  # a full disk, most likely; the run itself will meet it
            write_snapshot(state_file(self._staging, host.rules.host), state)

    def _state(self, host: _Host, now: float) -> GovernorState:
        steps = {step: window.p95(now) for step, window in host.steps.items()}
        return GovernorState(
            host=host.rules.host,
            pid=os.getpid(),
            since=utc(host.since),
            written=utc(self._clock.now()),
            target_seconds=host.rules.rules.target_seconds,
            window_seconds=host.rules.window_seconds,
            p95_seconds=host.window.p95(now),
            steps={step: seconds for step, seconds in steps.items() if seconds is not None},
            level=host.effort.level,
            workers=host.busy,
            share=host.share,
            why=_why(host),
            blind=host.blind,
            slowed_seconds=host.slowed_seconds,
            looks=host.looks,
            late=host.late,
            effort=host.effort,
        )

    def _fall_back(self, error: Exception) -> None:
        """Looking can't go on. The work does, as if nobody could look."""
        told = error.message if isinstance(error, BackupError) else f"{type(error).__name__}: {error}"
        with self._lock:
            for host in self._hosts.values():
                host.blind = told
                host.effort = after_blindness(host.effort, host.rules.rules)
        self._renew()
        level = max((host.effort.level for host in self._hosts.values()), default=1.0)
        self._tell(f"users are not minded any more: {told}; the work goes on at {level:.0%}")
        self._look_no_more()

    def _renew(self) -> None:
        """Say again what the workers may have."""
        with self._lock:
            shares = {name: host.share for name, host in self._hosts.items()}
            self._unsaid.update(shares)
        if HERE in shares:
            with suppress(BackupError):
                write_share(HERE, self._name, shares[HERE])


def _why(host: _Host) -> str:
    """Why it is not all of the work that is done."""
    if host.effort.level >= _ALL:
        return ""
    if host.blind:
        return "nobody can look how long users wait"
    if host.effort.trial is not None:
        return "users wait too long: it is found out whether the work is why"
    if host.effort.keeps:
        return "users wait too long, however little work is done"
    if host.effort.level <= host.rules.rules.floor:
        return "users wait too long, also with the least of work"
    return "users would wait too long"
