"""FORMAT.md and the code say the same: tables, keys, limits, and the worked example, byte for byte."""

from __future__ import annotations

import re
import struct
from itertools import takewhile
from pathlib import Path

import pytest
from blake3 import blake3

from mailhaul.proto.archive import (
    claims,
    columns,
    contents,
    departed,
    directory,
    frames,
    framing,
    index_frames,
    mailboxes,
    messages,
    recipes,
    rewriting,
    run_end,
    search,
    slots,
    under_way,
    writer,
)
from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.codec import PLAIN
from mailhaul.proto.archive.contents import IndexRow
from mailhaul.proto.archive.frames import Codec, FrameType
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.archive.sealing import SealedCodec
from mailhaul.proto.archive.sidecars import decode_sidecar, encode_sidecar
from mailhaul.proto.keys import derivation, vault, wrapping
from mailhaul.proto.keys.records import Cipher, Kem, Keyring, KeySlots, MailboxSlot, Slot, Wrap
from mailhaul.proto.records import ArchiveId, Referred
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import (
    MemoryFile,
    frames_of,
    messages_of,
    unpacked,
)
from mailhaul.tests.format_examples import (
    AGAIN,
    ARCHIVE,
    DOCUMENT,
    MAIL,
    example_archive,
    example_encrypted_archive,
    renewed,
    vectors,
)
from mailhaul.worker.keepsake import mailhaul_restore


@pytest.fixture(scope="module")
def document() -> str:
    return DOCUMENT.read_text()


def section(document: str, title: str) -> str:
    found = re.search(
        rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |^\1 |\Z)", document, re.DOTALL | re.MULTILINE
    )
    assert found, f"no section {title!r}"
    return found[2]


def table(text: str) -> list[list[str]]:
    """The rows of the first table of a section, without its head."""
    lines = text[text.index("\n|") + 1 :].splitlines()
    rows = list(takewhile(lambda line: line.startswith("|"), lines))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows[2:]]


def hex_of(text: str) -> bytes:
    """The bytes of all hex blocks of a text; what follows two blanks is a remark."""
    lines = [
        line for block in re.findall(r"```hex\n(.*?)```", text, re.DOTALL) for line in block.splitlines()
    ]
    return b"".join(bytes.fromhex(line.split("  ")[0]) for line in lines)


class TestWorkedExample:
    def test_the_writer_writes_it_byte_for_byte(self, document: str) -> None:
        assert hex_of(section(document, "Worked example: an archive")) == example_archive()

    def test_all_of_them_are_those_that_the_code_writes(self, document: str) -> None:
        assert renewed(document) == document, "run: .venv/bin/python -m mailhaul.tests.format_examples"

    def test_it_is_read_back(self, document: str) -> None:
        archive = open_sealed(MemoryFile(hex_of(section(document, "Worked example: an archive"))))
        (entry,) = archive.directory.mailboxes
        mailbox = archive.mailbox(entry.home.number)
        (message,) = messages_of(archive, entry, mailbox.folders[0])
        data = Contents(lambda _: archive)
        assert b"".join(data.message(message)) == MAIL
        assert b"".join(data.message(mailbox.files[0])) == b"Sent\n"
        assert (entry.user, mailbox.place, message.uid) == ("jane", b"jane/Maildir", 1)

    def test_the_frames_are_where_their_headings_say(self, document: str) -> None:
        told = re.findall(r"^### Frame (\d+) at (\d+): ([A-Z]+)$", document, re.MULTILINE)
        found = frames_of(example_archive())
        assert told == [
            (str(frame.header.sequence), str(frame.at), frame.header.type.name) for frame in found
        ]

    @pytest.mark.parametrize("codec", [Codec.LZ4, Codec.ZSTD])
    def test_compressed_payloads(self, document: str, codec: Codec) -> None:
        text = section(document, f"Worked example: {codec.name}")
        data = hex_of(text)
        header = frames.decode_header(data[: frames.HEADER_BYTES], "example")
        assert header.codec is codec
        plain = PLAIN.unpack(header, data[frames.HEADER_BYTES :], "example")
        assert plain == AGAIN

    def test_an_encoded_part(self, document: str) -> None:
        text = section(document, "Worked example: a base64 part")
        stored = hex_of(text)
        found = re.search(r"recipe (\d+)", text)
        mail = re.search(r"```text\n(.*?)\n```", text, re.DOTALL)
        assert found
        assert mail
        assert b"".join(recipes.encode([stored], int(found[1]))) == mail[1].encode()
        assert recipes.decode(mail[1].encode()) == (stored, int(found[1]))


