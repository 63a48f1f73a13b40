"""README.txt: what the files are, and how to get mail out of them, for somebody who has nothing else."""

from __future__ import annotations

from pathlib import Path

README = "README.txt"

AREA_LINE = "Staging area: "
"""How the line begins that tells of which staging area the archives are."""

_TEXT = """\
Backups of mailboxes, made by mailhaul
======================================

{area_line}{area}

What lies here
--------------
PARTITION/GROUP/RUN.SHARD.ID.mha   an archive: mail of some users, as a run of the backup found
                                   it. RUN is when that began (UTC) and a number. With .gN before
                                   .mha: written anew N times; the greatest N counts
_runs/YEAR/RUN.N.mhr               how a run ended
_erasures/ID.json                  that mailboxes were erased (names are not in it): keep it
_catalog/RUN.N.sqlite.gz           the catalog of all archives as it was after that run (SQLite,
                                   gzip); the newest counts
_catalog/RUN.N.names.tsv.gz        the same as text: the archives, which others each needs, and
                                   which of them has whose mail. With .sealed behind both: encrypted,
                                   as the archives are
mailhaul-restore-VERSION.py        a program that restores mail from archives

An archive has what changed in its run, and refers to earlier ones for the rest: keep them
together. A file with one of these names is whole, and is never changed.

Restore with nothing but Python
-------------------------------
Python 3.8 or newer is all that it takes; where the modules blake3, lz4 and zstandard are
installed it is faster.

    python3 mailhaul-restore-VERSION.py DIRECTORY --list
    python3 mailhaul-restore-VERSION.py DIRECTORY --to NEW_DIRECTORY
    python3 mailhaul-restore-VERSION.py DIRECTORY --to NEW_DIRECTORY \\
        --path /PARTITION/GROUP/USER/FOLDER --run RUN

DIRECTORY has the archives, in any arrangement, under names that end with .mha. What comes out are
Maildirs, with flags, times, UID lists, keywords. What is damaged or missing is named, and the exit
status is 4 then. It is the newest state of each mailbox, or that at a RUN; --runs lists these.
Where only some archives are at hand, errors name those that are needed.

Archives may be encrypted. Then it takes the private key of a recipient, and the Python module
cryptography (Debian: python3-cryptography; 47 or newer for hybrid keys); without a key the program
says for whom they are. The key is a file NAME.secret, shares of it (all with --identity), a paper
key that was typed into a file, or an age identity (with the module pyrage, or the program age).

    python3 mailhaul-restore-VERSION.py DIRECTORY --to NEW_DIRECTORY --identity NAME.secret
    python3 mailhaul-restore-VERSION.py DIRECTORY --check --identity NAME.secret
    python3 mailhaul-restore-VERSION.py DIRECTORY --identity NAME.secret \\
        --open DIRECTORY/_catalog/RUN.N.names.tsv.gz.sealed | gunzip

Restore with mailhaul
---------------------
It is faster, restores into a mail store in use, and beside mail that is there. Bring the files
back under their names, below a directory: that is the staging area. Then:

    mailhaul catalog rebuild --staging DIRECTORY
    mailhaul restore / --staging DIRECTORY --to maildir:NEW_DIRECTORY

Of encrypted archives both with --identity NAME.secret, and the first with --keys ANOTHER_DIRECTORY,
where the key of their structure is kept then.

Or name archives, with nothing else there:

    mailhaul restore / -f ARCHIVE -f ARCHIVE --to maildir:NEW_DIRECTORY

The format of the archives is described in mailhaul's document proto/archive/FORMAT.md.
"""


def readme(area: str) -> bytes:
    """README.txt of a staging area with this id, and of every place that its archives go to."""
    return _TEXT.format(area_line=AREA_LINE, area=area).encode()


def area_of(text: bytes) -> str:
    """The id of the staging area that a README.txt tells; empty if it does not."""
    begin = AREA_LINE.encode()
    found = next((line for line in text.splitlines() if line.startswith(begin)), begin)
    return found[len(begin) :].decode("ascii", "replace").strip()


def reader_name(version: str) -> str:
    """What the reader is called that needs nothing but Python."""
    return f"mailhaul-restore-{version}.py"


def reader() -> bytes:
    """That program."""
    return Path(__file__).with_name("mailhaul_restore.py").read_bytes()
