"""The benchmark's own parts: what a command cost, the tables, two results beside each other."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mailhaul.bench.compare import comparison
from mailhaul.bench.macro import nights
from mailhaul.bench.macro.measure import Command, CommandFailed, run
from mailhaul.bench.macro.report import Figures, Result, Step, read, tables, write

MEGA = 1_000_000


def python(code: str, tmp_path: Path) -> Command:
    return Command((sys.executable, "-c", code), tmp_path, {"GREETING": "hello"})


def test_a_command_is_measured_with_its_children(tmp_path: Path) -> None:
    # What the process that measures holds itself must not be counted.
    ours = b"x" * 300_000_000
    burn = "import time\\nwhile time.process_time() < 0.3: pass"
    code = f"""
import os, subprocess, sys, time
print(os.environ["GREETING"], flush=True)
subprocess.run([sys.executable, "-c", "{burn}"], check=True)
held = b'x' * 80_000_000
time.sleep(0.4)
"""
    measured = run(python(code, tmp_path), tmp_path / "output")
    del ours
    assert measured.output.read_text() == "hello\n"
    assert measured.cpu_seconds >= 0.3
    assert measured.wall_seconds >= 0.7
    assert 80 * MEGA < measured.peak_memory_bytes < 200 * MEGA


def test_memory_of_all_processes_at_a_time_is_added_up(tmp_path: Path) -> None:
    code = """
import subprocess, sys
held = "import time; held = b'x' * 40_000_000; time.sleep(0.8)"
for child in [subprocess.Popen([sys.executable, "-c", held]) for _ in range(2)]: child.wait()
"""
    assert run(python(code, tmp_path), tmp_path / "output").peak_memory_bytes > 80 * MEGA


def test_a_command_that_fails_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="exit status 7\nno such thing"):
        run(
            python("import sys; print('no such thing', file=sys.stderr); sys.exit(7)", tmp_path),
            tmp_path / "o",
        )


def result(backup_seconds: float, tar_seconds: tuple[float, ...] = (2.0, 4.0, 3.0)) -> Result:
    """A made-up run: mailhaul takes so many times as long as tar in each repetition."""

    def figures(wall: float, stored: int) -> Figures:
        step = Step(wall_seconds=wall, cpu_seconds=2 * wall, peak_memory_bytes=50 * MEGA)
        steps = dict.fromkeys(("backup", "restore", "mailbox", "message"), step)
        return Figures(stored_bytes=stored, beside_bytes=0, steps=steps)

    return Result(
        date="2026-01-02T03:04:05Z",
        commit="abc",
        setting="small",
        store={"kind": "demo", "messages": 10, "files": 12, "bytes": 2_000_000_000},
        machine={"cpu": "one", "cores": 2, "memory_bytes": 8 * 10**9, "kernel": "6", "python": "3"},
        versions={},
        figures={
            "mailhaul lz4 2w": [figures(backup_seconds * seconds, 30 * MEGA) for seconds in tar_seconds],
            "tar | lz4": [figures(seconds, 90 * MEGA) for seconds in tar_seconds],
        },
    )


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = write(result(0.4), tmp_path / "results", "the tables")
    assert path.name == "2026-01-02-abc-small.json"
    assert read(path) == result(0.4)
    assert path.with_suffix(".md").read_text() == "the tables"
    path.write_text("{}")
    with pytest.raises(ValueError, match="no result"):
        read(path)


def test_tables_hold_the_figures_and_the_targets() -> None:
    text = tables(result(0.4))
    assert "| tar \\| lz4 | 3.00 | 6.00 | 3.00 | 50 | 90.0 | 0.0 |" in text
    assert "| backup, wall: mailhaul lz4 2w / tar \\| lz4 | 0.40 | 0.50 | yes |" in text
    assert "| backup, wall: mailhaul lz4 2w / tar \\| lz4 | 0.60 | 0.50 | no |" in tables(result(0.6))


def test_an_earlier_state_is_held_against_the_present_one_in_each_repetition() -> None:
    run = result(0.4)
    run.figures["mailhaul lz4 2w, base"] = result(0.5).figures["mailhaul lz4 2w"]
    assert "| mailhaul lz4 2w | 0.80 (0.80) | 0.80 (0.80) | 0.80 (0.80) | 0.80 (0.80) |" in tables(run)
    assert "base" not in tables(result(0.4))


def test_comparison_divides_by_what_did_not_change() -> None:
    # The second run is 0.8 of the first, on a machine that is half as fast.
    text = comparison(result(0.5), result(0.4, tar_seconds=(4.0, 8.0, 6.0)))
    assert "| backup wall | 1.60 (0.80) | 2.00 |" in text
    assert "| stored | 1.00 | 1.00 |" in text


def test_nights_are_held_against_their_targets_and_an_earlier_state() -> None:
    def figures(seconds: float) -> Figures:
        step = Step(wall_seconds=seconds, cpu_seconds=seconds, peak_memory_bytes=MEGA)
        return Figures(stored_bytes=MEGA, beside_bytes=0, steps=dict.fromkeys(nights.STEPS, step))

    run = result(0.4)
    run.figures.clear()
    run.figures["mailhaul lz4 2w"] = [figures(1.0), figures(3.0), figures(2.0)]
    run.figures["mailhaul lz4 2w, base"] = [figures(2.0), figures(10.0), figures(2.5)]
    run.figures["restic"] = [figures(10.0)] * 3
    told = replace(run, setting="nights-small")
    text = nights.tables(told)
    assert "| mailhaul lz4 2w | 0.50 (0.50) | 0.50 (0.50) | 0.50 (0.50) |" in text
    assert "| first, CPU: mailhaul lz4 2w / base | 0.50 | 0.60 | yes |" in text
    assert "| changed, CPU: mailhaul lz4 2w / base | 0.50 | 0.40 | no |" in text
    assert "| unchanged, wall: mailhaul lz4 2w / restic | 0.20 | 0.12 | no |" in text
    assert "tar \\|" not in text