class TestKeysAndEncryptedFrames:
    """Opened by the product, and by the reader that was written from the document alone."""

    @pytest.fixture
    def told(self, document: str) -> dict[str, bytes]:
        return vectors(document)

    def test_keys_and_ids(self, told: dict[str, bytes]) -> None:
        structure, content, salt = (
            told[f"{one}"] for one in ("structure key", "content key", "salt of the slot")
        )
        slot = self.slot(told, Cipher.AES_256_GCM)
        assert derivation.structure_key(structure).id == told["id of the structure key"]
        assert derivation.content_id(content) == told["id of the content key"]
        assert derivation.digest_key(structure) == told["key of digests"]
        for secret, purpose in ((structure, "structure"), (content, "content")):
            key = told[f"key of frames, {purpose}"]
            assert derivation.frame_key(secret, slot, purpose.encode()) == key
            assert mailhaul_restore.derived(secret, salt, purpose.encode() + ARCHIVE) == key
            assert mailhaul_restore.key_id(secret, purpose) == told[f"id of the {purpose} key"]

    def test_wraps(self, told: dict[str, bytes]) -> None:
        for kem, of in ((Kem.X25519, "id of its recipient"), (Kem.HYBRID, "id of its recipient, kind 2")):
            private, sealed = told[f"private key of kind {kem}"], told[f"sealed, kind {kem}"]
            recipient = told[of]
            assert derivation.recipient_id(kem, wrapping.public_of(kem, private)) == recipient
            assert mailhaul_restore.recipient_of(kem, mailhaul_restore.public_of(kem, private)) == recipient
            info = derivation.wrap_info(ARCHIVE, told["salt of the slot"], recipient)
            assert kem is Kem.HYBRID or info == told["info of its wrap"]
            both = told["content key"] + told["structure key"]
            assert wrapping.unwrap(kem, private, sealed, info) == both
            assert mailhaul_restore.unwrapped(kem, private, sealed, info) == both

    @pytest.mark.parametrize(
        ("name", "payload"),
        [
            ("BLOCK of `the words`, cipher 1", b"the words"),
            ("BLOCK of `the words`, cipher 2", b"the words"),
            ("SEARCH of `terms` behind MESSAGES of `messages`, cipher 1", b"terms"),
            ("HEADER of `whose`, cipher 1", b"whose"),
        ],
    )
    def test_frames(self, told: dict[str, bytes], tmp_path: Path, name: str, payload: bytes) -> None:
        slot = self.slot(told, Cipher(int(name[-1])))
        keys = Keyring({slot.structure: told["structure key"]}, {slot.content: told["content key"]})
        codec = SealedCodec(ARCHIVE, KeySlots((slot,)), keys)
        bound = codec.binding(b"messages") if name.startswith("SEARCH") else b""
        header = frames.decode_header(told[name][:72], "example")
        assert codec.unpack(header, told[name][72:], "example", bound) == payload
        (tmp_path / "frame").write_bytes(told[name])
        identity = mailhaul_restore.Identity(1, slot.wraps[0].recipient, told["private key of kind 1"])
        others = mailhaul_restore.Keys([identity])
        others.learn(ARCHIVE, slots.encode(KeySlots((slot,))))
        file = mailhaul_restore.ArchiveFile(
            str(tmp_path / "frame"), mailhaul_restore.Means(), mailhaul_restore.OpenFiles(), others
        )
        frame = file.frame(0)
        assert frame is not None
        assert file.payload(frame, encrypted=True, bound=bound) == payload

    def test_a_whole_archive(self, document: str, told: dict[str, bytes], tmp_path: Path) -> None:
        parts = vectors(document, "an encrypted archive")
        whole = ("frame ", "payload of frame ")
        data = b"".join(value for name, value in parts.items() if name.startswith(whole))
        assert data == example_encrypted_archive(document)
        (tmp_path / "archive.mha").write_bytes(data)
        identity = mailhaul_restore.Identity(1, told["id of its recipient"], told["private key of kind 1"])
        archives = mailhaul_restore.Archives(
            [str(tmp_path / "archive.mha")], keys=mailhaul_restore.Keys([identity])
        )
        (archive,) = archives.found.values()
        assert archive.check() == (len(frames_of(data)), [])
        (mailbox,) = (archives.mailbox(one.home) for one in archive.told())
        ((_, (mail,)),) = archives.messages(mailbox, mailbox["folders"][0])
        assert b"".join(archives.content(mail)) == MAIL
        assert b"".join(archives.file_content(mailbox, mailbox["files"][0])) == b"Sent\n"
        (row,) = archive.directory()
        chain, _, _, keys, used = row["seal"]
        assert chain == parts["chain of frames before the directory"]
        assert keys == parts["digest of the payload of the KEYS frame"]
        assert used == []
        index = mailhaul_restore.Unpacker(next(archive.parts[0].payloads(mailhaul_restore.INDEX))[1]).map()
        (length,) = mailhaul_restore.column(index["length"], 4)
        (offset,) = mailhaul_restore.deltas(index["offset"])
        segment = MAIL[offset:][:length]  # it is stored as it is, from the first byte of the data on
        keyed = blake3(segment, key=told["key of digests"]).digest(length=16)
        assert index["digest"][:16] == parts["keyed digest of the body, in INDEX"] == keyed
        archives.close()

    def test_a_sidecar(self, told: dict[str, bytes], tmp_path: Path) -> None:
        data = told["sidecar: slot 1, cipher 1, wrapped for `ops` by kind 1"]
        slot = self.slot(told, Cipher.AES_256_GCM)
        found = decode_sidecar(data, "example")
        assert found.slots == (slot,)
        assert found.is_genuine(Keyring({slot.structure: told["structure key"]})) is True
        assert encode_sidecar(ARCHIVE, [slot], told["structure key"]) == data
        # An archive whose keys are wrapped for somebody else, and the sidecar beside it.
        frame = told["BLOCK of `the words`, cipher 1"]
        (tmp_path / "frame").write_bytes(frame)
        (tmp_path / "one.mhk").write_bytes(data)
        keys = mailhaul_restore.Keys(
            [mailhaul_restore.Identity(1, slot.wraps[0].recipient, told["private key of kind 1"])]
        )
        stranger = Wrap(bytes(16), "safe", Kem.X25519, bytes(112))
        keys.learn(ARCHIVE, slots.encode(KeySlots((replace(slot, wraps=(stranger,)),))))
        file = mailhaul_restore.ArchiveFile(
            str(tmp_path / "frame"), mailhaul_restore.Means(), mailhaul_restore.OpenFiles(), keys
        )
        block = file.frame(0)
        assert block is not None
        assert list(mailhaul_restore.learn_sidecars([str(tmp_path / "one.mhk")], keys)) == []
        assert file.payload(block, encrypted=True) == b"the words"

    def test_slots_of_mailboxes(self, told: dict[str, bytes], tmp_path: Path) -> None:
        slot, secret, name = (
            self.slot(told, Cipher.AES_256_GCM),
            told["secret of a mailbox"],
            told["id of the secret"],
        )
        for purpose in ("structure", "content"):
            key, own = told[f"{purpose} key"], told[f"key of frames of the mailbox, {purpose}"]
            assert derivation.mailbox_frame_key(key, secret, slot, name, purpose.encode()) == own
            info = b"mailbox " + purpose.encode() + ARCHIVE + name
            assert mailhaul_restore.derived(key + secret, slot.salt, info) == own
        row = told["payload of KEYS with the slot 2 of the mailbox"]
        found = KeySlots((slot,), slots.decode(row).mailboxes)
        assert found.mailboxes == (MailboxSlot(number=2, parent=1, secret=name),)
        keys = Keyring(
            {slot.structure: told["structure key"]},
            {slot.content: told["content key"]},
            secrets={name: secret},
        )
        identity = mailhaul_restore.Identity(1, slot.wraps[0].recipient, told["private key of kind 1"])
        for payload, kind in ((b"the words", "BLOCK"), (b"folders", "MAILBOX")):
            frame = told[f"{kind} of `{payload.decode()}`, of the mailbox, cipher 1"]
            header = frames.decode_header(frame[:72], "example")
            assert SealedCodec(ARCHIVE, found, keys).unpack(header, frame[72:], "example") == payload
            others = mailhaul_restore.Keys([identity])
            others.learn(ARCHIVE, slots.encode(KeySlots((slot,))))
            others.learn(ARCHIVE, row)
            document = Path(vault.__file__).with_name("KEYS.md").read_text()
            sealed = tmp_path / vault.vault_name("4f3a")
            sealed.write_bytes(bytes.fromhex(document.split("```vault\n")[1].split("```")[0]))
            opened = vault.open_vault(sealed.read_bytes(), keys, sealed.name)
            assert opened.keyring.secrets == {name: secret}
            others.take_vault(str(sealed))
            (tmp_path / kind).write_bytes(frame)
            file = mailhaul_restore.ArchiveFile(
                str(tmp_path / kind), mailhaul_restore.Means(), mailhaul_restore.OpenFiles(), others
            )
            read = file.frame(0)
            assert read is not None
            assert file.payload(read, encrypted=True) == payload

    def slot(self, told: dict[str, bytes], cipher: Cipher) -> Slot:
        return Slot(
            number=1,
            archive=ARCHIVE,
            salt=told["salt of the slot"],
            cipher=cipher,
            structure=told["id of the structure key"],
            content=told["id of the content key"],
            wraps=(Wrap(told["id of its recipient"], "ops", Kem.X25519, told["sealed, kind 1"]),),
        )


