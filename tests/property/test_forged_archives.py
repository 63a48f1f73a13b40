"""Whatever somebody without keys does to an encrypted archive: who reads all of it sees that, and nobody is
ever given other mail, names or terms than were written there. Both by the product and by the reader that is
laid beside archives. ``--rounds 50000`` for 100,000 forgeries."""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest

from mailhaul.coordinator.unlocking import unlocking
from mailhaul.proto.archive import departed, directory, framing, mailboxes, messages, run_end
from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.draft import read_draft
from mailhaul.proto.archive.frames import HEADER_BYTES, FrameType, checksum, decode_header, pack_header
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.rewriting import ALL, rewrite
from mailhaul.proto.archive.sidecars import decode_sidecar, encode_sidecar, sidecar_name, with_sidecars
from mailhaul.proto.archive.slots import read_slots
from mailhaul.proto.archive.stored import Frames, StoredMailbox
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import DamagedError, EncryptedError, UnsupportedError
from mailhaul.proto.keys.derivation import structure_key
from mailhaul.proto.keys.identities import PrivateKey
from mailhaul.proto.keys.opening import rewrap
from mailhaul.proto.keys.records import NO_KEYS, Keyring, Sealing, Slot
from mailhaul.proto.keys.secret_files import Secret
from mailhaul.proto.records import DIGEST_BYTES, ArchiveId, Departed, RunId, Stretch
from mailhaul.proto.structs import Record, replace
from mailhaul.worker.archives.opened import open_archive
from mailhaul.worker.keepsake import mailhaul_restore
from mailhaul.worker.packing.packer import Packer
from mailhaul.worker.staging.sinks import StreamSink
from mailhaul.worker.verifying.verify import verify_frames

from ..agreement import Content, opened_by_other, read_by_other
from ..archives import ARCHIVE, MemoryFile, MemorySink, archive_header, frames_of, write_mailbox
from ..forging import Forger, Piece, own_slot, pieces_of
from ..sealed import OF_A_HOST, PRIVATE, SEALING, STRUCTURE, recipient
from ..unit.proto.test_run_end import END

OTHER, RUN, STRANGE = (
    ArchiveId(one) for one in (b"another archive.", b"that of the run.", b"of other people.")
)
OF_OTHERS = Sealing(structure=structure_key(bytes(32)), recipients=SEALING.recipients)
OPS = PrivateKey(Secret(name="ops", kem=recipient().kem, recipient=recipient().id, private=PRIVATE))
UNLOCK = unlocking(OPS)
LATER_PRIVATE = bytes(range(7, 39))
LATER = recipient(private=LATER_PRIVATE, name="later")
REFUSED = (DamagedError, EncryptedError, UnsupportedError)

Fact = tuple[object, ...]
DAMAGED: Fact = ("said to be damaged",)


def mail(user: str, *, version: int = 0, count: int = 5) -> dict[str, list[bytes]]:
    """Of two versions the messages are of the same sizes."""
    rng = random.Random(f"{user} {version}")
    return {
        name: [b"Subject: %d\n\n" % version + rng.randbytes(300) for _ in range(count)]
        for name in ("INBOX", "Sent")
    }


@contextmanager
def small() -> Iterator[None]:
    """A small archive has several of each frame."""
    with ExitStack() as stack:
        for module, name, size in (
            (departed, "_PART_BYTES", 20),
            (mailboxes, "PART_BYTES", 100),
            (directory, "_PART_BYTES", 300),
            (framing, "BLOCK_BYTES", 1500),
            (messages, "MOST_MESSAGES", 3),
            (run_end, "_PART_BYTES", 100),
        ):
            stack.enter_context(patch.object(module, name, size))
        yield


def keys_of(data: bytes) -> Keyring:
    """The keys that the private key opens of an archive."""
    found: tuple[Slot, ...] = ()
    with suppress(*REFUSED):
        found = read_slots(MemoryFile(data))
    return UNLOCK(found)


def opened(data: bytes) -> ArchiveReader:
    return open_archive(MemoryFile(data), keys=keys_of(data).and_those(OF_A_HOST))


def written(archive: ArchiveId, users: tuple[str, ...], sealing: Sealing | None) -> bytes:
    sink = MemorySink()
    writer = ArchiveWriter(sink, archive_header(archive), sealing=sealing)
    packer = Packer(writer)
    for user in users:
        write_mailbox(writer, packer, user, mail(user))
    writer.finish()
    return bytes(sink.data)


