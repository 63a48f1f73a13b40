"""``mailhaul serve`` starts, is the only one, and ends in order."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from pathlib import Path

from .serving import Served


def test_it_serves_until_it_is_asked_to_end(tmp_path: Path) -> None:
    served = Served(tmp_path)
    with served.serving("--log", str(tmp_path / "log")):
        second = subprocess.run(served.words("serve"), capture_output=True, text=True, check=False)
        assert second.returncode == 5
        assert "another `mailhaul serve`" in second.stderr
    with served.serving():  # the lock went with it
        pass


def test_it_answers_prometheus(tmp_path: Path) -> None:
    served = Served(tmp_path)
    with served.serving("--metrics-listen", "127.0.0.1:0") as process:
        assert process.stderr
        address = re.search(r"metrics at (\S+)", process.stderr.readline())
        assert address
        with urllib.request.urlopen(f"http://{address[1]}/metrics", timeout=30) as answer:
            assert b"mailhaul_" in answer.read()


def test_a_wrong_configuration_is_told(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.config.write_text(served.config.read_text().replace('"30s"', '"soon"'))
    done = subprocess.run(served.words("serve"), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "serve.stop_grace" in done.stderr
