"""The Ray engine: workers on the hosts of a cluster, where the partitions are.

This is the coordinator's side. It never imports Ray: a process of its own drives the cluster
(``ray_process``, ``ray``), and its end, or its silence, is the end of the dispatch and of nothing else.
"""

from __future__ import annotations

import os
import pickle
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, cast

from ...proto.errors import AccessError, BackupError, ClusterLostError, HostError
from ...proto.ports import ProgressSink
from ...proto.records import Progress
from ...proto.structs import Record, field
from ..core import Core, Event, HostGivenUp, Start, Stop, TaskFailed
from ..settings import TlsConfig
from . import child, ray_process
from .actor import ProgressConnection, no_progress
from .driver import ATTEMPTS, Admission, HostSink, Pace, always, dispatch, event_of, ignore_hosts
from .engine import Engine, Outcome, ReportT, TaskT
from .processes import GRACE_SECONDS, SPAWN, birth, bound_waits, end, end_of
from .ray_process import (
    Alive,
    Answered,
    Broken,
    Command,
    Connected,
    Offered,
    Orders,
    Report,
    Send,
)
from .task_bytes import packed
from .tuning import FREE, Restraint, Tuner

CONNECT_SECONDS = 120.0
"""How long connecting to the cluster may take: a wrong token shows after 20 s, missing TLS after 80."""

_PROGRESS_SECONDS = 0.2
_TAIL_BYTES = 4096
_LOG_PREFIX = re.compile(r"^\[[^]]*\] \S+: ")


class Setting(Record, kw_only=True):
    """An environment variable of Ray: its value, and why it is not left alone."""

    name: str
    value: str
    reason: str


SETTINGS = (
    Setting(name="RAY_USAGE_STATS_ENABLED", value="0", reason="nothing is reported to anybody"),
    Setting(
        name="RAY_health_check_initial_delay_ms",
        value="0",
        reason="a node is watched from its first second; counts on the head",
    ),
    Setting(
        name="RAY_health_check_period_ms",
        value="4000",
        reason="how often the head asks a node whether it lives; counts on the head",
    ),
    Setting(
        name="RAY_health_check_timeout_ms",
        value="4000",
        reason="how long the node may take to answer; counts on the head",
    ),
    Setting(
        name="RAY_health_check_failure_threshold",
        value="3",
        reason="so many answers missing, and the host is lost: after 12 to 24 s, not 65; counts on the head",
    ),
    Setting(
        name="RAY_grpc_client_keepalive_time_ms",
        value="8000",
        reason="how long a connection may be silent before it is tried; without it the work of a host that "
        "was cut off is waited for long after the head knows that the host is lost; counts in every process",
    ),
    Setting(
        name="RAY_grpc_client_keepalive_timeout_ms",
        value="12000",
        reason="how long the other side may take to answer that; counts in every process",
    ),
    Setting(
        name="RAY_gcs_server_port_wait_time_s",
        value="300",
        reason="how long a process that is started waits for the head to answer: 20 s are too short on a "
        "busy host; counts in every process",
    ),
    Setting(
        name="RAY_raylet_start_wait_time_s",
        value="300",
        reason="how long ray start waits for its node: at a load of 20 it takes more than Ray's 30 s; a "
        "node lost while it starts is away as long (host_patience: twice that); counts on every host",
    ),
)
"""Health and keepalive are four times the values with which a cut link was seen after 5.5 s: a busy host is
not a lost host. All have to be the same for the head, the nodes and the coordinator; that one sets them for
itself."""


class RayCluster(Record, kw_only=True):
    """A cluster whose nodes carry the label ``mailhaul/host`` with the names of hosts.

    ``address`` is ``HOST:PORT`` of its head, or ``auto`` for the one that has a node on this host (every
    coordinator needs such a node). ``token_file`` lets one in, or None if nobody is asked; ``tls`` are the
    files for mutual TLS, or None for none. At most ``workers_per_host`` tasks run on a host at a time.

    A host that is gone is waited for for ``host_patience_seconds``; what it was doing is not tried again
    before ``lease_seconds`` are over. The cluster may be silent for ``silence_seconds`` before it is given
    up. ``environment`` overrides ``SETTINGS``.

    In the directory ``keys`` lie the public keys of all hosts here, and on each its own pair: tasks that hold
    keys of archives are sealed for the host that does them (``proto.wire.tasks``). Without it there can be no
    such tasks.
    """

    address: str = "auto"
    workers_per_host: int = 4
    token_file: Path | None = None
    tls: TlsConfig | None = None
    host_patience_seconds: float = 600.0
    lease_seconds: float = 30.0
    silence_seconds: float = 40.0
    keys: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