class Subject(Record):
    """An archive that is forged, with frames of others, and all that is true of it. What an attempt that was
    ``given_up`` had written may be read of what is said to be damaged: only a whole end tells."""

    name: str
    data: bytes
    donors: tuple[Piece, ...]
    facts: frozenset[Fact]
    read: Callable[[bytes], frozenset[Fact]]
    given_up: frozenset[Fact] = frozenset()

    def are_true(self, found: frozenset[Fact]) -> bool:
        """Whether all that was read was written there."""
        facts = self.facts | self.given_up if DAMAGED in found else self.facts
        return found - {DAMAGED} <= facts


def beside(reader: ArchiveReader) -> Callable[[ArchiveId], ArchiveReader]:
    known = {OTHER: other(), reader.header.archive: reader}

    def found(archive: ArchiveId) -> ArchiveReader:
        if archive not in known:
            raise DamagedError("not at hand", reason="missing")
        return known[archive]

    return found


@cache
def other() -> ArchiveReader:
    with small():
        return opened(written(OTHER, ("dan", "eve"), SEALING))


def facts_in(data: bytes) -> frozenset[Fact]:
    """All that a reader with all keys takes for true of an archive. Raises as ``open_archive``."""
    return facts_of(opened(data))


def facts_of(reader: ArchiveReader) -> frozenset[Fact]:
    """All that can be read with some keys."""
    found: set[Fact] = {("header", reader.header.run, reader.header.host, reader.header.archive)}
    if reader.damage:
        found.add(DAMAGED)
    archives = beside(reader)
    contents, frames = Contents(archives), Frames(archives)
    with suppress(*REFUSED):
        found |= {("departed", departure) for departure in reader.departures()}
    with suppress(*REFUSED):
        for row in reader.index(lost=True):
            for number, place in enumerate(zip(row.offsets, row.lengths, strict=True)):
                found.add(("segment", row.digests[DIGEST_BYTES * number :][:DIGEST_BYTES], place))
    for entry in reader.directory.mailboxes:
        found.add(("entry", entry.user, entry.home, entry.listed, entry.stored, entry.size_bytes))
        try:
            stored = StoredMailbox(archives, reader.header.archive, entry.user)
        except REFUSED:
            continue
        found.add(("mailbox", stored.mailbox))
        for folder in stored.mailbox.folders:
            whose = entry.user, folder.folder.name
            for rows in stored.frames(folder):
                with suppress(*REFUSED):
                    found |= {("terms", whose, *one) for one in enumerate(frames.terms(rows.pointer))}
                try:
                    told = rows.messages()
                except REFUSED:
                    continue
                for message in told:
                    found.add(("message", whose, message))
                    with suppress(*REFUSED):
                        found.add(("mail", whose, message.uid, b"".join(contents.message(message))))
    return frozenset(found)


def run_facts(data: bytes) -> frozenset[Fact]:
    keys = keys_of(data).and_those(OF_A_HOST)
    return frozenset({("run", run_end.read_run_end(MemoryFile(data), keys))})


@cache
def subjects() -> tuple[Subject, ...]:
    with small():
        first, given_up, whole = attempts()
        abandoned = [piece for at, piece in _placed(given_up) if at >= whole]
        reader, sink = opened(first), MemorySink()
        end = reader.directory.data_bytes
        rewrite(
            reader,
            sink,
            stretches=[Stretch(0, 500), Stretch(1000, end - 1600)],
            metadata=ALL,
            sealing=SEALING,
        )
        second = bytes(sink.data)
        stream = io.BytesIO()
        run_end.write_run_end(END, StreamSink(stream, "stream"), RUN, "a test", sealing=SEALING)
        run = stream.getvalue()
        later = io.BytesIO()
        changed = replace(END, state="done", error="", resumed=2)
        run_end.write_run_end(changed, StreamSink(later, "stream"), RUN, "a test", sealing=SEALING)
        strange = written(STRANGE, ("alice", "bob"), OF_OTHERS)
        clear = written(ARCHIVE, ("alice", "bob"), None)
        file = other().file
        assert isinstance(file, MemoryFile)
        elsewhere = [*pieces_of(file.data), *pieces_of(strange), *pieces_of(clear)]
        of_first, of_second, of_none = facts_in(first), facts_in(second), facts_in(given_up)
        donors = (*abandoned, *elsewhere)
        return (
            # What one generation says is true in the other, too.
            Subject("archive", first, (*donors, *pieces_of(second)), of_first | of_second, facts_in, of_none),
            Subject(
                "generation", second, (*donors, *pieces_of(first)), of_first | of_second, facts_in, of_none
            ),
            Subject("run", run, (*pieces_of(later.getvalue()), *elsewhere), run_facts(run), run_facts),
        )


