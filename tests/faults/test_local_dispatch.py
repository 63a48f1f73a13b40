"""The local engine with real processes: killed, stopped, orphaned, and those that never come up."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mailhaul.coordinator.dispatch import child, local, pool, processes
from mailhaul.coordinator.dispatch.driver import Pace
from mailhaul.coordinator.dispatch.engine import Outcome
from mailhaul.proto.errors import BackupError, MessageUnavailable, StagingError, WorkerLostError
from mailhaul.proto.records import Progress

HERE = Path(__file__).resolve().parent


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the dispatched functions, where workers find it too."""
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("dispatch_tasks")


@pytest.fixture
def job(tasks: ModuleType, tmp_path: Path) -> Callable[..., Any]:
    return lambda what, number=0, seconds=0.0: tasks.Job(what, tmp_path, number, seconds, ("elsewhere",))


AT_ONCE = Pace(retry_seconds=(0.0,))


def ignore(progress: Progress) -> None:
    """A progress sink."""


def run(jobs: Sequence[Any], workers: int = 2, **options: Any) -> list[Outcome[Any, Any]]:
    function = importlib.import_module("dispatch_tasks").run
    options = {"pace": AT_ONCE, **options}
    return list(local.run_tasks(function, jobs, workers=workers, on_progress=ignore, **options))


def test_tasks_begin_in_order_and_all_are_answered(job: Callable[..., Any]) -> None:
    jobs = [job("square", number) for number in range(12)]
    outcomes = run(jobs, workers=1)
    assert [outcome.task for outcome in outcomes] == jobs
    assert [one.report for one in outcomes] == [number**2 for number in range(12)]
    assert {one.attempts for one in outcomes} == {1}
    assert run([]) == []


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_are_other_processes_and_never_too_many(job: Callable[..., Any], workers: int) -> None:
    pids = {outcome.report for outcome in run([job("tell_pid"), job("tell_pid")], workers)}
    assert len(pids) <= max(1, min(workers, 2))
    assert (os.getpid() in pids) == (workers == 0)


def test_connections_of_the_program_are_not_those_of_its_workers(job: Callable[..., Any]) -> None:
    """A destination is asked by the program itself before its workers are made: they must not share that."""
    ours = socket.socketpair()
    with ours[0], ours[1]:
        names = {os.readlink(f"/proc/self/fd/{our.fileno()}") for our in ours}
        (here,) = run([job("open_sockets")], workers=0)
        assert here.report is not None
        assert names <= here.report, "it would be seen"
        (there,) = run([job("open_sockets")], workers=1)
        assert there.report is not None
        assert not names & there.report


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_cross_and_only_retryable_ones_are_tried_again(job: Callable[..., Any], workers: int) -> None:
    outcomes = run([job("fail"), job("fail_once", 3), job("crash")], workers)
    failed, repaired, crashed = sorted(
        outcomes, key=lambda one: ["fail", "fail_once", "crash"].index(one.task.what)
    )
    error = failed.failure()
    assert isinstance(error, MessageUnavailable)
    assert (error.reason, error.facts, failed.attempts) == (
        "vanished",
        {"reason": "vanished", "path": "/primary"},
        1,
    )
    assert (repaired.report, repaired.attempts) == (9, 2)
    error = crashed.failure()
    assert (type(error), error.message, crashed.attempts) == (BackupError, "KeyError: 'a mistake'", 1)
    assert "in crash" in str(error.facts["traceback"])


def test_what_cannot_cross_becomes_an_error_that_says_so(job: Callable[..., Any]) -> None:
    kinds = {
        "raise_stubborn": "Stubborn: <exception str() failed>",
        "raise_picky": "picky",
        "raise_with_lock": "holds a lock",
        "return_lock": "the report of a task can't be sent: cannot pickle '_thread.lock' object",
        "return_unreadable": "ValueError: invalid literal for int() with base 10: 'no number'",
    }
    outcomes = run([*map(job, kinds), job("square", 2)])
    told = {outcome.task.what: outcome.failure().message for outcome in outcomes if outcome.error}
    assert {what: text.rpartition("dispatch_tasks.")[2] for what, text in told.items()} == kinds
    assert [one.report for one in outcomes if not one.error] == [4]


