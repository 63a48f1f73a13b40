"""The figures of one run: kept as JSON, shown as tables, held against the targets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from .measure import Measured

MEGA = 1_000_000
TARGETS_HEAD = ("| target | measured | at most | met |", "|---|---|---|---|")
BASE = ", base"
"""Ends the name of one of our programs in an earlier state of the repository."""

OURS, OURS_ONE, OURS_ZSTD_ONE = "mailhaul lz4 2w", "mailhaul lz4 1w", "mailhaul zstd 1w"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The cost of one step."""

    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int

    @classmethod
    def of(cls, measured: Measured) -> Step:
        return cls(
            wall_seconds=round(measured.wall_seconds, 3),
            cpu_seconds=round(measured.cpu_seconds, 3),
            peak_memory_bytes=measured.peak_memory_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One repetition of one program. ``beside_bytes`` are caches and copies outside the repository."""

    stored_bytes: int
    beside_bytes: int
    steps: dict[str, Step]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run: every repetition of every program, and on what it was measured."""

    date: str
    commit: str
    setting: str
    store: dict[str, object]
    machine: dict[str, object]
    versions: dict[str, str]
    figures: dict[str, list[Figures]] = field(default_factory=dict)

    def median(self, name: str, figure: Callable[[Figures], float]) -> float:
        return median(figure(repetition) for repetition in self.figures[name])

    def ratio(self, name: str, other: str, figure: Callable[[Figures], float]) -> float:
        """Median of the ratios within each repetition: what slows the machine for a while hits both."""
        pairs = zip(self.figures[name], self.figures[other], strict=True)
        return median(figure(mine) / figure(theirs) for mine, theirs in pairs)


def based(name: str) -> str:
    """What one of our programs is called as it was."""
    return name + BASE


def wall(step: str) -> Callable[[Figures], float]:
    return lambda figures: figures.steps[step].wall_seconds


def cpu(step: str) -> Callable[[Figures], float]:
    return lambda figures: figures.steps[step].cpu_seconds


def memory(step: str) -> Callable[[Figures], float]:
    return lambda figures: figures.steps[step].peak_memory_bytes / MEGA


def stored(figures: Figures) -> float:
    return figures.stored_bytes / MEGA


def heading(result: Result) -> list[str]:
    """What was measured, on what, when."""
    store, machine = result.store, result.machine
    giga = int(str(store["bytes"])) / 1e9
    repetitions = max(len(figures) for figures in result.figures.values())
    measured = (
        f"{store['messages']} messages, {giga:.2f} GB ({store['kind']} store), medians of {repetitions}"
    )
    memory_giga = int(str(machine["memory_bytes"])) / 1e9
    software = f"Linux {machine['kernel']}, Python {machine['python']}"
    return [
        f"{result.setting}: {measured}",
        f"{machine['cores']} cores {machine['cpu']}, {memory_giga:.0f} GB, {software}",
        f"commit {result.commit}, {result.date}",
    ]


def tables(result: Result) -> str:
    """The run as markdown that fits a terminal."""
    giga = int(str(result.store["bytes"])) / 1e9
    text = [
        *heading(result),
        "",
        "| first full backup | wall s | CPU s | CPU s/GB | peak MB | stored MB | beside MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in result.figures:
        cells = [
            f"{result.median(name, wall('backup')):.2f}",
            f"{result.median(name, cpu('backup')):.2f}",
            f"{result.median(name, cpu('backup')) / giga:.2f}",
            f"{result.median(name, memory('backup')):.0f}",
            f"{result.median(name, stored):.1f}",
            f"{result.median(name, lambda figures: figures.beside_bytes / MEGA):.1f}",
        ]
        text.append(f"| {_cell(name)} | " + " | ".join(cells) + " |")
    text += [
        "",
        "| back again | all: wall s | CPU s | peak MB | mailbox: wall s | CPU s | message: wall s | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in result.figures:
        figures = [wall("restore"), cpu("restore"), memory("restore"), wall("mailbox"), cpu("mailbox")]
        figures += [wall("message"), cpu("message")]
        cells = [f"{result.median(name, figure):.2f}" for figure in figures]
        text.append(f"| {_cell(name)} | " + " | ".join(cells) + " |")
    text += [*against_base(result, ("backup", "restore", "mailbox", "message")), "", *_targets(result, giga)]
    return "\n".join(text) + "\n"


def against_base(result: Result, steps: Sequence[str]) -> list[str]:
    """What has become of the cost of our programs since an earlier state, where that took part."""
    compared = [name for name in result.figures if based(name) in result.figures]
    if not compared:
        return []
    lines = [
        "",
        "| now / base: CPU s (wall s) | " + " | ".join(steps) + " |",
        "|---" * (len(steps) + 1) + "|",
    ]
    for name in compared:
        ratios = [[result.ratio(name, based(name), of(step)) for of in (cpu, wall)] for step in steps]
        cells = [f"{of_cpu:.2f} ({of_wall:.2f})" for of_cpu, of_wall in ratios]
        lines.append(f"| {_cell(name)} | " + " | ".join(cells) + " |")
    return lines


def _targets(result: Result, giga: float) -> list[str]:
    """The table of what is to be reached; empty where mailhaul was not measured."""
    have = result.figures.keys()
    lines: list[str] = []

    def line(text: str, value: float, limit: float) -> None:
        lines.append(target(text, value, limit))

    def against(name: str, other: str, what: str, figure: Callable[[Figures], float], limit: float) -> None:
        if {name, other} <= have:
            line(f"{what}: {name} / {other}", result.ratio(name, other, figure), limit)

    against(OURS, "tar | lz4", "backup, wall", wall("backup"), 1 / 2)
    against(OURS, "borg lz4", "backup, wall", wall("backup"), 1 / 3)
    against(OURS, "restic", "backup, wall", wall("backup"), 1 / 4)
    if OURS in have:
        line(f"backup, CPU s per GB: {OURS}", result.median(OURS, cpu("backup")) / giga, 2.5)
    if result.setting == "2g":
        against(OURS_ONE, "restic", "stored", stored, 0.55)
        against(OURS_ZSTD_ONE, "restic", "stored", stored, 0.50)
    rivals = [name for name in ("restic", "borg lz4") if name in have]
    if rivals:
        best = min(rivals, key=lambda name: result.median(name, wall("restore")))
        against(OURS, best, "restore, wall", wall("restore"), 1 / 2)
    if OURS in have:
        line(f"one message, s: {OURS}", result.median(OURS, wall("message")), 0.5)
    return [*TARGETS_HEAD, *lines] if lines else []


def target(text: str, value: float, limit: float) -> str:
    """A line of the table of targets."""
    return f"| {_cell(text)} | {value:.2f} | {limit:.2f} | {'yes' if value <= limit else 'no'} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def write(result: Result, directory: Path, text: str) -> Path:
    """Keep a run: NAME.json with every figure, NAME.md with these tables. Returns the first path."""
    directory.mkdir(parents=True, exist_ok=True)
    name = f"{result.date[:10]}-{result.commit.rstrip('+')}-{result.setting}"
    (directory / f"{name}.md").write_text(text)
    path = directory / f"{name}.json"
    path.write_text(json.dumps({"format": 1, **asdict(result)}, indent=1) + "\n")
    return path


def read(path: Path) -> Result:
    """A run as ``write`` kept it. Raises ValueError for a file of another format."""
    kept = json.loads(path.read_text())
    if kept.pop("format", None) != 1:
        raise ValueError(f"{path} is no result of this benchmark")
    for repetitions in kept["figures"].values():
        for index, one in enumerate(repetitions):
            one["steps"] = {name: Step(**step) for name, step in one["steps"].items()}
            repetitions[index] = Figures(**one)
    return Result(**kept)