def attempts() -> tuple[bytes, bytes, int]:
    """An archive that took two attempts, with all kinds of frames; and what the first one wrote, in vain from
    an offset on."""
    gone = (
        Departed("fay", "removed"),
        Departed("gus", "left-group", "sales", RunId("20260701T000000Z-0001")),
    )
    sink = MemorySink()
    writer = ArchiveWriter(sink, archive_header(), departed=gone, sealing=SEALING)
    packer = Packer(writer)
    write_mailbox(writer, packer, "alice", mail("alice"))
    whole = len(sink.data)
    write_mailbox(writer, packer, "bob", mail("bob", version=1))
    write_mailbox(writer, packer, "carol", mail("carol", version=1))
    writer.finish()
    given_up = bytes(sink.data)
    sink = MemorySink(given_up[:whole])
    draft = read_draft(MemoryFile(bytes(sink.data)), OF_A_HOST)
    assert draft is not None
    del sink.data[draft.size_bytes :]
    writer = ArchiveWriter(
        sink,
        archive_header(),
        departed=gone,
        draft=draft.over(MemoryFile(bytes(sink.data))),
        sealing=SEALING,
    )
    packer = Packer(writer)
    write_mailbox(writer, packer, "bob", mail("bob"))
    write_mailbox(writer, packer, "carol", mail("carol"))
    # The search terms come along as they are stored.
    of_a_host = open_sealed(other().file, keys=OF_A_HOST)
    dan = StoredMailbox(lambda _: of_a_host, OTHER, "dan").mailbox
    for folder in dan.folders:
        for pointer in folder.frames:
            writer.copy_messages(of_a_host, pointer)
        writer.end_folder(folder.folder)
    writer.end_mailbox("dan", b"dan", dan.listed, dan.size_bytes, ())
    eve = of_a_host.entry("eve")
    assert eve is not None
    writer.refer_mailbox(eve)
    writer.finish()
    return bytes(sink.data), given_up, whole


def _placed(data: bytes) -> list[tuple[int, Piece]]:
    return list(zip((frame.at for frame in frames_of(data)), pieces_of(data), strict=True))


def test_all_types_of_frames_are_there() -> None:
    found = {piece.header.type for subject in subjects() for piece in pieces_of(subject.data)}
    assert found == set(FrameType) - {FrameType.LATER}
    for subject in subjects():
        assert verify_frames(MemoryFile(subject.data), keys=keys_of(subject.data)).damaged == ()
        assert subject.read(subject.data) <= subject.facts
    first, second, _ = subjects()
    assert len(read_slots(MemoryFile(first.data))) == 3
    assert len(read_slots(MemoryFile(second.data))) == 4
    mails = {fact[1:3] for fact in first.facts if fact[0] == "mail"}
    assert len(mails) == 50, "five messages in two folders of each user"


def seen(data: bytes, keys: Keyring) -> bool:
    """Whether who reads all of an archive sees that it is not as it was written."""
    try:
        return bool(verify_frames(MemoryFile(data), keys=keys).damaged)
    except (EncryptedError, UnsupportedError):
        return True


def test_what_is_forged_is_seen_and_never_taken_for_mail(rounds: int) -> None:
    rng = random.Random(rounds)
    forgers = [Forger(one.data, one.donors, rng) for one in subjects()]
    unseen: Counter[str] = Counter()
    refused = 0
    for number in range(rounds * 2):
        which = rng.choice((0, 0, 1, 1, 2))
        subject, (way, data) = subjects()[which], forgers[which].forged()
        where = f"{subject.name}, {way}, forgery {number}"
        try:
            found = subject.read(data)
        except REFUSED:
            refused += 1
            found = frozenset()
        assert subject.are_true(found), where
        if not seen(data, keys_of(data) if number % 2 else OF_A_HOST):
            unseen[way] += 1
            # In what says nothing, such as the position of a footer.
            assert found == subject.read(subject.data), where
    assert refused > rounds / 20
    assert sum(unseen.values()) < rounds / 20, unseen


