"""Where the programs of a Dovecot come from: installed here, or in the root of ``.ci/debian13``, so that
tests run with 2.3 and with 2.4."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

_REST = ("lmtp", "pop3")

both_servers = pytest.mark.parametrize("programs", ["installed", "debian13"], indirect=True)
"""A test whose servers are, one time after the other, the installed one and that of Debian 13."""


def both_servers_with(layouts: Iterable[str], of_debian_13: Iterable[str]) -> pytest.MarkDecorator:
    """The same for a test with a ``layout``: these for the installed server, those for Debian 13's."""
    pairs = [("installed", layout) for layout in layouts] + [("debian13", layout) for layout in of_debian_13]
    return pytest.mark.parametrize(("programs", "layout"), pairs, indirect=["programs"])


class Programs(NamedTuple):
    """The commands of a server and of its administrator, and what version they are."""

    dovecot: tuple[str, ...]
    doveadm: tuple[str, ...]
    version: tuple[int, int]


def installed(require_tool: Callable[[str], Path]) -> Programs:
    """What is installed here; skips or fails as ``require_tool`` does."""
    for name in _REST:
        require_tool(f"/usr/lib/dovecot/{name}")
    return _programs((str(require_tool("dovecot")),), (str(require_tool("doveadm")),))


def in_debian_13(root: Path, *, required: bool) -> Programs:
    """Those of the root below ``root``, the checkout. Without it the test skips, or fails if it is required
    and nothing is on record why it can't be had."""
    build = root / "build"
    if not (build / "debian13" / ".made").is_file():
        told = build / "debian13.missing"
        reason = told.read_text().strip() if told.is_file() else ""
        if required and not reason:
            pytest.fail("no Debian 13 root: make servers makes it")
        pytest.skip(reason or "no Debian 13 root: make servers makes it")
    # The same directory for temporary files, whatever the one has that calls it.
    run = ("env", f"TMPDIR={tempfile.gettempdir()}", os.fspath(root / ".ci" / "debian13"), "run")
    return _programs((*run, "dovecot"), (*run, "doveadm"))


def _programs(dovecot: tuple[str, ...], doveadm: tuple[str, ...]) -> Programs:
    told = subprocess.run([*dovecot, "--version"], capture_output=True, text=True, timeout=60, check=True)
    found = re.match(r"(\d+)\.(\d+)", told.stdout)
    assert found, told.stdout
    return Programs(dovecot, doveadm, (int(found[1]), int(found[2])))