def test_a_task_that_cannot_be_sent_fails_alone(tasks: ModuleType, job: Callable[..., Any]) -> None:
    wrong, right = run([tasks.Job("square", threading.Lock()), job("square", 2)], workers=1)
    assert "cannot pickle" in wrong.failure().message
    assert right.report == 4


def test_large_reports_pass(job: Callable[..., Any]) -> None:
    reports = [outcome.report for outcome in run([job("return_much")] * 3)]
    assert [len(report or b"") for report in reports] == [50_000_000] * 3


@pytest.mark.parametrize(
    ("what", "how"), [("die", "was killed by SIGKILL"), ("leave", "ended with status 7")]
)
def test_a_task_that_ends_its_worker_fails_alone(job: Callable[..., Any], what: str, how: str) -> None:
    outcomes = run(
        [job("square", 1), job(what, 2), job("die_once", 3), *(job("square", n) for n in range(4, 8))]
    )
    (lost,) = (outcome for outcome in outcomes if outcome.error)
    assert isinstance(lost.error, WorkerLostError)
    assert (lost.task.what, lost.attempts) == (what, 3)
    assert lost.error.message.endswith(how)
    assert sorted((one.report, one.attempts) for one in outcomes if not one.error) == [
        (1, 1),
        (9, 2),
        (16, 1),
        (25, 1),
        (36, 1),
        (49, 1),
    ]


def test_workers_killed_at_random(job: Callable[..., Any], rounds: int, tmp_path: Path) -> None:
    jobs = [job("square", number, 0.02) for number in range(rounds)]
    chance, done = random.Random(1), threading.Event()

    def kill() -> None:
        begun = 0
        while not done.wait(chance.uniform(0.1, 0.4)):
            # On a busy machine workers take longer to start: some must get to work in between.
            if (now_begun := len(pids_in(tmp_path))) > begun:
                begun = now_begun
                for process in multiprocessing.active_children():
                    if chance.random() < 0.6:
                        process.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        outcomes = run(jobs, workers=3, attempts=50)
    finally:
        done.set()
        killer.join()
    assert sorted(outcome.task.number for outcome in outcomes) == list(range(rounds))
    assert all(one.report == one.task.number**2 for one in outcomes)
    assert rounds < 20 or sum(one.attempts for one in outcomes) > rounds


def test_a_worker_that_stops_in_the_middle_of_an_answer(
    job: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_MESSAGE_SECONDS", 1)
    stalled, fine = sorted(run([job("stall"), job("square", 2)], attempts=1), key=lambda one: one.report or 0)
    assert isinstance(stalled.error, WorkerLostError)
    assert fine.report == 4


# Starting


class Named(str):
    """A task that is no more than its name."""

    hosts = ()
    label = "named"

    def attempted(self, host: str, attempt: int) -> str:
        return str(self)


def run_fragile(place: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> list[Outcome[Any, Any]]:
    """Three tasks for two workers, with a function whose module does something when a worker imports it."""
    head = "import multiprocessing, pathlib, time\ndef run(task, progress):\n    return task\n"
    body = f"if multiprocessing.current_process().name.startswith('worker-'):\n    {text}\n"
    (place / "fragile.py").write_text(head + body)
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.delitem(sys.modules, "fragile", raising=False)
    function = importlib.import_module("fragile").run
    return list(local.run_tasks(function, [*map(Named, "abc")], workers=2, on_progress=ignore))


def test_a_slow_start_delays_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = time.monotonic()
    outcomes = run_fragile(
        tmp_path, monkeypatch, "multiprocessing.current_process().name == 'worker-1' and time.sleep(20)"
    )
    assert sorted(str(outcome.report) for outcome in outcomes) == ["a", "b", "c"]
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise ImportError('not here')", "ended with status 1"),
        ("time.sleep(60)", "was not ready within 0 s"),
    ],
)
def test_workers_that_never_come_up_fail_the_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    monkeypatch.setattr(pool, "START_SECONDS", 0.4 if "sleep" in text else 60)
    outcomes = run_fragile(tmp_path, monkeypatch, text)
    assert [outcome.task for outcome in outcomes] == ["a", "b", "c"]
    assert all(one.attempts == 0 and one.failure().message.endswith(reason) for one in outcomes)