def forged_sidecar(whole: bytes, slots_of_others: tuple[Slot, ...], rng: random.Random) -> bytes:
    """A sidecar that somebody without keys has changed, perhaps with right checksums."""
    way = rng.choice(("bits", "bytes", "payload", "keys", "others"))
    data = bytearray(whole)
    at = rng.randrange(len(data))
    if way == "bits":
        data[at] ^= 1 << rng.randrange(8)
        return bytes(data)
    if way == "bytes":
        return (
            whole[:at] + rng.choice((b"", bytes(8), rng.randbytes(30))) + whole[at + rng.choice((0, 1, 99)) :]
        )
    told = decode_sidecar(whole, "whole")
    if way == "payload":
        data[min(at, len(told.frame) - 1)] ^= 1 << rng.randrange(8)
        stored = bytes(data[HEADER_BYTES : len(told.frame)])
        header = decode_header(whole[:HEADER_BYTES], "whole")._replace(checksum=checksum(stored))
        return pack_header(header) + stored + told.tag
    (slot,) = told.slots
    if way == "keys":
        made = rng.choice(
            (
                own_slot(slot, rng, LATER),
                replace(slot, wraps=own_slot(slot, rng, LATER).wraps),
                replace(slot, salt=rng.randbytes(32)),
                replace(slot, wraps=rng.choice(slots_of_others).wraps),
                replace(slot, content=rng.randbytes(16)),
            )
        )
    else:
        made = replace(rng.choice(slots_of_others), number=slot.number)
    return encode_sidecar(rng.choice((OTHER, ARCHIVE)), [made], rng.choice((bytes(32), rng.randbytes(32))))


def test_forged_sidecars_open_nothing_else(tmp_path: Path, rounds: int) -> None:
    """For a recipient who came later: with them he reads what was written there, or nothing."""
    rng = random.Random(rounds)
    file = other().file
    assert isinstance(file, MemoryFile)
    (slot,) = read_slots(file)
    identity = PrivateKey(Secret(name="later", kem=LATER.kem, recipient=LATER.id, private=LATER_PRIVATE))
    unlock_later = rewrap(slot, OPS, [LATER])
    whole = encode_sidecar(OTHER, [replace(slot, wraps=unlock_later)], STRUCTURE.secret)
    path = tmp_path / sidecar_name(OTHER, 1)
    path.parent.mkdir(parents=True)

    def read(data: bytes, at_hand: Keyring) -> frozenset[Fact]:
        path.write_bytes(data)
        at_hand = replace(at_hand, sidecars=(str(path.parent.parent),))
        keys = unlocking(identity)(with_sidecars((slot,), at_hand))
        try:
            return facts_of(open_archive(file, keys=keys.and_those(at_hand)))
        except REFUSED:
            return frozenset()

    facts = read(whole, NO_KEYS)
    assert len([fact for fact in facts if fact[0] == "mail"]) == 20
    of_others = read_slots(MemoryFile(subjects()[0].data)) + read_slots(MemoryFile(subjects()[2].data))
    opened = 0
    for number in range(rounds):
        data = forged_sidecar(whole, of_others, rng)
        found = read(data, rng.choice((NO_KEYS, OF_A_HOST)))
        assert found <= facts, number
        opened += found == facts
        keys = mailhaul_restore.Keys([mailhaul_restore.Identity(LATER.kem, LATER.id, LATER_PRIVATE)])
        list(mailhaul_restore.learn_sidecars([str(path)], keys))  # it says so, and goes on
    assert opened < rounds


@pytest.mark.parametrize("which", [0, 1])
def test_nor_by_the_reader_that_is_laid_beside_archives(tmp_path: Path, rounds: int, which: int) -> None:
    rng = random.Random(rounds + which)
    subject = subjects()[which]
    forger = Forger(subject.data, subject.donors, rng)
    file = other().file
    assert isinstance(file, MemoryFile)
    (tmp_path / "other.mha").write_bytes(file.data)
    forged = tmp_path / "forged.mha"
    with small():
        forged.write_bytes(attempts()[1])
    given_up, _ = by_other(tmp_path)
    forged.write_bytes(subject.data)
    everything, problems = by_other(tmp_path)
    assert not problems
    assert len(everything) > 60
    for number in range(rounds // 5):
        way, data = forger.forged()
        forged.write_bytes(data)
        found, problems = by_other(tmp_path)
        assert found <= (everything | given_up if problems else everything), (way, number)
        assert problems or found == everything, (way, number)


def by_other(place: Path) -> tuple[frozenset[Content], bool]:
    """What the other reader gives of the archives in a directory, and whether it says that all is right."""
    archives = opened_by_other(place.iterdir(), with_keys=True)
    found = frozenset(read_by_other(archives))
    problems = bool(archives.problems or archives.locked)
    problems = problems or any(archive.check()[1] for archive in archives.found.values())
    archives.close()
    return found, problems
