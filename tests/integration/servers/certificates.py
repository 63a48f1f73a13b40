"""Certificates of an authority that nobody knows but the tests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """The files of a certificate and of its key."""

    cert: Path
    key: Path


class Authority:
    """An authority, made below ``place``; ``require_tool`` finds openssl, or skips the test."""

    def __init__(self, require_tool: Callable[[str], Path], place: Path) -> None:
        self._openssl = require_tool("openssl")
        self._place = place
        self._own = Certificate(place / "ca.pem", place / "ca.key")
        self._made(self._own, "req", "-x509", *_NEW_KEY, "-keyout", self._own.key, "-subj", "/CN=tests")

    @property
    def file(self) -> Path:
        """What clients believe."""
        return self._own.cert

    def certify(self, names: str, *, days: int = 2) -> Certificate:
        """A certificate for ``names`` (``DNS:localhost,IP:127.0.0.1``), good for so many days from now."""
        made = Certificate(self._place / f"{names}{days}.pem", self._place / f"{names}{days}.key")
        request, facts = self._place / "request", self._place / "facts"
        facts.write_text(f"subjectAltName={names}\nbasicConstraints=critical,CA:FALSE\n")
        self._run("req", *_NEW_KEY, "-keyout", made.key, "-subj", "/CN=server", "-out", request)
        signed = ("-CA", self._own.cert, "-CAkey", self._own.key, "-CAcreateserial", "-extfile", facts)
        self._made(made, "x509", "-req", "-in", request, *signed, days=days)
        return made

    def _made(self, certificate: Certificate, *words: str | Path, days: int = 2) -> None:
        self._run(*words, "-days", str(days), "-out", certificate.cert)

    def _run(self, *words: str | Path) -> None:
        subprocess.run([self._openssl, *words], check=True, capture_output=True, timeout=30)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