class TestTables:
    def test_the_frame_header(self, document: str) -> None:
        rows = table(section(document, "Frame header"))
        assert [(int(row[0]), int(row[1])) for row in rows] == [
            (0, 4),
            (4, 1),
            (5, 1),
            (6, 2),
            (8, 4),
            (12, 4),
            (16, 16),
            (32, 8),
            (40, 8),
            (48, 16),
            (64, 4),
            (68, 4),
        ]
        assert int(rows[-1][0]) + int(rows[-1][1]) == frames.HEADER_BYTES

    def test_the_footer(self, document: str) -> None:
        rows = table(section(document, "FOOTER"))
        assert [(int(row[0]), int(row[1])) for row in rows] == [(0, 8), (8, 8), (16, 8), (24, 8)]
        assert struct.calcsize("<QQQ8s") == contents.FOOTER_BYTES

    def test_types_and_codecs(self, document: str) -> None:
        types = table(section(document, "Frame types"))
        assert [(int(row[0]), row[1].strip("`")) for row in types] == [
            (one.value, one.name) for one in FrameType if one is not FrameType.LATER
        ]
        codecs = table(section(document, "Codecs"))
        assert [(int(row[0]), row[1].strip("`")) for row in codecs] == [
            (codec.value, codec.name) for codec in Codec
        ]

    def test_limits(self, document: str) -> None:
        told = {row[0]: int(row[1].replace(",", "")) for row in table(section(document, "Limits"))}
        assert told == {
            "bytes of a payload, stored or plain": frames.LARGEST_FRAME,
            "lists and maps in a payload": claims.MOST_CONTAINERS,
            "messages in a MESSAGES frame": messages.MOST_MESSAGES,
            "recipe": recipes.RECIPE_LIMIT - 1,
            "bytes of all parts of the directory, plain": directory.MOST_PLAIN_BYTES,
            "mailboxes that have departed": departed.MOST_DEPARTED,
            "rows of `unopened`": directory.MOST_UNOPENED,
            "rows of `lost`, and of `lost_frames`": directory.MOST_LOST,
            "bytes of all RUN frames, plain": run_end.MOST_PLAIN_BYTES,
            "last second of `run_started`": contents._LAST_SECOND,
        }

    def test_what_the_writer_keeps_to(self, document: str) -> None:
        told = {
            row[0]: int(row[1].replace(",", ""))
            for row in table(section(document, "What this writer keeps to"))
        }
        assert told == {
            "data bytes in a BLOCK frame": framing.BLOCK_BYTES,
            "pieces after which a MESSAGES frame is closed": messages.MOST_PIECES,
            "bytes of names and notes after which a MESSAGES frame is closed": messages.MOST_TEXT_BYTES,
            "different archives after which a MESSAGES frame is closed": messages._MOST_ARCHIVES,
            "bytes of folders and files of a mailbox": under_way._MOST_MAILBOX_BYTES,
            "bytes after which a FOLDERS frame is closed, about": mailboxes.PART_BYTES,
            "bytes of `skipped` of a mailbox, about": under_way._MOST_SKIPPED_BYTES,
            "rows of an INDEX frame": index_frames._INDEX_ROWS,
            "mailboxes from a HEADER frame to the next": writer._HEADER_EVERY,
            "bytes of a part of the directory, about": directory._PART_BYTES,
            "bytes of a hole within a block that is cut, at least": rewriting._SMALLEST_HOLE,
        }

    def test_versions(self, document: str) -> None:
        last = table(section(document, "Version history"))[-1]
        assert [int(last[0]), int(last[1])] == [contents.READ_VERSION, contents.WRITE_VERSION]


