"""``mailhaul verify -f`` of encrypted archives without any key: checksums of what is stored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...proto.archive.splitting import archives_in
from ...proto.errors import EXIT_DAMAGED, EXIT_OK, BackupError, DamagedError, EncryptedError
from ...proto.ports import ProgressSink
from ...worker.verifying.verify import VerifyReport, verify_stored
from . import adapters, output
from .output import counted, note, say, shown
from .progress import Amount, make_display


def verify_stored_files(files: Sequence[Path], locked: EncryptedError, *, as_json: bool) -> int:
    """Check what takes no key of archives that can't be opened (``locked`` is why), say that it was no more,
    and return the exit status. Raises BackupError, DamagedError for a file in which no archive is."""
    clock = adapters.clock()
    expected = {str(file): Amount(0, os.stat(file).st_size) for file in files}
    with make_display(clock, as_json=as_json) as display:
        display.begin(expected)
        reports: list[VerifyReport] = []
        for file in files:
            reports += _reports(file, display.progress)
            display.end(str(file), expected[str(file)])
    damaged = [one for report in reports for one in report.damaged]
    frames = sum(report.frames for report in reports)
    if as_json:
        output.print_json({"as_stored": True, "archives": reports, "damaged": damaged})
    else:
        for one in damaged:
            say(shown(f"damaged: {one.path} ({one.reason}): {one.detail}"))
        outcome = f"{counted(len(damaged), 'place')} damaged" if damaged else "all as they were stored"
        say(f"{counted(len(reports), 'archive')}, the checksums of {counted(frames, 'frame')}: {outcome}")
    note(
        f"{shown(locked.message)}; without a key no more could be compared than that each frame has its "
        "checksum, and that none is missing: not which mailboxes there are, not that nobody changed a frame "
        "and its checksum, not that mail can be decrypted"
    )
    return EXIT_DAMAGED if damaged else EXIT_OK


def _reports(file: Path, progress: ProgressSink) -> Iterable[VerifyReport]:
    try:
        archives = archives_in(str(file))
    except DamagedError as error:
        raise DamagedError(f"{file}: nothing of it can be read: {error.message}", reason="archive") from error
    except OSError as error:
        raise BackupError(f"{file}: {error.strerror}", file=str(file)) from error
    for archive in archives:
        try:
            yield verify_stored(archive, progress)
        finally:
            archive.close()
