"""Workers beside the staging area do without its receiver, and without ZeroMQ."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mailhaul.proto.errors import StagingError
from mailhaul.tests.receiving import open_file
from mailhaul.worker.staging.area import StagingArea, open_sink
from mailhaul.worker.staging.sinks import StagedFile

FILE = "primary/user/x.0.0123456789abcdef.mha"


@pytest.mark.parametrize("host", ["", "staging"])
def test_on_the_host_of_the_area(tmp_path: Path, host: str) -> None:
    area = StagingArea(path=str(tmp_path), host="staging")
    assert open_file(area, FILE, host, b"") is None
    sink = open_sink(area, FILE, host, 1, b"")
    assert isinstance(sink, StagedFile)
    sink.begin()
    sink.write(b"data")
    assert sink.seal() == str(tmp_path / FILE)
    file = open_file(area, FILE, host, b"")
    assert file is not None
    assert file.read_at(0, 10) == b"data"
    file.close()


def test_the_reserve_and_the_patience_of_the_area(tmp_path: Path) -> None:
    told: list[str] = []
    area = StagingArea(path=str(tmp_path), reserve_bytes=1 << 60, patience_seconds=0.01)
    sink = open_sink(area, FILE, "", 1, b"", told.append)
    sink.begin()
    with pytest.raises(StagingError, match="No space left"):
        sink.write(b"data")
    assert told[-1] == ""
    sink.abort()


def test_without_zeromq() -> None:
    modules = "mailhaul.worker.tasks.backup, mailhaul.worker.staging.area"
    program = f"import sys, {modules}; sys.exit('zmq' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", program], check=False, timeout=60).returncode == 0