PollProgress = Callable[[ProgressSink], None]
"""Hands what progress has come in from the workers to a sink; called often, must not wait."""


def ray_engine(
    cluster: RayCluster,
    *,
    admit: Admission = always,
    connect_progress: ProgressConnection = no_progress,
    poll_progress: PollProgress | None = None,
    on_host: HostSink = ignore_hosts,
    restraint: Restraint = FREE,
) -> Engine:
    """``run_on_cluster`` with these settings, as the port that runs and restores use."""

    def engine(
        function: Callable[[Any, ProgressSink], ReportT], tasks: Sequence[TaskT], on_progress: ProgressSink
    ) -> Iterator[Outcome[TaskT, ReportT]]:
        tuner = Tuner(cluster.workers_per_host, restraint=restraint)

        def note(progress: Progress) -> None:
            tuner.note(progress)
            on_progress(progress)

        def poll() -> None:
            if poll_progress is not None:
                poll_progress(note)

        return run_on_cluster(
            function,
            tasks,
            cluster,
            admit=admit,
            connect_progress=connect_progress,
            poll=poll,
            on_host=on_host,
            tuner=tuner,
            restraint=restraint,
        )

    return engine


def run_on_cluster(
    function: Callable[[Any, ProgressSink], ReportT],
    tasks: Sequence[TaskT],
    cluster: RayCluster,
    *,
    admit: Admission = always,
    connect_progress: ProgressConnection = no_progress,
    poll: Callable[[], None],
    on_host: HostSink = ignore_hosts,
    attempts: int = ATTEMPTS,
    tuner: Tuner | None = None,
    restraint: Restraint = FREE,
) -> Iterator[Outcome[TaskT, ReportT]]:
    """See ``Engine``: each task on one of its hosts, on any where it names none.

    A host without a live node gets no work: what only it could do fails at once, with HostError. A host
    that is lost on the way is waited for. ``function`` must be importable on the hosts by its name; this
    process's files and modules are not sent there. ``poll`` is called several times a second by the thread
    that iterates, and tells ``tuner`` of the progress that it brings; what ``restraint`` leaves to each
    worker is said to their hosts.

    Raises AccessError for a token or key that others can read, HostError for a cluster without any host,
    ClusterLostError if there is no cluster, or none any more. When the iterator is closed all workers are
    killed; should this process die, Ray does it.
    """
    orders = Orders(
        address=cluster.address,
        environment=environment(cluster),
        function=pickle.dumps(function),
        connection=pickle.dumps(connect_progress),
        keys=str(cluster.keys or ""),
    )
    if not tasks:
        return
    with (
        tempfile.TemporaryFile() as log,
        closing(_Crew(orders, log, poll, cluster.silence_seconds, restraint)) as crew,
    ):
        live = crew.connect()
        if not live:
            raise HostError(f"no node of the Ray cluster has a label {ray_process.LABEL}")
        places = [task.hosts for task in tasks]
        named = dict.fromkeys(host for hosts in places for host in hosts)
        if not all(places):
            named |= dict.fromkeys(sorted(live))
        tuner = tuner or Tuner(cluster.workers_per_host)
        core = Core(places, hosts=named, workers=tuner.first, attempts=attempts)
        yield from dispatch(
            tasks,
            core,
            crew,
            pace=Pace(
                lease_seconds=cluster.lease_seconds, host_patience_seconds=cluster.host_patience_seconds
            ),
            admit=admit,
            tuner=tuner,
            opening=[HostGivenUp(host, _missing(host, live)) for host in named if host not in live],
            on_host=on_host,
        )


def environment(cluster: RayCluster) -> dict[str, str]:
    """What Ray's processes need in their environment. Raises AccessError for files that are not there or that
    others can read."""
    values = {setting.name: setting.value for setting in SETTINGS}
    if cluster.token_file is None:
        values |= {"RAY_AUTH_MODE": "disabled"}
    else:
        _check_private(cluster.token_file)
        values |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(cluster.token_file)}
    if cluster.tls is not None:
        _check_private(cluster.tls.key)
        values |= {
            "RAY_USE_TLS": "1",
            "RAY_TLS_SERVER_CERT": str(cluster.tls.cert),
            "RAY_TLS_SERVER_KEY": str(cluster.tls.key),
            "RAY_TLS_CA_CERT": str(cluster.tls.ca),
        }
    return {**values, **cluster.environment}


def _check_private(path: Path) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise AccessError(f"{path}: {error.strerror}", path=str(path)) from error
    if mode & 0o077:
        raise AccessError(f"{path} lies open to others (mode {mode:04o}): chmod 600 {path}", path=str(path))


