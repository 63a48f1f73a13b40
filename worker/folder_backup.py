"""One folder of a mailbox, from its listing to the archive: what is stored of it already is taken over, what
is new is read.

    for each step of the listing                                 matching
      as a stored frame has it: refer to it                      unit_archive
      else, for each message
        known    its pieces, with the name and flags of now
        else     read, cut, dedup, pack                          packing
"""

from __future__ import annotations

from collections.abc import Callable

from blake3 import blake3

from ..groups.paths import LogicalPath, message_path
from ..proto.archive.columns import BEYOND, clamped
from ..proto.archive.pointers import FramePointer
from ..proto.errors import DamagedError, MessageUnavailable
from ..proto.ports import FolderReader
from ..proto.records import Listed, Message, Skipped, Terms
from ..proto.structs import Mutable, Record, field, replace
from .comparing.known import UNACCOUNTED, KnownMessages, KnownVersion
from .comparing.known_tally import KnownTally
from .comparing.matching import Rows, SameRows, match
from .comparing.pursuit import Pursuit
from .packing.packer import terms_of
from .unit_archive import LateMailbox

_ATTEMPTS = 3

_SMALL_FRAME = 512
"""A frame with fewer messages may become one with messages beside it that have to be written anew, if those
are not much fewer: else each day's mail would stay a frame of its own, or a folder be written anew for it."""

_MUCH = 4
_LINK_BYTES = 8
_MOST_HELD = 1 << 12


class Tally(Mutable):
    """What became of the messages of a mailbox: of those ``listed`` so many were ``left_out``, the others are
    stored. ``differs``: the mailbox is not what was stored last; ``anew``: it is stored in another way at
    least."""

    listed: int = 0
    left_out: int = 0
    read: int = 0
    added: int = 0
    differs: bool = False
    anew: bool = False
    skipped: list[Skipped] = field(default_factory=list)
    pursuit: Pursuit = field(default_factory=Pursuit)


class Reliance(Record, kw_only=True):
    """How far what was stored is relied upon. ``reuse``: known messages are not read again. ``refer``: what
    is not looked at is taken over as it was stored. ``thorough``: each known message is compared by stat. Of
    the others, those that arrived before ``since`` are left out."""

    reuse: bool
    refer: bool
    thorough: bool
    since: float | None


