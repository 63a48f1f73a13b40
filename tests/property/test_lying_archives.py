"""Archives whose checksums are right and that lie in their newer parts: departures, mailboxes told of
elsewhere, folders in several frames, pointers into other archives, names of these, how a run ended. Whoever
reads them, starts a backup from them, goes on with them or writes them anew ends with our own errors."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import msgpack
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.backup_set import from_files
from mailhaul.coordinator.rebuilding import facts_of
from mailhaul.proto.archive import departed, directory, framing, mailboxes, messages, run_end
from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.draft import decode_draft, encode_draft, read_draft
from mailhaul.proto.archive.frames import Codec, FrameType, encode_header
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.rewriting import ALL, rewrite
from mailhaul.proto.archive.salvage import salvage
from mailhaul.proto.archive.stored import StoredMailbox
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import DamagedError, UnsupportedError
from mailhaul.proto.records import ArchiveId, Departed, Location, Parents, Referred, RunId, Stretch
from mailhaul.tests.archives import (
    Frame,
    MemoryFile,
    MemorySink,
    archive_header,
    frames_of,
    open_any,
    recrafted,
    unpacked,
    write_archive,
    write_mailbox,
)
from mailhaul.worker.archives.sealed import report_of
from mailhaul.worker.comparing.known import OpenParents
from mailhaul.worker.packing.packer import Packer
from mailhaul.worker.purging.compaction import NoSink
from mailhaul.worker.staging.sinks import StreamSink

from ..unit.proto.test_run_end import END
from .test_damage import ODD_VALUES, paths_in, replaced

FIRST, SECOND = ArchiveId(b"the first one..."), ArchiveId(b"the second one..")
MAIL = {f"Folder {number}": [b"Subject: %d\n\n%d" % (number, number)] for number in range(6)}
EVERYTHING = {data for folder in MAIL.values() for data in folder} | {b"Subject: new\n\nnew"}
OLD = write_archive({"anna": MAIL, "bob": MAIL, "carl": MAIL}, archive=FIRST, codec=Codec.NONE)


def written() -> bytes:
    """The next one: bob is as he was, anna got a message, dan and eve are gone."""
    source = open_sealed(MemoryFile(OLD))
    gone = [
        Departed("dan", "removed"),
        Departed("eve", "left-group", "sales", RunId("20260701T000000Z-0001")),
    ]
    sink = MemorySink()
    writer = ArchiveWriter(sink, archive_header(SECOND), Codec.NONE, departed=gone)
    packer = Packer(writer)
    bob, anna = source.entry("bob"), StoredMailbox(lambda _: source, FIRST, "anna").mailbox
    assert bob is not None
    for folder in anna.folders:
        for pointer in folder.frames:
            writer.refer(pointer)
        writer.end_folder(folder.folder)
    writer.end_mailbox("anna", b"anna", len(MAIL), 0, ())
    write_mailbox(writer, packer, "carl", {"INBOX": [b"Subject: new\n\nnew"]})
    writer.refer_mailbox(bob)
    writer.finish(
        known=lambda archive_id: Referred(archive=archive_id, partition="p", group="g", run="r", size_bytes=9)
    )
    return bytes(sink.data)


# Parts so small that a small archive has several of each.
with (
    patch.object(departed, "_PART_BYTES", 20),
    patch.object(mailboxes, "PART_BYTES", 200),
    patch.object(directory, "_PART_BYTES", 300),
    patch.object(framing, "BLOCK_BYTES", 500),
    patch.object(messages, "MOST_MESSAGES", 2),
):
    NEW = written()
FRAMES = frames_of(NEW)
RUN = io.BytesIO()
with patch.object(run_end, "_PART_BYTES", 100):
    run_end.write_run_end(END, StreamSink(RUN, "stream"), ArchiveId(b"a" * 16), "a test")


def others(reader: ArchiveReader) -> Callable[[ArchiveId], ArchiveReader]:
    """What is at hand beside an archive."""

    def opened(archive: ArchiveId) -> ArchiveReader:
        if archive == reader.header.archive:
            return reader
        if archive == FIRST:
            return open_sealed(MemoryFile(OLD))
        raise DamagedError("not at hand", reason="missing")

    return opened


def use(data: bytes) -> set[bytes]:
    """Everything that is ever done with an archive that is there; the mail that it gives."""
    found: set[bytes] = set()
    with suppress(DamagedError, UnsupportedError):
        reader = open_any(data)
        opened = others(reader)
        contents = Contents(opened)
        for entry in reader.directory.mailboxes:
            with suppress(DamagedError):
                stored = StoredMailbox(opened, reader.header.archive, entry.user)
                for folder in stored.mailbox.folders:
                    for message in stored.messages(folder):
                        with suppress(DamagedError):
                            found.add(b"".join(contents.message(message)))
        with suppress(DamagedError):
            report_of(reader, opened)
        for archive in (FIRST, SECOND):
            assert reader.referred(archive).archive == archive
        with suppress(DamagedError, UnsupportedError):
            stretches = [Stretch(0, 1 << 20)]
            rewrite(reader, NoSink(), stretches=stretches, metadata=ALL, departed=[Departed("x", "removed")])
    files = {FIRST: OLD, SECOND: data}
    parents = OpenParents(
        Parents(
            mailboxes=dict.fromkeys(("anna", "bob", "carl"), SECOND),
            locations={file: (Location("here", file.hex()),) for file in files},
        ),
        lambda location: MemoryFile(files[ArchiveId(bytes.fromhex(location.name))]),
    )
    for user in ("anna", "bob", "carl"):
        parents.mailbox("primary", user)
    list(parents.entries())
    list(parents.segments())
    parents.referred(FIRST)
    for cut in (data, data[: len(data) * 2 // 3]):
        with suppress(DamagedError, UnsupportedError):
            draft = read_draft(MemoryFile(cut))
            if draft is not None:
                draft.over(MemoryFile(cut)).archive.departures()
                encoded = encode_draft(draft)
                assert encoded is not None
                decode_draft(encoded, "draft", draft.size_bytes)
    with suppress(DamagedError, UnsupportedError):
        run_end.read_run_end(MemoryFile(data))
    return found


def use_files(data: bytes) -> None:
    """The same of a file beside another."""
    with TemporaryDirectory() as place:
        files = [Path(place) / "old.mha", Path(place) / "new.mha"]
        for file, content in zip(files, (OLD, data), strict=True):
            file.write_bytes(content)
        with suppress(DamagedError, UnsupportedError):
            backup = from_files(files)
            for archive_id in (FIRST, SECOND):
                backup.needed_file(archive_id)
        with suppress(DamagedError, UnsupportedError):
            facts_of(Path(place), files[1], others(open_any(data)))


def test_the_archive_has_all_that_is_meant() -> None:
    kinds = [frame.header.type for frame in FRAMES]
    assert kinds.count(FrameType.DEPARTED) == 4
    assert kinds.count(FrameType.FOLDERS) > 4
    assert kinds.count(FrameType.DIRECTORY) > 2
    assert FrameType.UNCHANGED in kinds
    assert use(NEW) == EVERYTHING
    assert len(frames_of(RUN.getvalue(), FrameType.RUN)) > 3


def crafted(whole: bytes, made: list[tuple[tuple[int, tuple[Any, ...]], object]]) -> bytes:
    def change(frame: Frame) -> bytes | None:
        payload = frame.payload
        for (number, path), value in made:
            if number == frame.header.sequence:
                with suppress(KeyError, IndexError, TypeError, ValueError):
                    changed = replaced(unpacked(payload), path, value)
                    payload = msgpack.packb(changed, unicode_errors="surrogateescape")
        return payload

    return recrafted(whole, change)


def craftable(whole: bytes, *kinds: FrameType) -> list[tuple[int, tuple[Any, ...]]]:
    return [
        (frame.header.sequence, path)
        for frame in frames_of(whole)
        if frame.header.type in kinds
        for path in paths_in(unpacked(frame.payload))
    ]


LIES = craftable(
    NEW,
    FrameType.DEPARTED,
    FrameType.FOLDERS,
    FrameType.MAILBOX,
    FrameType.UNCHANGED,
    FrameType.DIRECTORY,
)


@given(st.lists(st.tuples(st.sampled_from(LIES), ODD_VALUES), min_size=1, max_size=3), st.booleans())
def test_metadata_that_lies(made: list[tuple[tuple[int, tuple[Any, ...]], object]], cut: bool) -> None:
    data = crafted(NEW, made)
    data = data[:-1] if cut else data
    assert use(data) <= EVERYTHING
    use_files(data)


@given(
    st.lists(
        st.tuples(st.sampled_from(craftable(RUN.getvalue(), FrameType.RUN)), ODD_VALUES),
        min_size=1,
        max_size=3,
    )
)
def test_runs_that_lie(made: list[tuple[tuple[int, tuple[Any, ...]], object]]) -> None:
    with suppress(DamagedError, UnsupportedError):
        run_end.read_run_end(MemoryFile(crafted(RUN.getvalue(), made)))
    use(crafted(RUN.getvalue(), made))


@given(st.sampled_from(FRAMES), st.sampled_from(FrameType), st.integers(0, (1 << 64) - 1) | st.integers(0, 3))
def test_frames_that_say_to_be_others(frame: Frame, kind: FrameType, position: int) -> None:
    header = frame.header._replace(codec=Codec.NONE, plain_bytes=len(frame.payload))
    again = encode_header(
        kind, Codec.NONE, frame.payload, header.plain_bytes, header.archive, header.sequence, position
    )
    assert use(NEW[: frame.at] + again + frame.payload + NEW[frame.end :]) <= EVERYTHING


BOMB = 6 << 20


@pytest.mark.parametrize("kind", [FrameType.UNCHANGED, FrameType.RUN, FrameType.DEPARTED])
def test_a_small_file_does_not_fill_the_memory(kind: FrameType) -> None:
    """Frames that are a few kB stored, and large when they are decompressed: as many as one likes."""
    key = {"UNCHANGED": "mailboxes", "RUN": "stores", "DEPARTED": "departed"}[kind.name]
    payload = msgpack.packb({key: [], "archives": [], "padding": bytes(BOMB)})
    stored = zstandard.ZstdCompressor().compress(payload)
    out = bytearray(NEW[: FRAMES[1].at])
    for number in range(100):
        out += encode_header(kind, Codec.ZSTD, stored, len(payload), SECOND, number + 1, number) + stored
    tracemalloc.start()
    try:
        for read in (
            lambda: salvage(MemoryFile(bytes(out))).departures(),
            lambda: run_end.read_run_end(MemoryFile(bytes(out))),
        ):
            with suppress(DamagedError):
                read()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * BOMB


def test_what_is_told_of_mailboxes_elsewhere_and_of_runs_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is a little in each of many frames."""
    monkeypatch.setattr(directory, "most_plain_bytes", lambda _: 100)
    assert any("than a directory can hold" in skip.detail for skip in salvage(MemoryFile(NEW)).damage)
    monkeypatch.setattr(run_end, "MOST_PLAIN_BYTES", 100)
    with pytest.raises(DamagedError, match="that much to tell"):
        run_end.read_run_end(MemoryFile(RUN.getvalue()))
