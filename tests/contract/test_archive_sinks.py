"""What every adapter of ArchiveSink promises (proto/ports.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytest

from mailhaul.proto.errors import StagingError
from mailhaul.proto.keys.records import NO_KEYS, Keyring
from mailhaul.proto.ports import ArchiveSink
from mailhaul.tests.archives import taken_up
from mailhaul.worker.purging.compaction import NoSink
from mailhaul.worker.staging.digested import DigestedSink
from mailhaul.worker.staging.sinks import StagedFile, StreamSink

from ..archives import MemorySink, read_archive, write_archive
from ..receiving import FILE, make_place, receiver_thread, token
from ..sealed import OF_A_HOST, STRUCTURE, everything_encrypted

MAILBOXES = {
    "alice": {"INBOX": [b"Subject: a\n\none", b"two" * 10_000]},
    "bob": {"INBOX": [b"three"], "Sent": [b"four" * 5_000]},
}
ARCHIVE = write_archive(MAILBOXES)
PIECE_BYTES = 1000


class Opening(Protocol):
    """Opens a sink."""

    def __call__(self, epoch: int, keys: Keyring = NO_KEYS, /) -> ArchiveSink: ...


@dataclass(frozen=True)
class Adapter:
    """``open`` gives the sink of the attempt with this epoch, and with these keys; ``sealed`` the bytes under
    the final name, None if there is none. ``keeps``: those bytes can be had; ``resumes``: a later attempt
    finds what an earlier one has left."""

    open: Opening
    sealed: Callable[[], bytes | None]
    keeps: bool = True
    resumes: bool = True


@contextmanager
def _staged(place: Path) -> Iterator[Adapter]:
    path = place / "primary" / "unit.mha"
    yield Adapter(
        open=lambda epoch, keys=NO_KEYS: StagedFile(path, epoch=epoch, keys=keys),
        sealed=lambda: path.read_bytes() if path.exists() else None,
    )


@contextmanager
def _digested(place: Path) -> Iterator[Adapter]:
    with _staged(place) as staged:
        yield replace(staged, open=lambda epoch, keys=NO_KEYS: DigestedSink(staged.open(epoch, keys)))


@contextmanager
def _remote(place: Path) -> Iterator[Adapter]:
    with receiver_thread(make_place(place / "staging")) as (found, _):
        path = found.area / FILE
        yield Adapter(
            open=lambda epoch, keys=NO_KEYS: found.sink(epoch=epoch, grant=token(epoch=epoch), keys=keys),
            sealed=lambda: path.read_bytes() if path.exists() else None,
        )


@contextmanager
def _stream(place: Path) -> Iterator[Adapter]:
    path = place / "stream"
    with path.open("wb") as stream:
        yield Adapter(
            open=lambda _epoch, _keys=NO_KEYS: StreamSink(stream, "a pipe"),
            sealed=path.read_bytes,
            resumes=False,
        )


@contextmanager
def _nowhere(_: Path) -> Iterator[Adapter]:
    yield Adapter(
        open=lambda _epoch, _keys=NO_KEYS: NoSink(), sealed=lambda: None, keeps=False, resumes=False
    )


@contextmanager
def _memory(_: Path) -> Iterator[Adapter]:
    sinks = [MemorySink()]
    yield Adapter(
        open=lambda _epoch, _keys=NO_KEYS: sinks[0], sealed=lambda: bytes(sinks[0].data), resumes=False
    )


ADAPTERS: Mapping[str, Callable[[Path], AbstractContextManager[Adapter]]] = {
    "staged": _staged,
    "digested": _digested,
    "remote": _remote,
    "stream": _stream,
    "nowhere": _nowhere,
    "memory": _memory,
}


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    """An adapter, of which nothing was written."""
    with ADAPTERS[request.param](tmp_path) as made:
        yield made


def write(sink: ArchiveSink, data: bytes) -> None:
    for at in range(0, len(data), PIECE_BYTES):
        sink.write(memoryview(data)[at : at + PIECE_BYTES])


def test_what_is_written_is_sealed(adapter: Adapter) -> None:
    sink = adapter.open(1)
    assert sink.begin() is None
    half = len(ARCHIVE) // 2
    write(sink, ARCHIVE[:half])
    sink.checkpoint()
    sink.write(bytearray(ARCHIVE[half:]))
    assert isinstance(sink.seal(), str)
    sink.abort()
    sink.abort()
    assert adapter.sealed() == (ARCHIVE if adapter.keeps else None)


def test_one_that_was_never_begun_can_be_given_up(adapter: Adapter) -> None:
    sink = adapter.open(1)
    sink.abort()
    sink.abort()


def test_nothing_is_sealed_that_was_given_up(adapter: Adapter) -> None:
    if not adapter.resumes:
        pytest.skip("it has no final name: its footer alone tells that it is whole")
    sink = adapter.open(1)
    sink.begin()
    write(sink, ARCHIVE[:-1])
    sink.checkpoint()
    sink.abort()
    sink.abort()
    assert adapter.sealed() is None


def test_a_later_attempt_goes_on(adapter: Adapter) -> None:
    if not adapter.resumes:
        pytest.skip("it keeps nothing for a later attempt")
    sink = adapter.open(1)
    assert sink.begin() is None
    write(sink, ARCHIVE[:-1])
    sink.checkpoint()
    sink.abort()
    sink = adapter.open(2)
    draft = taken_up(sink)
    assert draft is not None
    assert [mailbox.user for mailbox in draft.archive.directory.mailboxes] == ["alice", "bob"]
    assert read_archive(draft.archive)[1] == [], "it can be read while writing goes on"
    write(sink, ARCHIVE[draft.size_bytes :])
    sink.seal()
    sink.abort()
    assert adapter.sealed() == ARCHIVE


def test_a_later_attempt_begins_anew(adapter: Adapter) -> None:
    sink = adapter.open(1)
    sink.begin()
    if adapter.resumes:
        write(sink, ARCHIVE[:-1])
        sink.checkpoint()
        sink.abort()
        sink = adapter.open(2)
        assert sink.begin() is not None
    sink.restart()
    other = write_archive({"carol": {"INBOX": [b"other"]}})
    write(sink, other)
    sink.seal()
    sink.abort()
    assert adapter.sealed() == (other if adapter.keeps else None)


def test_what_is_sealed_is_not_written_again(adapter: Adapter) -> None:
    if not adapter.resumes:
        pytest.skip("it can be written once")
    sink = adapter.open(1)
    sink.begin()
    write(sink, ARCHIVE)
    sink.seal()
    later = adapter.open(2)
    with pytest.raises(StagingError):
        later.begin()
    later.abort()
    assert adapter.sealed() == ARCHIVE


def encrypted() -> bytes:
    with everything_encrypted():
        return write_archive(MAILBOXES)


@pytest.mark.parametrize("where", ["staged", "digested", "remote"])
@pytest.mark.parametrize("cut", [1, 1000])
def test_an_encrypted_archive_is_gone_on_with_by_who_has_its_key(
    tmp_path: Path, where: str, cut: int
) -> None:
    """Of the receiver no key is needed; it cuts off what is behind the last mailbox. Without the key, or with
    another one, all is begun anew."""
    archive = encrypted()
    with ADAPTERS[where](tmp_path) as adapter:
        sink = adapter.open(1)
        assert sink.begin() is None
        write(sink, archive[:-cut])
        sink.checkpoint()
        sink.abort()
        sink = adapter.open(2, OF_A_HOST)
        draft = taken_up(sink)
        assert draft is not None
        assert [mailbox.user for mailbox in draft.archive.directory.mailboxes] == ["alice", "bob"]
        assert draft.size_bytes <= len(archive) - cut
        assert sink.written.read_at(0, 1000) == archive[:1000]
        write(sink, archive[draft.size_bytes :])
        sink.seal()
        sink.abort()
        assert adapter.sealed() == archive


@pytest.mark.parametrize("where", ["staged", "remote"])
@pytest.mark.parametrize(
    "keys", [NO_KEYS, Keyring(structures={STRUCTURE.id: bytes(32)})], ids=["none", "wrong"]
)
def test_an_encrypted_archive_is_begun_anew_by_who_has_not(tmp_path: Path, where: str, keys: Keyring) -> None:
    archive = encrypted()
    with ADAPTERS[where](tmp_path) as adapter:
        sink = adapter.open(1)
        sink.begin()
        write(sink, archive[:-1])
        sink.abort()
        sink = adapter.open(2, keys)
        assert sink.begin() is None
        write(sink, archive)
        sink.seal()
        sink.abort()
        assert adapter.sealed() == archive
