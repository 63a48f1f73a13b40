"""Encrypted archives: who can read what of them, and that nothing in them can be changed or moved."""

from __future__ import annotations

import random
from collections import defaultdict
from unittest.mock import patch

import pytest

from mailhaul.proto.archive import framing, messages, sealing, slots
from mailhaul.proto.archive.codec import PLAIN
from mailhaul.proto.archive.draft import encode_draft, mailboxes_end, read_draft
from mailhaul.proto.archive.frames import (
    AUTHENTICATED,
    SEALED,
    Codec,
    FrameHeader,
    FrameType,
    checksum,
    pack_header,
)
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.rewriting import ALL, rewrite
from mailhaul.proto.archive.salvage import salvage
from mailhaul.proto.archive.scanning import FoundFrame, scan
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import DamagedError, EncryptedError
from mailhaul.proto.keys.records import NO_KEYS, Cipher, Kem, Keyring, KeySlots, Sealing
from mailhaul.proto.records import ArchiveId, Departed, Stretch
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import (
    ARCHIVE,
    MemoryFile,
    MemorySink,
    archive_header,
    expected,
    frames_of,
    read_archive,
    write_mailbox,
)
from mailhaul.tests.sealed import OF_A_HOST, SEALING, STRUCTURE, opened_keys, recipient
from mailhaul.worker.packing.packer import Packer
from mailhaul.worker.verifying.verify import verify_frames

SECRETS = [b"Subject: the merger %d\n\nword " % number for number in range(3)]
MAILBOXES = {
    "alice": {
        "INBOX": [one + random.Random(n).randbytes(900) for n, one in enumerate(SECRETS)],
        "Sent": [b"Subject: x\n\nx"],
    },
    "bob": {"INBOX": [b"Subject: bob's\n\n" + b"words " * 900]},
}
DEPARTED = (Departed("dora", "removed"),)


def written(sealing: Sealing | None = SEALING, archive: ArchiveId = ARCHIVE) -> bytes:
    """With small blocks and frames, so that a small archive has many of them."""
    with patch.object(framing, "BLOCK_BYTES", 1500), patch.object(messages, "MOST_MESSAGES", 2):
        sink = MemorySink()
        writer = ArchiveWriter(sink, archive_header(archive), Codec.LZ4, departed=DEPARTED, sealing=sealing)
        packer = Packer(writer)
        for user, folders in MAILBOXES.items():
            write_mailbox(writer, packer, user, folders)
        writer.finish()
    return bytes(sink.data)


DATA = written()
SLOTS = slots.read_slots(MemoryFile(DATA))
KEYS = opened_keys(SLOTS)


def whole(data: bytes, keys: Keyring = KEYS) -> ArchiveReader:
    return open_sealed(MemoryFile(data), keys=keys)


class TestWhoReadsWhat:
    def test_a_recipient_reads_all(self) -> None:
        assert read_archive(whole(DATA)) == (expected(MAILBOXES), [])

    @pytest.mark.parametrize("kem", [Kem.X25519, Kem.HYBRID])
    @pytest.mark.parametrize("cipher", list(Cipher))
    def test_with_any_recipient_and_cipher(self, kem: Kem, cipher: Cipher) -> None:
        private = bytes(range(32 if kem is Kem.X25519 else 96))
        to = Sealing(structure=STRUCTURE, recipients=(recipient(kem, private),))
        with patch.object(sealing, "quickest_cipher", lambda: cipher):
            data = written(to)
        keys = opened_keys(slots.read_slots(MemoryFile(data)), private)
        assert read_archive(whole(data, keys)) == (expected(MAILBOXES), [])

    def test_a_host_reads_what_is_in_which_folder_and_no_mail(self) -> None:
        reader = whole(DATA, OF_A_HOST)
        assert reader.mailbox(0).folders[0].folder.name == "INBOX"
        assert reader.departures() == DEPARTED
        assert list(reader.index())
        with pytest.raises(EncryptedError, match="ops") as caught:
            reader.block(0)
        assert caught.value.facts["recipients"] == ["ops"]
        with pytest.raises(EncryptedError):
            reader.search_frame(0)

    def test_without_a_key_nothing_is_read_and_all_is_checked(self) -> None:
        for open_it in (open_sealed, salvage):
            with pytest.raises(EncryptedError):
                open_it(MemoryFile(DATA))
        found = [frame for frame in scan(MemoryFile(DATA)) if isinstance(frame, FoundFrame)]
        assert {found_frame.header.type for found_frame in found if not found_frame.locked} == {
            FrameType.HEADER,
            FrameType.KEYS,
            FrameType.FOOTER,
        }
        assert not any(one.damage for one in found)

    def test_nothing_of_the_mail_stands_in_it(self) -> None:
        in_clear = b"".join(frame.payload for frame in frames_of(written(None)))
        for told in (b"alice", b"bob", b"dora", b"INBOX", b"merger", b"words ", b"M1P1"):
            assert told in in_clear
            assert told not in DATA

    def test_who_has_another_structure_key(self) -> None:
        other = Keyring(structures={bytes(16): bytes(32)})
        with pytest.raises(EncryptedError):
            whole(DATA, other)


