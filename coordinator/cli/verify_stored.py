"""``mailhaul verify -f`` of encrypted archives without any key: checksums of what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ...proto.errors import EXIT_DAMAGED, EXIT_OK, EncryptedError
from ...worker.verifying.verify import VerifyReport, verify_stored
from ..backup_set import archives_of
from . import adapters, output
from .output import counted, note, say, shown
from .progress import Amount, make_display


def verify_stored_files(files: Sequence[Path], locked: EncryptedError, *, as_json: bool) -> int:
    """Check what takes no key of archives that can't be opened (``locked`` is why), say that it was no more,
    and return the exit status. Raises as ``archives_of``."""
    archives = [archive for file in files for archive in archives_of(file)]
    reports: list[VerifyReport] = []
    with ExitStack() as stack, make_display(adapters.clock(), as_json=as_json) as display:
        for archive in archives:
            stack.callback(archive.close)
        display.begin({archive.name: Amount(0, archive.size) for archive in archives})
        for archive in archives:
            reports.append(verify_stored(archive, display.progress))
            display.end(archive.name, Amount(0, archive.size))
    damaged = [one for report in reports for one in report.damaged]
    frames = sum(report.frames for report in reports)
    if as_json:
        output.print_json({"as_stored": True, "archives": reports, "damaged": damaged})
    else:
        for skip in damaged:
            say(shown(f"damaged: {skip.path} ({skip.reason}): {skip.detail}"))
        outcome = f"{counted(len(damaged), 'place')} damaged" if damaged else "all right"
        say(f"{counted(len(reports), 'archive')}, the checksums of {counted(frames, 'frame')}: {outcome}")
    note(
        f"{shown(locked.message)}; without a key no more could be compared than that each frame has its "
        "checksum, and that none is missing: not which mailboxes there are, not that nobody changed a frame "
        "and its checksum, not that mail can be decrypted"
    )
    return EXIT_DAMAGED if damaged else EXIT_OK