def test_processes_that_cannot_be_started_fail_the_tasks(
    job: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(ForkServerProcess, "start", refuse)
    (outcome,) = run([job("square", 2)])
    assert "can't be started: Resource temporarily unavailable" in outcome.failure().message


def test_workers_do_without_what_they_are_forked_from(
    job: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(forkserver, "ensure_running", refuse)
    outcomes = run([job("square", number) for number in range(3)])
    assert sorted(outcome.report or 0 for outcome in outcomes) == [0, 1, 4]


def test_what_workers_are_forked_from_is_killed(tasks: ModuleType, job: Callable[..., Any]) -> None:
    jobs = [*(job("square", number, 0.2) for number in range(4)), job("die_once", 4), job("square", 5)]
    outcomes: list[Outcome[Any, Any]] = []
    for task in local.run_tasks(tasks.run, jobs, workers=2, on_progress=ignore, pace=AT_ONCE):
        if not outcomes:
            server = getattr(forkserver, "_forkserver")  # noqa: B009
            os.kill(server._forkserver_pid, signal.SIGKILL)
        outcomes.append(task)
    assert sorted(outcome.task.number for outcome in outcomes if outcome.report is not None) == [
        0,
        1,
        2,
        3,
        4,
        5,
    ]


def test_what_workers_are_forked_from_dies_while_one_is_started(job: Callable[..., Any]) -> None:
    """A process that was killed refuses connections for a moment before it counts as ended. One time in four
    that moment was met, and all attempts to start a worker fell into it."""
    server = getattr(forkserver, "_forkserver")  # noqa: B009
    for number in range(20):
        forkserver.ensure_running()
        os.kill(server._forkserver_pid, signal.SIGKILL)
        (outcome,) = run([job("square", number)], workers=1)
        assert outcome.report == number**2, outcome


def test_a_worker_imports_neither_the_command_line_nor_the_engine(job: Callable[..., Any]) -> None:
    (outcome,) = run([job("tell_modules")], workers=1)
    assert outcome.report is not None
    unwanted = (
        "click",
        "rich",
        "pydantic",
        "sqlite3",
        "mailhaul.coordinator.cli",
        "mailhaul.coordinator.dispatch.local",
    )
    assert not [name for name in outcome.report if name.startswith(unwanted)]


def test_ctrl_c_while_a_worker_starts_is_not_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    outcomes = run_fragile(tmp_path, monkeypatch, text)
    assert sorted((outcome.report, outcome.attempts) for outcome in outcomes) == [
        ("a", 1),
        ("b", 1),
        ("c", 1),
    ]


def test_ctrl_c_is_not_for_workers(job: Callable[..., Any]) -> None:
    (outcome,) = run([job("tell_interrupt")], workers=1)
    assert outcome.report == (True, False)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


# Progress


def test_progress_comes_now_and_then(tasks: ModuleType, job: Callable[..., Any]) -> None:
    seen: list[Progress] = []
    jobs = [job("report_often", 7, 1.0)]
    (outcome,) = local.run_tasks(tasks.run, jobs, workers=1, on_progress=seen.append)
    assert (outcome.report or 0) > 1000
    assert 2 <= len(seen) <= 6
    assert {progress.unit for progress in seen} == {"7"}
    assert [progress.messages for progress in seen] == sorted(progress.messages for progress in seen)


def test_progress_never_waits_for_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "PROGRESS_SECONDS", 0)
    ours, theirs = multiprocessing.Pipe()
    report = child._Reporter(theirs)
    for count in range(10_000):
        report(Progress("unit", count, 0))
    assert ours.recv() == Progress("unit", 0, 0)
    ours.close()
    for count in range(10):
        report(Progress("unit", count, 0))
    theirs.close()


def test_work_goes_on_when_note_was_taken_of_what_is_done(
    tasks: ModuleType, job: Callable[..., Any], tmp_path: Path
) -> None:
    """So that no more than the last of what a worker has done is unknown, whenever the parent is killed."""
    noted: list[str] = []
    ahead: list[int] = []

    def note(progress: Progress) -> None:
        time.sleep(0.002)  # a slow reader
        begun = (tmp_path / "begun").read_text()
        noted.extend(progress.done)
        ahead.append(int(begun) - len(noted))

    (outcome,) = local.run_tasks(tasks.run, [job("tell_done", 200)], workers=1, on_progress=note)
    assert outcome.report == 200
    assert noted == [f"{count} is done" for count in range(200)]
    assert set(ahead) == {0}


# Ending


def gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not (an orphan's new parent may take its time)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        time.sleep(0.02)
    return condition()


def pids_in(place: Path) -> list[int]:
    """The workers that have begun a task."""
    return [int(file.suffix[1:]) for file in place.glob("[0-9]*.*")]


def test_a_consumer_that_has_enough_ends_the_workers(
    tasks: ModuleType, job: Callable[..., Any], tmp_path: Path
) -> None:
    jobs = [job("square", 0, 1.0), job("tidy_up", 1), job("tidy_up", 2)]
    with closing(local.run_tasks(tasks.run, jobs, workers=3, on_progress=ignore)) as outcomes:  # type: ignore[type-var]
        assert next(outcomes).report == 0
        assert wait_until(lambda: len(pids_in(tmp_path)) == 3, 10)
    assert all(map(gone, pids_in(tmp_path)))
    assert sorted(file.name for file in tmp_path.glob("tidy.*")) == ["tidy.1", "tidy.2"]


def test_a_worker_that_does_not_listen_is_killed_after_a_grace(
    tasks: ModuleType, job: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "GRACE_SECONDS", 0.5)
    outcomes = local.run_tasks(tasks.run, [job("hold_gil"), job("square", 3)], workers=2, on_progress=ignore)
    for outcome in outcomes:
        assert outcome.report == 9
        assert wait_until(lambda: len(pids_in(tmp_path)) == 2, 10)
        break
    del outcomes
    assert all(map(gone, pids_in(tmp_path)))


PROGRAM = """
print("main", flush=True)
import signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import dispatch_tasks
from mailhaul.coordinator.dispatch import local

def stop(*_):
    raise KeyboardInterrupt

if sys.argv[3] == "handled":
    signal.signal(signal.SIGTERM, stop)
jobs = [dispatch_tasks.Job(what, Path(sys.argv[2]), number) for number, what in enumerate(sys.argv[4:])]
try:
    for one in local.run_tasks(dispatch_tasks.run, jobs, workers=3, on_progress=lambda progress: None):
        print(one.report, flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def start_program(tmp_path: Path, handler: str, *what: str) -> subprocess.Popen[str]:
    """A program with three workers, in a process group of its own, in a directory that others can write."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "program.py").write_text(PROGRAM)
    for name in ("multiprocessing", "selectors", "pickle"):
        (tmp_path / f"{name}.py").write_text("open('planted', 'w').close()\n")
    places = (str(tmp_path / "bin" / "program.py"), str(HERE), str(tmp_path))
    return subprocess.Popen(
        [sys.executable, *places, handler, *what],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("number", "handler", "whole_group"),
    [
        (signal.SIGINT, "default", True),
        (signal.SIGINT, "default", False),
        (signal.SIGTERM, "handled", False),
        (signal.SIGTERM, "default", False),
        (signal.SIGKILL, "default", False),
    ],
)
def test_a_program_that_is_ended_leaves_no_workers(
    tasks: ModuleType, tmp_path: Path, number: signal.Signals, handler: str, whole_group: bool
) -> None:
    what = ("tidy_up", "tidy_up", "hold_gil") if number == signal.SIGKILL else ("tidy_up",) * 3
    with start_program(tmp_path, handler, *what) as program:
        assert wait_until(lambda: len(pids_in(tmp_path)) == 3, 20)
        if whole_group:
            os.killpg(program.pid, number)
        else:
            program.send_signal(number)
        output, errors = program.communicate(timeout=20)
    orderly = number == signal.SIGINT or handler == "handled"
    assert output == ("main\ninterrupted\n" if orderly else "main\n")
    assert errors == ""
    assert wait_until(lambda: all(map(gone, pids_in(tmp_path))), 0.5 if orderly else 4)
    assert len(list(tmp_path.glob("tidy.*"))) == what.count("tidy_up")


def test_nothing_is_imported_from_the_current_directory(tasks: ModuleType, tmp_path: Path) -> None:
    with start_program(tmp_path, "default", "square", "square") as program:
        output, errors = program.communicate(timeout=20)
    assert (output, errors) == ("main\n0\n1\n", "") or (output, errors) == ("main\n1\n0\n", "")
    assert not (tmp_path / "planted").exists()


def test_retryable_error_keeps_its_class_to_the_end(job: Callable[..., Any]) -> None:
    (outcome,) = run([job("fail_once")], attempts=1)
    assert isinstance(outcome.error, StagingError)
    assert (outcome.error.facts, outcome.attempts) == ({"free_bytes": 0}, 1)


def at_first_here(seconds: float, told: list[str]) -> local.AtFirstHere:
    return local.AtFirstHere(seconds, lambda: told.append("prepared"))


def test_little_is_done_by_this_process(job: Callable[..., Any], tmp_path: Path) -> None:
    told: list[str] = []
    jobs = [job("square", number) for number in range(5)]
    outcomes = run(jobs, workers=3, at_first_here=at_first_here(60, told))
    assert [outcome.report for outcome in outcomes] == [number**2 for number in range(5)]
    assert {path.name.split(".")[1] for path in tmp_path.iterdir()} == {str(os.getpid())}
    assert told == []


def test_processes_help_with_what_takes_longer(job: Callable[..., Any], tmp_path: Path) -> None:
    told: list[str] = []
    jobs = [job("tell_often", 0, 6.0), *(job("square", number) for number in range(1, 7))]
    outcomes = run(jobs, workers=3, at_first_here=at_first_here(0.2, told))
    assert sorted(outcome.report or 0 for outcome in outcomes if outcome.task.number) == [1, 4, 9, 16, 25, 36]
    assert outcomes[-1].report == os.getpid(), "what was begun here goes on beside them"
    assert told == ["prepared"]
    own = [path for path in tmp_path.iterdir() if path.name.endswith(f".{os.getpid()}")]
    assert len(own) == 1


def test_nothing_is_started_where_nothing_waits(job: Callable[..., Any]) -> None:
    told: list[str] = []
    (outcome,) = run([job("tell_often", 1, 0.6)], at_first_here=at_first_here(0.1, told))
    assert (outcome.report, told) == (os.getpid(), [])


def test_errors_here_are_tried_again_and_fail_alone(job: Callable[..., Any]) -> None:
    jobs = [job("fail_once", 1), job("crash", 2), job("square", 3)]
    outcomes = {outcome.task.number: outcome for outcome in run(jobs, at_first_here=at_first_here(60, []))}
    assert (outcomes[1].report, outcomes[1].attempts) == (1, 2)
    assert outcomes[2].error is not None
    assert outcomes[3].report == 9


def test_what_is_done_here_ends_with_the_consumer(
    tasks: ModuleType, job: Callable[..., Any], tmp_path: Path
) -> None:
    seen: list[Progress] = []
    jobs = [job("square", 1), job("tell_often", 2, 600.0)]
    asked = at_first_here(60, [])
    with closing(
        local.run_tasks(tasks.run, jobs, workers=1, on_progress=seen.append, at_first_here=asked)  # type: ignore[type-var]
    ) as outcomes:
        assert next(outcomes).report == 1
        assert wait_until(lambda: any(tmp_path.glob("2.*")), 10)
    assert not [thread for thread in threading.enumerate() if thread.name == "worker"]


def test_outside_of_the_window_no_time_is_counted(job: Callable[..., Any]) -> None:
    told: list[str] = []
    opens = time.monotonic() + 1.5
    outcomes = run(
        [job("square", 4)], admit=lambda: time.monotonic() > opens, at_first_here=at_first_here(0.5, told)
    )
    assert (outcomes[0].report, told) == (16, [])
