"""What a drill may take, and where."""

from __future__ import annotations

from pathlib import Path

from ...proto.structs import Record


class SampleRules(Record, kw_only=True):
    """What a drill restores: so many ``mailboxes``, of these the share ``random`` by chance and the others as
    they have been unproven for longest. The share ``older`` of the random ones is restored as it was at an
    earlier kept moment. One of the largest is taken if the last one was ``largest_every_seconds`` ago."""

    mailboxes: int = 20
    random: float = 0.2
    older: float = 0.25
    largest_every_seconds: float = 7 * 86_400.0


class DrillConfig(Record, kw_only=True):
    """``sample`` says what a drill restores. It begins with no mailbox after ``limit_seconds``, restores
    ``limit_bytes`` of mail at most, and ``scratch_bytes`` at a time; ``reserve_bytes`` of the file system
    stay free.

    ``scratch`` is the directory in which mailboxes are restored (None: in the staging area). Copies are read
    at these ``places`` (by name; empty: at all destinations). With ``doveadm``, the command of an
    administrator, each mailbox is also listed by a Dovecot of its own. ``identities`` are files of private
    keys for drills that nobody attends, ``passphrase_files`` those of their passphrases.
    """

    sample: SampleRules = SampleRules()
    limit_seconds: float = 2 * 3600.0
    limit_bytes: int = 50 * 10**9
    scratch: Path | None = None
    scratch_bytes: int = 20 * 10**9
    reserve_bytes: int = 2 * 2**30
    places: tuple[str, ...] = ()
    doveadm: tuple[str, ...] = ()
    identities: tuple[Path, ...] = ()
    passphrase_files: tuple[Path, ...] = ()