class FolderBackup:
    """Puts a folder, or what came later into one that was listed before, into the archive. ``run`` raises
    what LateMailbox does."""

    def __init__(
        self,
        folder: FolderReader,
        known: KnownTally,
        mailbox: LateMailbox,
        where: LogicalPath,
        *,
        version: KnownVersion | None,
        reliance: Reliance,
        tally: Tally,
        told: Callable[[], object],
    ) -> None:
        self._folder = folder
        self._known = known
        self._mailbox = mailbox
        self._where = where
        self._version = version
        self._reliance = reliance
        self._tally = tally
        self._told = told
        self._is_same_folder = False
        self._looks = True
        # Messages of which nobody here can read what they can be found by have to be read again for it.
        self._much = _MUCH if version is None or version.has_terms else min(_MUCH, 1)
        # Small frames that could be referred to, until it is known what comes behind them; and how many
        # messages were written anew since the last frame that was.
        self._held: list[SameRows] = []
        self._anew = 0

    def run(self) -> bytes:
        """Put all that the folder lists into the archive. Returns the mark that stands for what is stored of
        it: none if something could not be stored."""
        tally = self._tally
        listed_before, skipped_before, lost_before = tally.listed, len(tally.skipped), tally.pursuit.lost()
        announced, mark = len(self._folder), b""
        tally.pursuit.list(self._where, announced)
        self._is_same_folder = self._is_trusted()
        self._looks = self._reliance.thorough or not self._is_same_folder
        try:
            for step in match(self._folder.listing(), self._known.rows):
                self._take(step)
                self._told()
            self._let_go()
            self._account(announced, tally.listed - listed_before)
            if not self._folder.complete:
                self._keep_what_is_not_listed()
            is_whole = self._folder.complete and tally.pursuit.lost() == lost_before
            mark = self._folder.mark if is_whole and len(tally.skipped) == skipped_before else b""
        finally:
            # Also of a folder that could not be read to its end: what was read of it is kept.
            self._mailbox.end_folder(self._folder.folder, mark)
        return mark

    def _is_trusted(self) -> bool:
        """Whether a known name stands for the same message; to be asked once the folder is listed."""
        stored, version = self._known.stored, self._version
        if stored is None or version is None or stored.folder.path != self._folder.folder.path:
            return False
        return version.same_store and self._folder.trusted

    def _account(self, announced: int, listed: int) -> None:
        if listed != announced:
            detail = f"the store announced {announced} messages, and listed {listed}"
            self._tally.skipped.append(Skipped(str(self._where), UNACCOUNTED, detail))
            missing = max(0, announced - listed)
            self._tally.listed += missing
            self._tally.left_out += missing

    def _take(self, step: SameRows | Rows) -> None:
        if isinstance(step, Rows):
            rows = self._joined(step.rows)
            self._let_go()
            self._rows(rows)
            self._anew += len(rows)
        elif not self._is_as_stored(step):
            self._take(step.as_rows())
        elif step.count >= _SMALL_FRAME:
            self._let_go()
            self._keep(step)
        elif step.count <= self._much * self._anew:
            self._rows(step.as_rows().rows)
            self._anew += step.count
        else:
            self._held.append(step)
            if sum(same_rows.count for same_rows in self._held) > _MOST_HELD:
                self._let_go()

    def _joined(self, rows: list[tuple[Listed, int]]) -> list[tuple[Listed, int]]:
        """Messages that are written anew, and those before them that become one frame with them."""
        while self._held and self._held[-1].count <= self._much * len(rows):
            rows = self._held.pop().as_rows().rows + rows
        return rows

    def _let_go(self) -> None:
        for rows in self._held:
            self._keep(rows)
        self._held.clear()

    def _keep(self, step: SameRows) -> None:
        self._anew = 0
        self._tally.listed += step.count
        self._known.meet(step.first, step.count)
        self._mailbox.keep(self._stored(), self._pointer(step))

    def _pointer(self, step: SameRows) -> FramePointer:
        """Where the messages are told of. Raises DamagedError."""
        stored = self._stored()
        frame = stored.frames[step.ordinal]
        return frame if step.is_whole else stored.part(frame, step.row, step.count)

    def _is_as_stored(self, step: SameRows) -> bool:
        """Whether nothing of some messages has to be read or written anew."""
        if not self._reliance.reuse:
            return False
        stored = self._stored()
        try:
            pointer = self._pointer(step)
            if self._is_intact and not self._looks:
                return True
            return all(
                self._holds(known) and (not self._looks or self._looked(listed, known) == known)
                for listed, known in zip(step.listed(), stored.messages(pointer), strict=True)
            )
        except (DamagedError, MessageUnavailable):
            return False

    def _rows(self, rows: list[tuple[Listed, int]]) -> None:
        """Write these messages anew. Those that were stored in a row, and need no look, are taken over at
        once: on an ordinary day that is nearly all of them."""
        if self._looks or not (self._reliance.reuse and self._is_intact):
            self._one_by_one(rows)
            return
        single: list[tuple[Listed, int]] = []
        for stretch in self._known.rows.stretches(rows):
            if not self._at_once(stretch, single):
                single += stretch
        self._one_by_one(single)

    def _at_once(self, stretch: list[tuple[Listed, int]], before: list[tuple[Listed, int]]) -> bool:
        """Take over messages that were stored in a row, behind those ``before``, which are done then. False,
        and nothing is, if they were not."""
        called, position = [listed for listed, _ in stretch], stretch[0][1]
        found = self._known.stored_rows(position, called)
        if found is None:
            return False
        rows, row, terms = found
        if [one.inode for one in called] != list(rows.names.inode[row : row + len(called)]):
            return False  # another file has the name of one of them
        self._one_by_one(before)
        before.clear()
        self._mailbox.add_rows(rows, row, called, list(map(self._terms, called, terms)))
        self._tally.listed += len(called)
        self._known.meet(position, len(called))
        if not rows.names.has(row, called):
            self._tally.anew = self._tally.differs = True
        self._told()
        return True

    def _one_by_one(self, rows: list[tuple[Listed, int]]) -> None:
        befores = dict(self._known.messages(position for _, position in rows))
        if befores and not self._is_same_folder:
            # A copy has other files throughout.
            pairs = ((listed, befores[position][0]) for listed, position in rows if position in befores)
            self._is_same_folder = any(_is_file_of(listed, before) for listed, before in pairs)
        for listed, position in rows:
            before, known_terms = befores.get(position, (None, Terms()))
            if before is not None and before.base != listed.base:
                before = None  # a hash that two names share
            self._tally.listed += 1
            try:
                stored, terms = self._taken_over(listed, before, known_terms) or self._read(listed, before)
            except MessageUnavailable as error:
                if error.reason == "vanished":
                    self._tally.pursuit.lose(self._where, listed, self._shown(listed), error.message)
                    continue
                self._tally.skipped.append(Skipped(self._shown(listed), error.reason, error.message))
                if before is None or not self._is_kept(before):
                    self._tally.left_out += 1
                    continue
                # What can't be looked at now is kept as it was: the other moments may be purged one day.
                stored, terms = _called(before, listed), known_terms or Terms()
            self._mailbox.add_message(stored, terms)
            self._compare(listed, stored, before, position)
            self._told()

    def _keep_what_is_not_listed(self) -> None:
        """Take over what was stored of a folder that could not be listed to its end: it may be there."""
        for position, (before, terms) in self._known.unmet():
            if self._is_kept(before):
                self._tally.listed += 1
                if terms is not None:
                    self._mailbox.add_message(before, terms)
                else:
                    self._mailbox.keep(self._stored(), self._known.pointer(position))
                self._known.meet(position)

    def _is_kept(self, before: Message) -> bool:
        """Whether a known message can stay as it was stored."""
        return self._reliance.refer and self._holds(before)

    def _taken_over(
        self, listed: Listed, before: Message | None, terms: Terms | None
    ) -> tuple[Message, Terms] | None:
        """The known message as it is called now; None if it has to be read."""
        if before is None or not self._reliance.reuse or not self._holds(before):
            return None
        is_same_file = listed.inode == before.inode
        looked = before if is_same_file and not self._looks else self._looked(listed, before)
        if looked is None:
            return None
        return _called(looked, listed), self._terms(listed, terms)

    def _terms(self, listed: Listed, known: Terms | None) -> Terms:
        """What a known message can be found by: it is read again where that can't be read here. Nothing, if
        neither can be."""
        if known is not None:
            return known
        try:
            opened = self._folder.open_message(listed)
            try:
                return terms_of(opened)
            finally:
                opened.close()
        except MessageUnavailable:
            return Terms()

    def _looked(self, listed: Listed, before: Message) -> Message | None:
        """The known message with its owner of now; None if its file seems to be another one.

        In the folder that is known another file under the name is read, though size and time are the same. In
        one that was copied all files are others, and size and time have to do.
        """
        stat = self._folder.stat(listed)
        is_same_file = stat.inode == before.inode
        if not is_same_file and self._is_same_folder and stat.inode and before.inode:
            return None
        if (stat.size, clamped(stat.mtime_ns)) != (before.size, before.date_ns):
            return None
        if is_same_file and stat.owner == before.owner:
            return before
        return replace(before, owner=stat.owner, inode=stat.inode)

    @property
    def _is_intact(self) -> bool:
        return self._version is not None and self._version.intact

    def _holds(self, before: Message) -> bool:
        return self._version is not None and self._version.holds(before.pieces)

    def _read(self, listed: Listed, before: Message | None) -> tuple[Message, Terms]:
        since = self._reliance.since
        if before is None and since is not None and self._folder.stat(listed).mtime_ns < since * 1e9:
            raise MessageUnavailable("it arrived before the time that was asked for", reason="older")
        known = None
        if before is not None and self._reliance.reuse and self._holds(before):
            known = before.size, before.digest, before.pieces
        _, packer = self._mailbox.begin()
        for attempt in range(1, _ATTEMPTS + 1):
            opened = self._folder.open_message(listed)
            try:
                (size, digest, pieces), terms = packer.store_message(opened, known)
            except MessageUnavailable as error:
                if error.reason != "changed" or attempt == _ATTEMPTS:
                    raise
                continue
            finally:
                opened.close()
            found, stat = opened.listed or listed, opened.stat
            break
        self._tally.read += 1
        if clamped(stat.mtime_ns) != stat.mtime_ns:
            self._tally.skipped.append(Skipped(self._shown(listed), "date", BEYOND))
        message = Message(
            listed.uid,
            found.base,
            found.suffix,
            found.place,
            found.flags,
            listed.fields,
            stat.mtime_ns,
            stat.owner,
            size,
            digest,
            pieces,
            found.keywords,
            stat.attributes,
            _link(stat.identity),
            stat.inode,
        )
        return message, terms

    def _compare(self, listed: Listed, stored: Message, before: Message | None, position: int) -> None:
        tally = self._tally
        if before is None or before.digest != stored.digest:
            tally.added += 1
            tally.differs = True
            tally.pursuit.store(listed)
            return
        self._known.meet(position)
        tally.anew = tally.anew or stored.inode != before.inode
        if stored != before:
            tally.anew = True
            as_before = replace(stored, pieces=before.pieces, date_ns=clamped(stored.date_ns))
            tally.differs = tally.differs or as_before != before

    def _stored(self) -> KnownMessages:
        if self._known.stored is None:
            raise ValueError("nothing was stored of this folder")
        return self._known.stored

    def _shown(self, message: Listed) -> str:
        where = self._where
        levels = (where.partition or "", where.group or "", where.user or "", where.folder or "")
        return message_path(*levels, message.uid or message.base)


def _is_file_of(listed: Listed, before: Message) -> bool:
    """Whether this is certainly the file that a known message was read from."""
    return listed.inode > 0 and (listed.inode, listed.base) == (before.inode, before.base)


def _called(before: Message, listed: Listed) -> Message:
    now = listed.uid, listed.suffix, listed.place, listed.flags, listed.fields, listed.keywords
    if now == (before.uid, before.suffix, before.place, before.flags, before.fields, before.keywords):
        return before
    uid, suffix, place, flags, fields, keywords = now
    return replace(before, uid=uid, suffix=suffix, place=place, flags=flags, fields=fields, keywords=keywords)


def _link(identity: tuple[int, int] | None) -> int:
    """A number for a file that has several names; 0 for one that has not."""
    if identity is None:
        return 0
    hashed = blake3(b"%d:%d" % identity).digest(length=_LINK_BYTES)
    return int.from_bytes(hashed, "little") or 1