def keys_told(document: str, title: str) -> list[str]:
    return [row[0].strip("`") for row in table(section(document, title))]


class TestKeys:
    """Every key of every map is in its table, in the order in which it is written."""

    def test_of_each_frame(self, document: str) -> None:
        payloads = {frame.header.type: frame.payload for frame in frames_of(example_archive())}
        mailbox = mailboxes.decode([payloads[FrameType.MAILBOX]])
        (payloads[FrameType.MAILBOX],) = mailboxes.encode(replace(mailbox, mark=b"m"))  # it need not have one
        whole = directory.decode(payloads[FrameType.DIRECTORY]).part
        seal = contents.Seal(bytes(32), 0, 0, bytes(32))  # nor has one that is not encrypted
        payloads[FrameType.DIRECTORY] = directory.encode(replace(whole, seal=seal))
        for kind in (
            FrameType.HEADER,
            FrameType.MESSAGES,
            FrameType.SEARCH,
            FrameType.MAILBOX,
            FrameType.DIRECTORY,
        ):
            assert keys_told(document, kind.name) == list(unpacked(payloads[kind])), kind

    def test_of_a_folder(self, document: str) -> None:
        (payload,) = {frame.payload for frame in frames_of(example_archive(), FrameType.MAILBOX)}
        assert keys_told(document, "Folders") == list(unpacked(payload)["folders"][0])

    def test_of_an_index(self, document: str) -> None:
        assert keys_told(document, "INDEX") == list(unpacked(contents.encode_index(IndexRow(b"", [], []))))

    def test_of_terms(self, document: str) -> None:
        told = {row[0].strip("`"): int(row[2]) for row in table(section(document, "SEARCH")) if row[2]}
        assert told == search.MOST_BYTES

    def test_rows_have_as_many_values_as_are_told(self, document: str) -> None:
        (payload,) = {frame.payload for frame in frames_of(example_archive(), FrameType.MAILBOX)}
        (file,) = unpacked(payload)["files"]
        assert len(table(section(document, "Files"))) == len(file)
        (entry,) = unpacked(frames_of(example_archive(), FrameType.DIRECTORY)[0].payload)["mailboxes"]
        assert len(table(section(document, "Mailboxes of the directory"))) == len(entry)
        (place,) = unpacked(frames_of(example_archive(), FrameType.DIRECTORY)[0].payload)["places"]
        assert len(table(section(document, "Places of the directory"))) == len(place)
        row = directory.encode(
            replace(directory.only(()), referred=(Referred(archive=ArchiveId(bytes(16))),))
        )
        (named,) = unpacked(row)["referred"]
        assert len(table(section(document, "Archives that are referred to"))) == len(named)
        (folder,) = unpacked(payload)["folders"]
        assert len(table(section(document, "Rows of a folder"))) == len(folder["frames"][0])
        (marks,) = unpacked(frames_of(example_archive(), FrameType.MESSAGES)[0].payload)["marks"]
        assert len(table(section(document, "Marks"))) == len(marks)


def test_examples_in_the_text(document: str) -> None:
    """The small sums that the document shows."""
    assert columns.pack_deltas([5, 4, 6]).hex(" ", 8) in document
    assert columns.pack_strings([b"ab", b"", b"c"])[0].hex(" ", 4) in document
    for recipe, text in ((1, "1"), (39, "39"), (40, "40"), (recipes.RECIPE_LIMIT - 1, "2050")):
        assert f"| {text} |" in section(document, "Recipes"), recipe
