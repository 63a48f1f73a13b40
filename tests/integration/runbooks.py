"""The runbooks of docs/recovery.md, read as they are carried out: the commands of each, in their order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_HEADING = r"^#{{2,3}} {}\n(.*?)(?=^#{{2,3}} |\Z)"
_FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_STATUS = re.compile(r"# exit code (\d)")


class Step(NamedTuple):
    """A line for the shell, and the exit status that it ends with: 0, unless a comment says another."""

    line: str
    status: int


def runbook(document: Path, name: str) -> list[list[Step]]:
    """The steps of each command block of a runbook."""
    found = re.search(_HEADING.format(re.escape(name)), document.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{document} has no runbook {name}"
    return [_steps(block) for block in _FENCE.findall(found[1])]


def _steps(block: str) -> list[Step]:
    steps = []
    for line in block.replace("\\\n", " ").splitlines():
        if line.strip():
            status = _STATUS.search(line)
            steps.append(Step(line, int(status[1]) if status else 0))
    return steps
