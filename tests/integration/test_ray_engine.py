"""The Ray engine on real clusters of several nodes on this machine: placement, and every kind of loss."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mailhaul.coordinator.dispatch.cluster import RayCluster, run_on_cluster
from mailhaul.coordinator.dispatch.engine import Outcome
from mailhaul.coordinator.dispatch.ray_process import LABEL
from mailhaul.coordinator.dispatch.tuning import Free, HoldBack
from mailhaul.proto.errors import (
    BackupError,
    ClusterLostError,
    HostError,
    HostLostError,
    MessageUnavailable,
    WorkerLostError,
)
from mailhaul.proto.structs import field_names
from mailhaul.worker.load.share import drop_share

pytestmark = pytest.mark.xdist_group("ray")

HERE = Path(__file__).resolve().parent
TASKS = HERE.parent / "faults"

FAST = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_grpc_client_keepalive_time_ms": "2000",
    "RAY_grpc_client_keepalive_timeout_ms": "3000",
}
"""A loss is seen in about four seconds."""

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}

pytestmark = pytest.mark.filterwarnings(
    # Ray's own: it lets go of the processes of its nodes and of their logs without a word.
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::DeprecationWarning:ray",
)


@contextmanager
def cluster_of(token: Path, *hosts: str) -> Iterator[Any]:
    """A cluster with a node for each host; the first is the head's."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            **FAST,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_health_check_initial_delay_ms": "0",
            "RAY_health_check_failure_threshold": "3",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "PYTHONPATH": str(TASKS),  # workers import the functions of these tests there
        }.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        cluster = Cluster()
        try:
            for host in hosts:
                cluster.add_node(**NODE, labels={LABEL: host})
            yield cluster
        finally:
            cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("token") / "ray.token"
    file.touch(mode=0o600)
    file.write_text("5f" * 32)
    return file


@pytest.fixture(scope="module")
def nodes(token: Path) -> Iterator[Any]:
    with cluster_of(token, "a", "b") as cluster:
        yield cluster


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TASKS))
    return importlib.import_module("dispatch_tasks")


@pytest.fixture
def job(tasks: ModuleType, tmp_path: Path) -> Callable[..., Any]:
    return lambda what, number, *hosts, seconds=0.0: tasks.Job(what, tmp_path, number, seconds, hosts)


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


Run = Callable[..., Iterator[Outcome[Any, Any]]]


@pytest.fixture
def run(tasks: ModuleType, nodes: Any, token: Path) -> Run:
    """The engine on the module's cluster; some of its settings, and of its arguments, may be others."""

    def run_here(jobs: Sequence[Any], **options: Any) -> Iterator[Outcome[Any, Any]]:
        return run_with(tasks, settings_for(nodes, token), jobs, **options)

    return run_here


def settings_for(cluster: Any, token: Path) -> dict[str, Any]:
    return {
        "address": cluster.address,
        "token_file": token,
        "workers_per_host": 2,
        "lease_seconds": 2.0,
        "host_patience_seconds": 3.0,
        "environment": FAST,
    }


def run_with(
    tasks: ModuleType, settings: dict[str, Any], jobs: Sequence[Any], **options: Any
) -> Iterator[Outcome[Any, Any]]:
    of_cluster = {name: options.pop(name) for name in list(options) if name in field_names(RayCluster)}
    cluster = RayCluster(**{**settings, **of_cluster})
    return run_on_cluster(tasks.run, jobs, cluster, **{"poll": lambda: None, **options})


def reported(one: Outcome[Any, Any]) -> Any:
    assert one.error is None
    return one.report


def by_number(outcomes: Iterator[Outcome[Any, Any]]) -> dict[int, Outcome[Any, Any]]:
    return {outcome.task.number: outcome for outcome in outcomes}


