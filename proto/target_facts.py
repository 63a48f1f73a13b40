"""What a restore would meet at its target, as a worker there has found it. All are facts of one time."""

from __future__ import annotations

from collections.abc import Mapping

from .records import Partition
from .structs import Record, field


class FileSystemRoom(Record, kw_only=True):
    """A file system of a host, by the ``path`` of a directory in it, and what is to come onto it: so many
    ``inodes`` if each message becomes a file; ``block_bytes`` is what a message takes at most beside its own.
    So many messages (``names``) with so many bytes are names of ``files`` (sizes by what tells one from
    others), as far as can be told. ``free_inodes`` is None where it does not count them; ``quotas``: it is
    mounted with quotas, and nobody has told how much they leave."""

    host: str
    device: int
    path: str
    free_bytes: int
    free_inodes: int | None
    block_bytes: int
    quotas: bool
    mailboxes: int = 0
    messages: int = 0
    size_bytes: int = 0
    inodes: int = 0
    names: int = 0
    names_bytes: int = 0
    files: Mapping[bytes, int] = field(default_factory=dict)

    @property
    def links(self) -> int:
        """How many messages become another name of a file, as they were."""
        return self.names - len(self.files)

    @property
    def linked_bytes(self) -> int:
        """What these would take as files of their own."""
        return self.names_bytes - sum(self.files.values())

    @property
    def most_bytes(self) -> int:
        """What the mail takes at most: no file fills its last block, and an archive has more than mail."""
        return self.size_bytes - self.linked_bytes + (self.messages - self.links) * self.block_bytes

    @property
    def most_inodes(self) -> int:
        """How many inodes that takes at most."""
        return self.inodes - self.links

    @property
    def is_too_small(self) -> bool:
        """Whether the mail does not fit, or may not."""
        return self.most_bytes > self.free_bytes or (
            self.free_inodes is not None and self.most_inodes > self.free_inodes
        )


class Trial(Record, kw_only=True):
    """A directory of a host in which a directory and a file were written, and removed again. ``error`` says
    why that failed; ``owner`` why the file could not be given to somebody who owned mail in the backup (None:
    not tried, as nothing tells who did)."""

    host: str
    path: str
    error: str = ""
    owner: str | None = None


class QuotaExcess(Record, kw_only=True):
    """A user whose quota does not leave room for what is to come: it allows ``limit`` of a ``kind``
    (``storage``: bytes, or ``message``), of which so much is ``used``, and ``wanted`` is to come."""

    user: str
    root: str
    kind: str
    used: int
    limit: int
    wanted: int


class FolderFate(Record, kw_only=True):
    """What becomes of the UIDs of a folder: so many messages keep theirs (``kept``), get new ones
    (``renumbered``), or are ``present`` and skipped; where there are no UIDs they are ``added`` or present.
    ``uidvalidity`` is that of the backup, ``there`` that of the folder in the target (0: there is none, or it
    is not known)."""

    path: str
    kept: int = 0
    renumbered: int = 0
    added: int = 0
    present: int = 0
    uidvalidity: int = 0
    there: int = 0

    @property
    def is_another(self) -> bool:
        """Whether the folder in the target is another one, or was made anew."""
        return bool(self.there and self.uidvalidity and self.there != self.uidvalidity)


class FateCounts(Record, kw_only=True):
    """The fates of all folders that were looked at: ``recreated`` ones were not there, of the others so many
    are ``another`` than in the backup; and the messages, as in FolderFate."""

    recreated: int = 0
    existing: int = 0
    another: int = 0
    kept: int = 0
    renumbered: int = 0
    added: int = 0
    present: int = 0


class ServerTalk(Record, kw_only=True):
    """What a server that is written to over its protocol has said: so many users were let in
    (``logged_in``). It takes messages of ``append_limit`` bytes at most (0: it does not say), and so many
    (``too_large``) are larger."""

    logged_in: int = 0
    append_limit: int = 0
    too_large: int = 0


class ExpiryRule(Record, kw_only=True):
    """A rule of the server: of the folders whose names match ``folder`` it removes what is older than so many
    ``seconds`` (None: whatever its age), or what is beyond the ``most`` newest messages (None: any number).
    """

    folder: str
    seconds: int | None = None
    most: int | None = None


class ExpiryToll(Record, kw_only=True):
    """What a rule means for the mail that is to come: of so many ``messages`` in its folders ``due`` are too
    old by the time of their arrival, and ``beyond`` are more than it leaves in a folder."""

    rule: ExpiryRule
    messages: int = 0
    due: int = 0
    beyond: int = 0


class TargetFacts(Record, kw_only=True):
    """All that was found for some mailboxes of one ``target``. ``fates`` are the first of many, ``counts``
    those of all mailboxes that were looked at, all but ``unseen`` ones: there was no time for these.
    ``expiry`` is None where no server could be asked. The quotas of so many users were asked for
    (``quotas_asked``). ``server`` is None but for one that is written to over its protocol. ``troubles`` are
    what went wrong meanwhile, in words.
    """

    target: Partition
    rooms: tuple[FileSystemRoom, ...] = ()
    trials: tuple[Trial, ...] = ()
    fates: tuple[FolderFate, ...] = ()
    counts: FateCounts = field(default_factory=FateCounts)
    unseen: int = 0
    quotas_asked: int = 0
    excesses: tuple[QuotaExcess, ...] = ()
    expiry: tuple[ExpiryToll, ...] | None = None
    server: ServerTalk | None = None
    troubles: tuple[str, ...] = ()
