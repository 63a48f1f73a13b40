"""What stands first on each volume, for who has nothing but the volume: how to take files off it, the reader
that needs nothing but Python, and the table of which archive has whose mail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .... import __version__
from ....proto.keys.sealed_files import SUFFIX
from ...keepsake.readme import reader, reader_name
from ..settings import TapeDestination
from .labelling import Front

_TABLE = re.compile(rf"(.*)\.([0-9]{{1,9}})\.names\.tsv\.gz(?:{re.escape(SUFFIX)})?", re.ASCII)

_SHARE = 20
"""Of a volume in a file, which may be short, a twentieth is the most that is given for what stands first."""

_README = """\
This tape was written by mailhaul. It holds archives of mailboxes.

The tape is a sequence of files with a filemark behind each: the label (one record of 4096 bytes),
this text,
{files}and then archives. All other records have one size, which the label tells (record_bytes). Lines
like this one can be read in the records that tell what there is:

    mailhaul-tape 1 archive 0123456789abcdef0123456789abcdef
    {{"name":"primary/user/RUN.0.ID.mha","block":17,"size_bytes":1000000,"volume":"..."}}

An archive is such a record, the bytes of the archive in plain records (the last one filled up with zero
bytes), and a record "archive-end" with the BLAKE3 checksum of the archive. Numbers of blocks count records
and filemarks from the beginning of the tape. So one archive is taken off the tape without mailhaul by

    mt -f /dev/nst0 seek BLOCK+1
    dd if=/dev/nst0 bs=RECORD_BYTES count=NUMBER_OF_RECORDS | head -c SIZE_BYTES > archive.mha

An archive that begins on one tape and ends on another has "offset_bytes" in the header of its later parts;
the end of a part tells how many "bytes" of it count.
{use}With mailhaul: `mailhaul tape inventory`, then `mailhaul restore -f archive.mha` or any other restore.
"""

_READER = """\

The file behind this text is a program that restores mail from archives; Python is all that it needs:

    mt -f /dev/nst0 asf 2
    dd if=/dev/nst0 bs=RECORD_BYTES of=mailhaul-restore.py
    python3 mailhaul-restore.py DIRECTORY_WITH_ARCHIVES --to NEW_DIRECTORY
"""

_NAMES = """\

The one behind that is a table of text: which archives there were when this tape was begun, on
whatever tapes, which others each needs, and which of them has whose mail:

    mt -f /dev/nst0 asf 3
    dd if=/dev/nst0 bs=RECORD_BYTES | gunzip > names.tsv
"""

_SEALED = """\

The one behind that is a table of text, encrypted as the archives are: which archives there were when
this tape was begun, on whatever tapes, which others each needs, and which of them has whose mail. It
takes the private key of a recipient, and any archive of these:

    mt -f /dev/nst0 asf 3
    dd if=/dev/nst0 bs=RECORD_BYTES of=names.tsv.gz.sealed
    python3 mailhaul-restore.py archive.mha --open names.tsv.gz.sealed --identity FILE | gunzip > names.tsv
"""


def front_files(settings: TapeDestination) -> Front:
    """A name and the contents of each. What has no room on volumes so short is left out."""
    record = settings.record_bytes
    room = settings.capacity_bytes // _SHARE if settings.file else None
    files: list[tuple[str, bytes]] = []
    for name, content in _beside(settings.beside):
        size = -(-len(content) // record) * record
        if room is not None and (room := room - size) < 0:
            break
        files.append((name, content))
    told = "".join(f"{name},\n" for name, _ in files)
    names = _SEALED if files and files[-1][0].endswith(SUFFIX) else _NAMES
    use = "".join((_READER, names)[: len(files)])
    text = _README.format(files=told, use=f"{use}\n" if use else "")
    return [("README.txt", text.encode()), *files]


def _beside(staging: str) -> Iterator[tuple[str, bytes]]:
    if not staging:
        return
    yield reader_name(__version__), reader()
    files = Path(staging, "_catalog").glob("*.names.tsv.gz*")
    found = ((_TABLE.fullmatch(path.name), path) for path in files)
    tables = sorted((told[1], int(told[2]), path) for told, path in found if told)
    for _, _, path in reversed(tables):
        with suppress(OSError):  # removed as too old, just now
            yield path.name, path.read_bytes()
            return
