"""Archives whose mailboxes are erasable one by one: what lies under whose keys, what is left without them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from unittest.mock import patch

import pytest

from mailhaul.proto.archive import framing, messages, sealing, shared_data, slots
from mailhaul.proto.archive.draft import read_draft
from mailhaul.proto.archive.frames import SEALED, FrameType
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.rewriting import ALL, Metadata, rewrite
from mailhaul.proto.archive.salvage import salvage
from mailhaul.proto.archive.scanning import FoundFrame, scan
from mailhaul.proto.archive.stored import StoredMailbox
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import DamagedError, EncryptedError, ErasedError
from mailhaul.proto.keys.records import Keyring
from mailhaul.proto.records import ArchiveId, Stretch
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
from mailhaul.tests.sealed import OF_A_HOST, SEALING, erasable, opened_keys, secret_of
from mailhaul.worker.packing.packer import Packer

OTHER_ARCHIVE = ArchiveId(bytes(range(1, 17)))
SHARED = random.Random(1).randbytes(700)
OWN = {user: random.Random(user).randbytes(900) for user in ("alice", "bob", "carol")}


def mail(user: str, body: bytes, number: int = 0) -> bytes:
    return b"Subject: the merger of %s %d\n\n" % (user.encode(), number) + body


MAILBOXES = {
    user: {
        "INBOX": [mail(user, body) for body in (SHARED, own, own, SHARED)],
        "Sent": [mail(user, own[:300], 1), mail(user, b"")],
    }
    for user, own in OWN.items()
}
ERASABLE = erasable(*MAILBOXES)
ANY = frozenset(
    {
        FrameType.BLOCK,
        FrameType.MESSAGES,
        FrameType.SEARCH,
        FrameType.MAILBOX,
        FrameType.FOLDERS,
        FrameType.INDEX,
    }
)


def write(writer: ArchiveWriter, *users: str) -> None:
    packer = Packer(writer)
    for user in users:
        write_mailbox(writer, packer, user, MAILBOXES[user])


def written() -> bytes:
    with (
        patch.object(framing, "BLOCK_BYTES", 1500),
        patch.object(messages, "MOST_MESSAGES", 2),
        patch("mailhaul.proto.archive.mailboxes.PART_BYTES", 64),
    ):
        sink = MemorySink()
        writer = ArchiveWriter(sink, archive_header(), sealing=ERASABLE)
        write(writer, *MAILBOXES)
        writer.finish()
    return bytes(sink.data)


DATA = written()
WRAPPED = opened_keys(slots.read_slots(MemoryFile(DATA)))
SECRETS = {one: secret_of("primary", one) for one in MAILBOXES}


def keys(*users: str, erased: tuple[str, ...] = ()) -> Keyring:
    """All keys but the secrets of the mailboxes of other users."""
    held = {SECRETS[one].id: SECRETS[one].secret for one in users}
    return replace(WRAPPED, secrets=held, erased=frozenset(SECRETS[one].id for one in erased))


EVERYBODY = keys(*MAILBOXES)
WITHOUT_ALICE = keys("bob", "carol", erased=("alice",))
OTHERS = {user: folders for user, folders in MAILBOXES.items() if user != "alice"}


def whole(data: bytes, keys: Keyring = EVERYBODY) -> ArchiveReader:
    return open_sealed(MemoryFile(data), keys=keys)


def read_others(reader: ArchiveReader) -> tuple[object, object]:
    """What is in the mailboxes of all but alice."""
    kept = tuple(mailbox for mailbox in reader.directory.mailboxes if mailbox.user != "alice")
    reader.directory = replace(reader.directory, mailboxes=kept)
    return read_archive(reader)


def opened(data: bytes, keys: Keyring) -> Iterator[FoundFrame]:
    reader = whole(data, keys)
    for one in scan(MemoryFile(data), codec=reader.codec):
        assert isinstance(one, FoundFrame)
        yield one


class TestWhatLiesUnderWhoseKeys:
    def test_all_of_it_is_read_with_all_keys(self) -> None:
        assert read_archive(whole(DATA)) == (expected(MAILBOXES), [])

    @pytest.mark.parametrize("kind", sorted(ANY))
    def test_frames_of_a_mailbox_are_its_own(self, kind: FrameType) -> None:
        codec = whole(DATA).codec
        owners = {codec.owner_of(frame.header.slot) for frame in frames_of(DATA) if frame.header.type is kind}
        assert {secret.id for secret in SECRETS.values()} <= owners
        assert (b"" in owners) == (kind in (FrameType.BLOCK, FrameType.INDEX)), "what several have"

    def test_frames_of_no_mailbox_are_nobodys(self) -> None:
        codec = whole(DATA).codec
        for frame in frames_of(DATA):
            if frame.header.type not in ANY:
                assert not codec.owner_of(frame.header.slot)

    def test_blocks_are_not_mixed(self) -> None:
        for frame in opened(DATA, EVERYBODY):
            if frame.header.type is FrameType.BLOCK:
                owner = whole(DATA).codec.owner_of(frame.header.slot)
                for user, own in OWN.items():
                    assert (own[:300] in frame.payload) <= (owner == SECRETS[user].id)

    def test_a_mailbox_refers_to_its_own_data_and_what_is_shared(self) -> None:
        reader = whole(DATA)
        table = reader.directory.blocks
        of_block = {
            frame.header.position: reader.codec.owner_of(frame.header.slot)
            for frame in frames_of(DATA)
            if frame.header.type is FrameType.BLOCK
        }
        shared = 0
        for user in MAILBOXES:
            stored = StoredMailbox(lambda _: reader, ARCHIVE, user)
            for folder in stored.mailbox.folders:
                for message in stored.messages(folder):
                    for piece in message.pieces:
                        begin, end = piece.offset, piece.offset + piece.length
                        while begin < end:
                            number = reader.block_at(begin)
                            owner = of_block[table.data[number]]
                            assert owner in (b"", SECRETS[user].id)
                            shared += owner == b""
                            begin = reader.directory.block_end(number)
        assert shared
        found = [
            found_frame.payload
            for found_frame in opened(DATA, EVERYBODY)
            if found_frame.header.type is FrameType.BLOCK
        ]
        assert sum(one.count(SHARED) for one in found) == 2, "for the first, and for all others"

    def test_another_secret_opens_nothing(self) -> None:
        reader = whole(DATA, keys("bob"))
        for user in ("alice", "carol"):
            with pytest.raises(EncryptedError, match="vault") as caught:
                StoredMailbox(lambda _: reader, ARCHIVE, user)
            assert not isinstance(caught.value, ErasedError)
        mine = {SECRETS["alice"].id: SECRETS["bob"].secret}
        with pytest.raises(DamagedError):
            StoredMailbox(lambda _: whole(DATA, replace(EVERYBODY, secrets=mine)), ARCHIVE, "alice")

    def test_who_has_the_secret_only_reads_nothing(self) -> None:
        of_host = replace(OF_A_HOST, secrets=EVERYBODY.secrets)
        reader = whole(DATA, of_host)
        assert StoredMailbox(lambda _: reader, ARCHIVE, "alice").mailbox.folders
        with pytest.raises(EncryptedError, match="ops"):
            reader.block(0)

    def test_no_nonce_comes_twice(self) -> None:
        used: dict[tuple[int, bytes], set[bytes]] = defaultdict(set)
        for frame in frames_of(DATA):
            stored = DATA[frame.at + 72 : frame.at + 72 + frame.header.stored_bytes]
            if frame.header.flags == SEALED:
                used[frame.header.slot, stored[:8]].add(stored)
        assert len(used) > 20
        assert all(len(one) == 1 for one in used.values())

    def test_no_mailbox_is_written_without_its_secret(self) -> None:
        writer = ArchiveWriter(MemorySink(), archive_header(), sealing=erasable("bob"))
        with pytest.raises(ValueError, match="secret"):
            writer.begin_mailbox("alice")
        with pytest.raises(ValueError, match="nobody"):
            writer.append(b"mail")

    def test_another_slot_is_opened_when_one_is_spent(self) -> None:
        with patch.object(sealing, "MOST_SLOT_FRAMES", 4):
            data = written()
        found = slots.read_keys(MemoryFile(data))
        assert len(found.wrapped) > 2
        assert len(found.mailboxes) > len(MAILBOXES)
        all_keys = replace(EVERYBODY, contents=opened_keys(found.wrapped).contents)
        assert read_archive(whole(data, all_keys)) == (expected(MAILBOXES), [])

    def test_much_that_is_shared(self) -> None:
        with patch.object(shared_data, "MOST_BYTES", 800):
            data = written()
        contents = opened_keys(slots.read_slots(MemoryFile(data))).contents
        assert read_archive(whole(data, replace(EVERYBODY, contents=contents))) == (expected(MAILBOXES), [])


class TestWhatIsLeft:
    def test_an_erased_mailbox_is_erased_and_not_damaged(self) -> None:
        reader = whole(DATA, WITHOUT_ALICE)
        with pytest.raises(ErasedError):
            StoredMailbox(lambda _: reader, ARCHIVE, "alice")
        assert read_others(reader) == (expected(OTHERS), [])

    def test_nothing_that_was_hers_alone_is_left(self) -> None:
        left = b"".join(frame.payload for frame in opened(DATA, WITHOUT_ALICE))
        assert OWN["alice"][:32] not in left
        assert b"merger of alice" not in left
        assert OWN["bob"][:32] in left
        assert SHARED in left, "others have it, too"

    def test_nor_in_the_index(self) -> None:
        with_her = {row.owner for row in whole(DATA).index()}
        without = {row.owner for row in whole(DATA, WITHOUT_ALICE).index()}
        assert with_her - without == {SECRETS["alice"].id}

    @pytest.mark.parametrize("cut", [0, 1])
    def test_the_others_are_salvaged(self, cut: int) -> None:
        """Of a whole archive, and of one without an end."""
        data = DATA[: len(DATA) - cut]
        found = salvage(MemoryFile(data), WITHOUT_ALICE)
        assert len(found.damage) == 2 * cut
        assert read_others(found)[0] == expected(OTHERS)

    def test_with_any_frame_of_hers_damaged_the_others_are_read(self) -> None:
        codec = whole(DATA).codec
        for frame in frames_of(DATA):
            if codec.owner_of(frame.header.slot) == SECRETS["alice"].id:
                at = frame.at + 80
                bad = DATA[:at] + bytes([DATA[at] ^ 1]) + DATA[at + 1 :]
                found = read_others(salvage(MemoryFile(bad), WITHOUT_ALICE))
                assert found[0] == expected(OTHERS)


class TestGoingOn:
    def test_behind_a_whole_mailbox(self) -> None:
        first = MemorySink()
        writer = ArchiveWriter(first, archive_header(), sealing=ERASABLE)
        write(writer, "alice", "bob")
        draft = read_draft(MemoryFile(bytes(first.data)), EVERYBODY)
        assert draft is not None
        sink = MemorySink(bytes(first.data[: draft.size_bytes]))
        over = draft.over(sink.written)
        again = ArchiveWriter(sink, draft.header, draft=over, sealing=ERASABLE)
        packer = Packer(again)
        packer.recall(over.archive)
        write_mailbox(again, packer, "carol", MAILBOXES["carol"])
        again.finish()
        data = bytes(sink.data)
        found = slots.read_keys(MemoryFile(data))
        assert (len(found.wrapped), len(found.mailboxes)) == (2, 3)
        all_keys = replace(EVERYBODY, contents=opened_keys(found.wrapped).contents)
        assert read_archive(whole(data, all_keys)) == (expected(MAILBOXES), [])

    def test_not_behind_one_whose_mailboxes_are_erasable_or_not_if_others_are(self) -> None:
        for before, after in ((SEALING, ERASABLE), (ERASABLE, SEALING)):
            sink = MemorySink()
            write(ArchiveWriter(sink, archive_header(), sealing=before), "alice")
            draft = read_draft(MemoryFile(bytes(sink.data)), EVERYBODY)
            assert draft is not None
            over = draft.over(MemoryFile(bytes(sink.data)))
            with pytest.raises(DamagedError):
                ArchiveWriter(MemorySink(), draft.header, draft=over, sealing=after)


class TestWrittenAnew:
    def rewritten(
        self, keys: Keyring, wanted: Metadata = ALL, keep: Callable[[Stretch], bool] = lambda _: True
    ) -> ArchiveReader:
        source = whole(DATA, keys)
        stretches = [
            stretch
            for number, begin in enumerate(source.directory.blocks.data)
            if keep(stretch := Stretch(begin, source.directory.block_end(number) - begin))
        ]
        sink = MemorySink()
        with patch("mailhaul.proto.archive.rewriting._SMALLEST_HOLE", 1):
            done = rewrite(source, sink, stretches=stretches, metadata=wanted, sealing=ERASABLE)
        assert not done.unreadable
        data = bytes(sink.data)
        added = opened_keys(slots.read_slots(MemoryFile(data))).contents
        return whole(data, replace(keys, contents=added))

    def test_all_of_it(self) -> None:
        assert read_archive(self.rewritten(EVERYBODY)) == (expected(MAILBOXES), [])

    def test_an_erased_mailbox_stays_as_one_as_long_as_it_is_wanted(self) -> None:
        anew = self.rewritten(WITHOUT_ALICE)
        with pytest.raises(ErasedError):
            StoredMailbox(lambda _: anew, ARCHIVE, "alice")
        assert read_others(anew) == (expected(OTHERS), [])
        gone = self.rewritten(WITHOUT_ALICE, Metadata(users=OTHERS, mailboxes=(), frames=ALL.frames))
        assert "alice" not in [mailbox.user for mailbox in gone.directory.mailboxes]
        assert read_archive(gone) == (expected(OTHERS), [])

    def test_blocks_that_are_cut_stay_whose_they_are(self) -> None:
        source = whole(DATA)
        parts = []
        for number, begin in enumerate(source.directory.blocks.data):
            length = source.directory.block_end(number) - begin
            parts.append(Stretch(begin, length // 2))
        sink = MemorySink()
        with patch("mailhaul.proto.archive.rewriting._SMALLEST_HOLE", 1):
            rewrite(source, sink, stretches=parts, metadata=ALL, sealing=ERASABLE)
        data = bytes(sink.data)
        added = opened_keys(slots.read_slots(MemoryFile(data))).contents
        anew = whole(data, replace(EVERYBODY, contents=added))
        for number, begin in enumerate(anew.directory.blocks.data):
            header, _ = anew.stored_block(number)
            before, _ = source.stored_block(source.block_at(begin))
            assert anew.codec.owner_of(header.slot) == source.codec.owner_of(before.slot)
            assert header.slot != before.slot
        assert {row.owner for row in anew.index()} <= {row.owner for row in source.index()}

    def test_nothing_is_filled_in_of_which_nobody_knows_whose_it_is(self) -> None:
        source = whole(DATA)
        at, data = source.directory.blocks.file[0], source.block(0)
        for flipped, owner in ((at + 80, True), (at + 40, False)):
            bad = bytearray(DATA)
            bad[flipped] ^= 1
            broken = open_sealed(MemoryFile(bytes(bad)), keys=EVERYBODY)
            sink = MemorySink()
            stretch = Stretch(0, len(data))
            done = rewrite(
                broken, sink, stretches=[stretch], metadata=ALL, sealing=ERASABLE, fill=lambda _: data
            )
            assert (stretch in done.holes or done.holes[0].offset == 0) != owner

    def test_metadata_gathered_by_who_can_not_read_its_terms(self) -> None:
        """Their SEARCH frames lie under the keys of the mailbox in the archive that they come from."""
        source = whole(DATA, replace(OF_A_HOST, secrets=EVERYBODY.secrets))
        sink = MemorySink()
        writer = ArchiveWriter(sink, archive_header(OTHER_ARCHIVE), sealing=ERASABLE)
        for user in MAILBOXES:
            writer.begin_mailbox(user)
            stored = StoredMailbox(lambda _: source, ARCHIVE, user)
            for folder in stored.mailbox.folders:
                for pointer in folder.frames:
                    writer.copy_messages(source, pointer)
                writer.end_folder(folder.folder)
            mailbox = stored.mailbox
            writer.end_mailbox(user, mailbox.place, mailbox.listed, mailbox.size_bytes, ())
        writer.finish()
        data = bytes(sink.data)
        found = slots.read_keys(MemoryFile(data))
        assert {slot.archive for slot in found.wrapped} == {ARCHIVE, OTHER_ARCHIVE}
        assert len(found.mailboxes) == 2 * len(MAILBOXES)
        keys_of_both = replace(EVERYBODY, contents=opened_keys(found.wrapped).contents)
        both = {ARCHIVE: whole(DATA), OTHER_ARCHIVE: whole(data, keys_of_both)}
        for frame in opened(data, keys_of_both):
            assert not frame.damage
            assert not frame.locked
        stored = StoredMailbox(both.__getitem__, OTHER_ARCHIVE, "alice")
        terms = [one.terms() for folder in stored.mailbox.folders for one in stored.frames(folder)]
        assert terms[0][0].subject == b"Subject: the merger of alice 0"
        without = replace(keys_of_both, secrets=WITHOUT_ALICE.secrets, erased=WITHOUT_ALICE.erased)
        assert b"merger of alice" not in b"".join(
            found_frame.payload for found_frame in opened(data, without)
        )
