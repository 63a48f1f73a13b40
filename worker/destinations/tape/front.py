"""What stands first on each volume in plain text, for who has nothing but the volume."""

from __future__ import annotations

from .labelling import Front

_README = """\
This tape was written by mailhaul. It holds archives of mailboxes.

The tape is a sequence of files with a filemark behind each: the label (one record of 4096 bytes), this text,
and then archives. All other records have one size, which the label tells (record_bytes). Lines like this
one can be read in the records that tell what there is:

    mailhaul-tape 1 archive 0123456789abcdef0123456789abcdef
    {"name":"primary/user/RUN.0.ID.mha","block":17,"size_bytes":1000000,"volume":"..."}

An archive is such a record, the bytes of the archive in plain records (the last one filled up with zero
bytes), and a record "archive-end" with the BLAKE3 checksum of the archive. Numbers of blocks count records
and filemarks from the beginning of the tape. So one archive is taken off the tape without mailhaul by

    mt -f /dev/nst0 seek BLOCK+1
    dd if=/dev/nst0 bs=RECORD_BYTES count=NUMBER_OF_RECORDS | head -c SIZE_BYTES > archive.mha

An archive that begins on one tape and ends on another has "offset_bytes" in the header of its later parts;
the end of a part tells how many "bytes" of it count.
With mailhaul: `mailhaul tape inventory`, then `mailhaul restore -f archive.mha` or any other restore.
"""


def front_files() -> Front:
    """A name and a text each."""
    return [("README.txt", _README.encode())]