def _missing(host: str, live: frozenset[str]) -> HostError:
    known = ", ".join(sorted(live)) or "none"
    return HostError(
        f"no node of the Ray cluster stands for host {host} (label {ray_process.LABEL}={host}); there are: "
        f"{known}",
        host=host,
    )


class _Crew:
    """Workers that are actors, reached through the process that drives Ray."""

    def __init__(
        self,
        orders: Orders,
        log: IO[bytes],
        poll: Callable[[], None],
        silence_seconds: float,
        restraint: Restraint = FREE,
    ) -> None:
        self._address = orders.address
        self._poll = poll
        self._silence_seconds = silence_seconds
        self._restraint = restraint
        self._keys = orders.keys
        self._hosts: dict[int, str] = {}
        self._offered: dict[int, str] = {}
        self._noticed: list[Event] = []
        self._log = log
        self._channel, theirs = SPAWN.Pipe()
        self._process = SPAWN.Process(
            # multiprocessing hands no plain file over; a connection can be any.
            target=ray_process.enter,
            args=(theirs, orders, Connection(os.dup(self._log.fileno()), readable=False)),
            name="ray",
            daemon=True,
        )
        try:
            with birth():
                self._process.start()
            bound_waits(self._channel)
        finally:
            theirs.close()  # the process's death would not close the channel otherwise

    def connect(self) -> frozenset[str]:
        """Wait for the cluster; the hosts that it has. Raises ClusterLostError."""
        match self._hear(CONNECT_SECONDS):
            case Connected(hosts):
                self._heard = time.monotonic()
                return hosts
            case Broken(how):
                raise self._lost(how)
        raise self._lost(f"no answer within {CONNECT_SECONDS:.0f} s")

    def start(self, worker: int, host: str) -> None:
        self._hosts[worker] = host
        self._say(Start(worker, host))

    def assign(self, worker: int, task: object) -> None:
        try:
            data = packed(task, self._hosts[worker], self._keys, self._offered.get(worker, ""))
        except BackupError as error:
            self._noticed.append(TaskFailed(worker, error))
        except Exception as error:
            self._noticed.append(TaskFailed(worker, child.unexpected(error)))
        else:
            self._say(Send(worker, data))

    def stop(self, worker: int) -> None:
        self._say(Stop(worker))

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        """See driver.Crew. Raises ClusterLostError when there is no cluster any more."""
        self._poll()
        for back in self._restraint.held_back():
            self._say(back)
        timeout = 0.0 if self._noticed else min(timeout_seconds, _PROGRESS_SECONDS)
        while (report := self._hear(timeout)) is not None:
            self._heard = time.monotonic()
            if isinstance(report, Offered):
                self._offered[report.worker] = report.key
            elif event := _event(report):
                self._noticed.append(event)
            timeout = 0.0
        silent = time.monotonic() - self._heard
        if silent > self._silence_seconds:
            raise self._lost(f"it did not answer for {silent:.0f} s")
        noticed, self._noticed = self._noticed, []
        return noticed

    def close(self) -> None:
        """End the process, and with it every worker."""
        self._channel.close()
        try:
            self._process.join(GRACE_SECONDS)
        finally:
            end(self._process)

    def _say(self, command: Command) -> None:
        try:
            self._channel.send(command)
        except OSError as error:
            raise self._ended() from error

    def _hear(self, timeout_seconds: float) -> Report | None:
        try:
            return cast(Report, self._channel.recv()) if self._channel.poll(timeout_seconds) else None
        except (EOFError, OSError) as error:
            raise self._ended() from error

    def _ended(self) -> ClusterLostError:
        self._process.join(GRACE_SECONDS)
        return self._lost(f"the process that drives it {end_of(self._process.exitcode)}")

    def _lost(self, how: str) -> ClusterLostError:
        self._process.kill()  # it has nothing to put in order any more
        log = self._tail()
        last = [_LOG_PREFIX.sub("", line) for line in log.strip().splitlines()[-1:]]
        told = ": ".join([f"the Ray cluster {self._address} can't be used", how, *last])
        return ClusterLostError(told, log=log)

    def _tail(self) -> str:
        """The end of what Ray has printed."""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return self._log.read().decode(errors="replace")


def _event(report: Report) -> Event | None:
    match report:
        case Answered(worker, answer):
            try:
                return event_of(worker, pickle.loads(answer))  # noqa: S301
            except Exception as error:
                return TaskFailed(worker, child.unexpected(error))
        case Connected() | Alive() | Offered() | Broken():
            return None  # whoever is broken closes the channel
    return report
