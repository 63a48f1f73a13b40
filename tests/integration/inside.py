"""A site whose commands run in the process of the test: each start of the program takes a second."""

from __future__ import annotations

import io
import subprocess
from contextlib import redirect_stderr, redirect_stdout

from mailhaul.coordinator.cli.main import main

from .test_encryption import Site


class InsideSite(Site):
    """The same site."""

    def run(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = ["--config", str(self.config), *words]
        out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
        with redirect_stdout(out), redirect_stderr(err):
            ended = main(command)
        told, notes = (stream.buffer.getvalue().decode() for stream in (out, err))
        assert ended == status, (words, told, notes)
        return subprocess.CompletedProcess(command, ended, told, notes)
