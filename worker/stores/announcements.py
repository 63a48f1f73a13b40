"""A message of the operator in the INBOX of a Maildir, for as long as something is going on there.

It comes as mail does: written in ``tmp``, renamed into ``new``, where the server finds it. Its name has a
mark; by that it is found again, whatever flags it got. Copies in other folders have other names, and stay.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress

from ...proto.structs import replace
from .directories import names_in, opened, ownership
from .file_writer import FileWriter
from .listing import PLACES
from .notices import Notices

_MARK = b".mailhaul-announcement"


def put(inbox: int, content: bytes) -> None:
    """Put a message into an open folder, unless one is there. Raises OSError."""
    if any(True for _ in _found(inbox)):
        return
    now = time.time_ns()
    name = b"%d.%dP%d%s" % (now // 10**9, now % 10**9, os.getpid(), _MARK)
    with opened(inbox, (b"tmp",)) as tmp, opened(inbox, (b"new",)) as new:
        owner = ownership(os.fstat(new))
        FileWriter(Notices()).write(tmp, name, [content], replace(owner, mode=owner.mode & 0o666), now)
        os.rename(name, name, src_dir_fd=tmp, dst_dir_fd=new)


def take_away(inbox: int) -> None:
    """Remove what ``put`` has put into an open folder, as far as it is there. Raises OSError."""
    # The server may give it another name at this moment: then it is found the next time.
    for _ in range(2):
        for place, name in list(_found(inbox)):
            with opened(inbox, (place,)) as directory, suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)


def _found(inbox: int) -> Iterator[tuple[bytes, bytes]]:
    for place in (one.encode() for one in PLACES):
        with suppress(FileNotFoundError), opened(inbox, (place,)) as directory:
            for name in names_in(directory):
                if name.partition(b":")[0].endswith(_MARK):
                    yield place, name