def crafted(header: FrameHeader, stored: bytes) -> bytes:
    """A frame of what is stored, with a right checksum."""
    return pack_header(header._replace(stored_bytes=len(stored), checksum=checksum(stored))) + stored


def forged(at: int, frame: bytes) -> bytes:
    """The archive with another frame at a place, of the same size."""
    return DATA[:at] + frame + DATA[at + len(frame) :]


def is_refused(data: bytes) -> bool:
    """Whether somebody who reads all of it says that something is wrong; never other mail."""
    try:
        reader = whole(data)
    except (DamagedError, EncryptedError):
        return True
    found, damage = read_archive(reader)
    for key, mails in found.items():
        assert set(mails) <= set(expected(MAILBOXES)[key])
    return bool(damage or verify_frames(MemoryFile(data), keys=KEYS).damaged)


class TestWhatIsForged:
    """By who can write checksums that are right."""

    def test_it_is_found_good_as_it_is(self) -> None:
        assert not is_refused(DATA)

    @pytest.mark.parametrize("kind", [one for one in FrameType if one is not FrameType.LATER])
    def test_another_payload(self, kind: FrameType) -> None:
        of_kind = [one for one in frames_of(DATA) if one.header.type is kind]
        assert of_kind or kind in (FrameType.FOLDERS, FrameType.RUN, FrameType.UNCHANGED)
        for frame in of_kind:
            stored = DATA[frame.at + 72 : frame.at + 72 + frame.header.stored_bytes]
            for at in {0, 7, 8, len(stored) // 2, len(stored) - 1}:
                bad = bytes((*stored[:at], stored[at] ^ 1, *stored[at + 1 :]))
                assert is_refused(forged(frame.at, crafted(frame.header, bad))), (frame, at)

    def test_frames_that_are_swapped_repeated_or_left_out(self) -> None:
        found = frames_of(DATA)
        pieces = [DATA[frame.at : frame.at + 72 + frame.header.stored_bytes] for frame in found]
        rng = random.Random(1)
        for _ in range(200):
            a, b = rng.sample(range(len(pieces)), 2)
            mixed = list(pieces)
            if rng.random() < 0.5:
                mixed[a], mixed[b] = mixed[b], mixed[a]
            elif rng.random() < 0.5:
                mixed[a] = mixed[b]
            else:
                del mixed[a]
            data = _renumbered(mixed)
            assert data == DATA or is_refused(data)

    def test_frames_of_another_attempt_and_another_archive(self) -> None:
        for other in (written(), written(archive=ArchiveId(bytes(16)))):
            for mine, theirs in zip(frames_of(DATA), frames_of(other), strict=True):
                if mine.header.type is FrameType.FOOTER:
                    continue
                stored = other[theirs.at + 72 : theirs.at + 72 + theirs.header.stored_bytes]
                if len(stored) == mine.header.stored_bytes and stored != DATA[mine.at + 72 :][: len(stored)]:
                    data = forged(mine.at, crafted(theirs.header._replace(archive=ARCHIVE), stored))
                    assert is_refused(data), mine

    def test_a_frame_in_clear_is_none_of_it(self) -> None:
        for mine, clear in zip(
            (frame for frame in frames_of(DATA) if frame.header.type is FrameType.MAILBOX),
            (one for one in frames_of(written(None)) if one.header.type is FrameType.MAILBOX),
            strict=True,
        ):
            padded = PLAIN.pack(FrameType.MAILBOX, ARCHIVE, None, clear.payload, mine.header.position)
            data = crafted(padded[0], bytes(padded[1]))
            assert is_refused(DATA[: mine.at] + data + DATA[mine.at + len(data) :])

    def test_flipped_bits(self) -> None:
        rng = random.Random(2)
        for _ in range(300):
            at = rng.randrange(len(DATA))
            assert is_refused(DATA[:at] + bytes((DATA[at] ^ 1 << rng.randrange(8),)) + DATA[at + 1 :]), at


def _renumbered(pieces: list[bytes]) -> bytes:
    """These frames one after the other, with headers that count right."""
    data = b""
    for number, piece in enumerate(pieces):
        (frame,) = (one for one in frames_of(piece) if one.at == 0)
        data += crafted(frame.header._replace(sequence=number), piece[72:])
    return data


class TestAttemptsThatWereGivenUp:
    """Frames behind what the next attempt goes on from have the archive, types, positions and keys of its
    own."""

    def attempts(self) -> tuple[bytes, bytes, int]:
        """What an attempt left, and the archive that the next one made of its first mailbox, which ends
        there."""
        with patch.object(framing, "BLOCK_BYTES", 1500), patch.object(messages, "MOST_MESSAGES", 2):
            sink = MemorySink()
            writer = ArchiveWriter(sink, archive_header(), sealing=SEALING)
            packer = Packer(writer)
            write_mailbox(writer, packer, "alice", MAILBOXES["alice"])
            end = len(sink.data)
            write_mailbox(writer, packer, "bob", {"INBOX": [b"Subject: other\n\n" + b"words " * 900]})
            left = bytes(sink.data)
            sink = MemorySink(left[:end])
            draft = read_draft(MemoryFile(left[:end]), OF_A_HOST)
            assert draft is not None
            file = MemoryFile(left[:end])
            writer = ArchiveWriter(sink, archive_header(), draft=draft.over(file), sealing=SEALING)
            packer = Packer(writer)
            write_mailbox(writer, packer, "bob", MAILBOXES["bob"])
            writer.finish()
        return left, bytes(sink.data), end

    def test_nothing_takes_them_for_its_own(self) -> None:
        left, data, begin = self.attempts()
        keys = opened_keys(slots.read_slots(MemoryFile(data)))
        reader = whole(data, keys)
        assert read_archive(reader) == (expected(MAILBOXES), [])
        behind = [
            one
            for one in frames_of(left)
            if one.at >= begin and one.header.slot and left[one.at + 72 : one.end] not in left[:begin]
        ]
        assert len(behind) > 5
        for frame in behind:
            with pytest.raises(DamagedError, match="given up"):
                reader.codec.unpack(frame.header, left[frame.at + 72 : frame.end], "here")
        mine = next(one for one in frames_of(data, FrameType.MESSAGES) if one.header.position >> 32)
        theirs = next(one for one in behind if one.header.type is FrameType.MESSAGES)
        forged = crafted(
            theirs.header._replace(sequence=mine.header.sequence), left[theirs.at + 72 : theirs.end]
        )
        bad = data[: mine.at] + forged + data[mine.end :]
        found, damage = read_archive(
            whole(bad, keys) if len(bad) == len(data) else salvage(MemoryFile(bad), keys)
        )
        assert damage
        assert found["bob", "INBOX"] == []

    def test_a_later_generation_says_so_too(self) -> None:
        _, data, _ = self.attempts()
        keys = opened_keys(slots.read_slots(MemoryFile(data)))
        source, sink = whole(data, keys), MemorySink()
        end = source.directory.data_bytes
        rewrite(source, sink, stretches=[Stretch(0, end)], metadata=ALL, sealing=SEALING)
        again = open_sealed(MemoryFile(bytes(sink.data)), keys=keys.and_those(OF_A_HOST))
        assert read_archive(again) == (expected(MAILBOXES), [])
        first, second = source.directory.seal, again.directory.seal
        assert first is not None
        assert second is not None
        assert [slot for slot, _ in first.used] == [1]
        assert [slot for slot, _ in second.used] == [1, 2]
        assert dict(second.used)[1] <= dict(first.used)[1]


class TestSlots:
    def test_no_nonce_comes_twice(self) -> None:
        used: dict[tuple[int, int, bytes], set[bytes]] = defaultdict(set)
        for frame in frames_of(DATA):
            stored = DATA[frame.at + 72 : frame.at + 72 + frame.header.stored_bytes]
            if frame.header.flags == SEALED:
                used[frame.header.slot, 0, stored[:8]].add(stored)
            elif frame.header.flags == AUTHENTICATED:
                used[frame.header.slot, 0, stored[-24:-16]].add(stored)
        assert len(used) > 10
        assert all(len(one) == 1 for one in used.values())

    def test_another_slot_is_opened_when_one_is_spent(self) -> None:
        with patch.object(sealing, "MOST_SLOT_BYTES", 1000):
            data = written()
        found = slots.read_slots(MemoryFile(data))
        assert len(found) > 2
        assert len({one.content for one in found}) == len({one.salt for one in found}) == len(found)
        assert read_archive(whole(data, opened_keys(found))) == (expected(MAILBOXES), [])

    def test_they_are_read_back(self) -> None:
        assert slots.decode(slots.encode(KeySlots(SLOTS))).wrapped == SLOTS
        assert slots.slots_anywhere(MemoryFile(DATA)).wrapped == SLOTS
        assert slots.read_slots(MemoryFile(written(None))) == ()

    def test_a_wrap_of_a_later_kind_is_passed_over(self) -> None:
        (slot,) = SLOTS
        later = slots.encode(KeySlots((replace(slot, wraps=(slot.wraps[0],) * 2),))).replace(
            b"\xa3ops\x01", b"\xa3ops\x7f", 1
        )
        (found,) = slots.decode(later).wrapped
        assert found.wraps == slot.wraps

    def test_one_copy_of_the_keys_is_enough(self) -> None:
        keys = [one for one in frames_of(DATA) if one.header.type is FrameType.KEYS]
        assert len(keys) == 2
        for frame in keys:
            bad = forged(frame.at, bytes(72 + frame.header.stored_bytes))
            assert read_archive(salvage(MemoryFile(bad), KEYS))[0] == expected(MAILBOXES)

    def test_drafts_without_a_key_are_none(self) -> None:
        cut = MemoryFile(DATA[: frames_of(DATA)[-3].at])
        assert read_draft(cut, NO_KEYS) is None
        draft = read_draft(cut, OF_A_HOST)
        assert draft is not None
        assert encode_draft(draft) is None, "it would be in clear"

    def test_where_a_draft_ends_is_seen_without_a_key(self) -> None:
        ends = set()
        for frame in frames_of(DATA):
            for size in (frame.at, frame.end - 1, frame.end):
                cut = MemoryFile(DATA[:size])
                draft, end = read_draft(cut, OF_A_HOST), mailboxes_end(cut)
                told = (draft.size_bytes, draft.frames) if draft else (0, 0)
                assert (end.size_bytes, end.frames) == told
                ends.add(end.size_bytes)
        assert len(ends) == 1 + len(MAILBOXES)
        assert mailboxes_end(MemoryFile(written(None))).archive is None, "it is not encrypted"
