"""TapeAlert: what a drive says of itself and of the volume in it, by the program ``sg_logs`` (sg3-utils)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

_PAGE = 0x2E
_HEADER_BYTES = 4
_PARAMETER_BYTES = 5
_TIMEOUT_SECONDS = 60

ALERTS = {
    1: "read warning", 2: "write warning", 3: "hard error", 4: "media", 5: "read failure", 6: "write failure",
    7: "media life", 8: "not data grade", 13: "recoverable failure of the cartridge",
    14: "failure of the cartridge", 15: "memory chip failure", 18: "tape directory corrupted",
    19: "nearing media life", 20: "clean now", 21: "clean periodic", 30: "hardware A", 31: "hardware B",
    39: "diagnostics required", 51: "tape directory invalid at unload", 52: "tape system area write failure",
    53: "tape system area read failure", 55: "loading failure", 56: "unrecoverable unload failure",
    59: "WORM medium, integrity check failed", 60: "WORM medium, overwrite attempted",
}  # fmt: skip
"""The flags that say something of a volume or a drive that somebody should know (SSC, TapeAlert flags)."""

WORN = frozenset(ALERTS[flag] for flag in (4, 6, 7, 8, 13, 14, 15, 19, 51, 52))
"""After one of these nothing more is written on a volume."""


def read_alerts(device: str) -> Sequence[str]:
    """The flags that were raised since somebody last asked; none where the program or the page is not there.
    Asking clears them."""
    program, generic = shutil.which("sg_logs"), generic_device(device)
    if program is None or generic is None:
        return ()
    try:
        done = subprocess.run(
            [program, f"--page={_PAGE:#x}", "--raw", generic],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return decode_alerts(done.stdout) if done.returncode == 0 else ()


def generic_device(device: str, classes: Path = Path("/sys/class/scsi_tape")) -> str | None:
    """The other device of a drive, which can be asked while this one is open; None if it has none."""
    found = sorted((classes / os.path.basename(os.path.realpath(device)) / "device/scsi_generic").glob("sg*"))
    return f"/dev/{found[0].name}" if found else None


def decode_alerts(page: bytes) -> Sequence[str]:
    """The names of the flags that are set in a log page."""
    if len(page) < _HEADER_BYTES or page[0] & 0x3F != _PAGE:
        return ()
    end = _HEADER_BYTES + int.from_bytes(page[2:4], "big")
    found = []
    for at in range(_HEADER_BYTES, min(end, len(page)) - _PARAMETER_BYTES + 1, _PARAMETER_BYTES):
        flag = int.from_bytes(page[at : at + 2], "big")
        if page[at + 4] & 1 and flag in ALERTS:
            found.append(ALERTS[flag])
    return found
