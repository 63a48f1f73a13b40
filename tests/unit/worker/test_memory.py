"""What a worker process does about memory that it has freed."""

from __future__ import annotations

import hashlib
import subprocess
import sys

from mailhaul.tests.integration.process_memory import memory

MANY = 300
WORKER = f"""
import hashlib, sys
from mailhaul.worker.memory import keep_freed_memory, overwrite_freed_memory

keep_freed_memory()
# Among others that stay, so that what is freed of them is all over the place.
kept = [[hashlib.sha256(b"%d %d" % (number, which)).digest() for which in (0, 1)] for number in range({MANY})]
for pair in kept:
    del pair[0]
overwrite_freed_memory()
print(len(kept), flush=True)
sys.stdin.read()
"""


def test_freed_keys_are_overwritten() -> None:
    command = [sys.executable, "-P", "-c", WORKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin
        assert worker.stdout
        try:
            assert worker.stdout.readline() == b"%d\n" % MANY
            held = memory(worker.pid)
        finally:
            worker.kill()
    freed, kept = ([_key(number, which) in held for number in range(MANY)] for which in (0, 1))
    assert (sum(freed), sum(kept)) == (0, MANY)


def _key(number: int, which: int) -> bytes:
    return hashlib.sha256(b"%d %d" % (number, which)).digest()