def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        time.sleep(0.05)
    return bool(condition())


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def workers_in(place: Path, pattern: str) -> list[int]:
    """The processes of the attempts that ``sit`` has begun: number, host, attempt."""
    return [int(file.name.rpartition(".")[2]) for file in place.glob(f"begun.{pattern}.*")]


class Fault:
    """Something that is done once in the middle of a run, as soon as tasks of these attempts have begun; the
    run calls it again and again."""

    def __init__(self, place: Path, begun: Sequence[str], act: Callable[[], None]) -> None:
        self._place, self._begun, self._act = place, begun, act
        self.at: float | None = None

    def __call__(self) -> None:
        if self.at is None and all(workers_in(self._place, attempt) for attempt in self._begun):
            self._act()
            self.at = time.monotonic()


# Placement


def test_workers_are_held_back_on_their_hosts_while_they_are_at_their_tasks(
    run: Run, job: Callable[..., Any]
) -> None:
    class Held(Free):
        def held_back(self) -> list[HoldBack]:
            return [HoldBack("a", "test", 0.25), HoldBack("b", "test", 0.5)]

    jobs = [job("see_share", 0, "a", seconds=20.0), job("see_share", 1, "b", seconds=20.0)]
    try:
        found = by_number(run(jobs, restraint=Held()))
    finally:
        for host in "ab":
            drop_share(host, "test")
    assert [reported(found[number]) for number in (0, 1)] == [0.25, 0.5]


def test_tasks_run_in_order_on_their_hosts_and_so_many_at_a_time(
    run: Run, job: Callable[..., Any], nodes: Any
) -> None:
    jobs = [job("take_turn", number, "ab"[number % 2], seconds=0.2) for number in range(10)]
    outcomes = by_number(run([*jobs, job("take_turn_alone", 10), job("square", 11, "nowhere")]))
    assert sorted(outcomes) == list(range(12))
    node_of = {node.node_labels[LABEL]: node.node_id for node in nodes.list_all_nodes()}
    for host in "ab":
        turns = [reported(outcomes[number]) for number in range(10) if "ab"[number % 2] == host]
        assert {(turn.host, turn.node) for turn in turns} == {(host, node_of[host])}
        assert max(turn.together for turn in turns) == 2
        # With two at a time nobody begins before the one that was two places earlier.
        assert all(earlier.begun < later.begun for earlier, later in zip(turns, turns[2:], strict=False))
    assert reported(outcomes[10]).host in ("a", "b")
    error = outcomes[11].failure()
    assert isinstance(error, HostError)
    assert outcomes[11].attempts == 0
    assert error.message.endswith(f"stands for host nowhere (label {LABEL}=nowhere); there are: a, b")


def test_a_host_without_a_node_leaves_shared_tasks_to_the_others(run: Run, job: Callable[..., Any]) -> None:
    (outcome,) = run([job("tell_attempt", 0, "nowhere", "b")])
    assert (outcome.report, outcome.attempts) == (("b", 1), 1)


def test_no_task_needs_no_cluster(tasks: ModuleType) -> None:
    assert list(run_on_cluster(tasks.run, [], RayCluster(address="127.0.0.1:1"), poll=lambda: None)) == []


# What goes wrong with tasks and workers


def test_errors_cross_and_lost_workers_are_replaced_on_their_host(run: Run, job: Callable[..., Any]) -> None:
    outcomes = by_number(
        run(
            [
                job("fail", 0, "a"),
                job("crash", 1, "a"),
                job("raise_picky", 2, "a"),
                job("return_lock", 3, "a"),
                job("fail_once", 4, "a"),
                job("return_much", 5, "a"),
                job("die_once", 6, "b"),
                job("leave", 7, "b"),
            ],
            attempts=2,
        )
    )
    error = outcomes[0].failure()
    assert isinstance(error, MessageUnavailable)
    assert (error.reason, outcomes[0].attempts) == ("vanished", 1)
    assert outcomes[1].failure().message == "KeyError: 'a mistake'"
    assert (type(outcomes[2].error), outcomes[2].failure().message) == (BackupError, "picky")
    assert "cannot pickle" in outcomes[3].failure().message
    assert (outcomes[4].report, outcomes[4].attempts) == (16, 2)
    assert len(reported(outcomes[5])) == 50_000_000
    assert (outcomes[6].report, outcomes[6].attempts) == (36, 2)
    error = outcomes[7].failure()
    assert isinstance(error, WorkerLostError)
    assert not isinstance(error, HostLostError)
    assert (error.facts["host"], outcomes[7].attempts) == ("b", 2)
    assert error.message.endswith("Worker exits with an exit code 7.")


def test_a_function_that_hosts_do_not_have_fails_the_tasks(
    run: Run,
    job: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    nodes: Any,
    token: Path,
) -> None:
    (tmp_path / "only_here.py").write_text("def run(task, progress):\n    return task\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    only_here = importlib.import_module("only_here")
    settings = {**settings_for(nodes, token), "workers_per_host": 1}
    (outcome,) = run_with(only_here, settings, [job("square", 1, "a")], attempts=1)
    assert "No module named 'only_here'" in outcome.failure().message
    assert outcome.attempts == 0


def test_progress_comes_from_the_workers(
    run: Run, tasks: ModuleType, job: Callable[..., Any], tmp_path: Path
) -> None:
    lines, polled = tmp_path / "progress", 0

    def poll() -> None:
        nonlocal polled
        polled += 1

    jobs = [job("report_place", 1, "a"), job("report_place", 2, "b")]
    list(run(jobs, connect_progress=partial(tasks.append_to, lines), poll=poll))
    assert sorted(lines.read_text().splitlines()) == ["1 on a, said a", "2 on b, said b"]
    assert polled > 2


def test_nothing_is_begun_while_the_door_is_shut(run: Run, job: Callable[..., Any]) -> None:
    asked: list[float] = []

    def admit() -> bool:
        asked.append(time.monotonic())
        return len(asked) >= 4

    (outcome,) = run([job("take_turn_alone", 0, "a")], admit=admit)
    assert reported(outcome).begun > asked[3] > asked[0] + 2


# What goes wrong with hosts


def test_a_lost_host(run: Run, job: Callable[..., Any], nodes: Any, tmp_path: Path) -> None:
    """Its shared tasks go elsewhere after the lease, its own fail alone when patience is over."""
    node = nodes.add_node(**NODE, labels={LABEL: "c"})
    loss = Fault(tmp_path, ["0.c.1", "1.c.1"], lambda: nodes.remove_node(node, allow_graceful=False))
    jobs = [job("sit", 0, "c", "a"), job("sit", 1, "c"), job("square", 2, "b")]
    outcomes = by_number(run(jobs, poll=loss))
    assert loss.at is not None
    assert (outcomes[0].report, outcomes[0].attempts) == (("a", 2), 2)
    again = next(tmp_path.glob("begun.0.a.2.*")).stat().st_mtime - time.time() + time.monotonic()
    assert again > loss.at + 2.0  # the lease
    error = outcomes[1].failure()
    assert isinstance(error, HostError)
    assert error.message.startswith("host c did not come back within 3 s: ")
    assert outcomes[1].attempts == 1
    assert outcomes[2].report == 4


def test_a_host_that_comes_back_goes_on(
    run: Run, job: Callable[..., Any], nodes: Any, tmp_path: Path
) -> None:
    node = nodes.add_node(**NODE, labels={LABEL: "d"})

    def restart() -> None:
        nonlocal node
        nodes.remove_node(node, allow_graceful=False)
        node = nodes.add_node(**NODE, labels={LABEL: "d"})

    poll = Fault(tmp_path, ["0.d.1"], restart)
    (outcome,) = run([job("sit", 0, "d")], host_patience_seconds=60.0, poll=poll)
    nodes.remove_node(node)
    assert (outcome.report, outcome.attempts) == (("d", 2), 2)


# What goes wrong with the cluster, and the coordinator's own end


def test_nobody_listens_at_the_address(tasks: ModuleType, job: Callable[..., Any], token: Path) -> None:
    cluster = RayCluster(address="127.0.0.1:1", token_file=token)
    begun = time.monotonic()
    with pytest.raises(ClusterLostError, match=r"127\.0\.0\.1:1 can't be used: .*refused"):
        next(run_on_cluster(tasks.run, [job("square", 1, "a")], cluster, poll=lambda: None))
    assert time.monotonic() - begun < 20


def test_workers_end_when_the_consumer_has_enough(run: Run, job: Callable[..., Any], tmp_path: Path) -> None:
    outcomes = run([job("sit", 0, "a"), job("follow", 1, "b")])
    with closing(outcomes):  # type: ignore[type-var]
        assert next(outcomes).report == 1
        assert workers_in(tmp_path, "0.a.1")
    assert wait_until(lambda: all(map(gone, workers_in(tmp_path, "0.a.1"))), 20)


def test_a_driver_that_is_killed_ends_the_dispatch_and_its_workers(
    run: Run, job: Callable[..., Any], tmp_path: Path
) -> None:
    death = Fault(tmp_path, ["0.a.1"], lambda: multiprocessing.active_children()[0].kill())
    with pytest.raises(ClusterLostError, match="that drives it was killed by SIGKILL"):
        list(run([job("sit", 0, "a")], poll=death))
    assert wait_until(lambda: all(map(gone, workers_in(tmp_path, "0.a.1"))), 20)


def test_a_driver_that_is_stopped_ends_the_dispatch(
    run: Run, job: Callable[..., Any], tmp_path: Path
) -> None:
    def stop() -> None:
        (driver,) = multiprocessing.active_children()
        assert driver.pid is not None
        os.kill(driver.pid, signal.SIGSTOP)

    with pytest.raises(ClusterLostError, match="did not answer for"):
        list(run([job("sit", 0, "a")], silence_seconds=3.0, poll=Fault(tmp_path, ["0.a.1"], stop)))


PROGRAM = """
import sys
from pathlib import Path
import dispatch_tasks
from mailhaul.coordinator.dispatch.cluster import RayCluster, run_on_cluster

place, address, token = sys.argv[1:]
cluster = RayCluster(address=address, token_file=Path(token))
job = dispatch_tasks.Job("sit", Path(place), hosts=("a",))
list(run_on_cluster(dispatch_tasks.run, [job], cluster, poll=lambda: None))
"""


def test_a_coordinator_that_is_killed_leaves_neither_driver_nor_workers(
    nodes: Any, token: Path, tmp_path: Path
) -> None:
    arguments = ("-c", PROGRAM, str(tmp_path), nodes.address, str(token))
    with subprocess.Popen(
        [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": str(TASKS)}
    ) as program:
        assert wait_until(lambda: workers_in(tmp_path, "0.a.1"), 30)
        children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        program.kill()
    assert children
    assert wait_until(lambda: all(map(gone, [*map(int, children), *workers_in(tmp_path, "0.a.1")])), 20)


def test_the_head_is_killed(tasks: ModuleType, job: Callable[..., Any], tmp_path: Path, token: Path) -> None:
    """The coordinator sees it within the silence that it grants, and lives."""
    with cluster_of(token, "a") as cluster:
        (server,) = cluster.head_node.all_processes["gcs_server"]
        death = Fault(tmp_path, ["0.a.1"], server.process.kill)
        outcomes = run_with(
            tasks, settings_for(cluster, token), [job("sit", 0, "a")], silence_seconds=3.0, poll=death
        )
        with pytest.raises(ClusterLostError, match="did not answer for") as caught:
            list(outcomes)
        assert death.at is not None
        assert 2.0 < time.monotonic() - death.at < 20
    assert (caught.value.code, caught.value.retryable) == ("cluster-lost", True)
