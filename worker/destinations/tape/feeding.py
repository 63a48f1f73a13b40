"""The bytes of an archive in records, read ahead by a thread, so that a drive is fed or stops, but never
stutters: it is started when the buffer is full, and when it has run empty it waits until it is full again."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from ....proto.archive.files import RandomAccess
from ....proto.errors import DamagedError


@contextmanager
def feed(
    source: RandomAccess, offset: int, record_bytes: int, buffer_bytes: int
) -> Iterator[Iterator[bytes]]:
    """The bytes of ``source`` from ``offset`` on. What reading raises, is raised where it would be next.

    Raises DamagedError (``truncated``) if it ends before its size.
    """
    pieces = _pieces(source, offset, record_bytes)
    if source.size - offset <= record_bytes * 4:
        yield pieces
        return
    buffer = _Buffer(pieces, max(2, buffer_bytes // record_bytes))
    buffer.start()
    try:
        yield buffer.pieces()
    finally:
        buffer.stop()


def _pieces(source: RandomAccess, offset: int, record_bytes: int) -> Iterator[bytes]:
    while offset < source.size:
        piece = source.read_at(offset, min(record_bytes, source.size - offset))
        if len(piece) < min(record_bytes, source.size - offset):
            raise DamagedError(f"{source.name}: ends before its size of {source.size}", reason="truncated")
        yield piece
        offset += len(piece)


class _Buffer:
    """Up to ``most`` pieces between a thread that reads and one that writes."""

    def __init__(self, pieces: Iterator[bytes], most: int) -> None:
        self._source = pieces
        self._most = most
        self._ready: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._stopped = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="tape-feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when nothing reads any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def pieces(self) -> Iterator[bytes]:
        while batch := self._batch():
            yield from batch
        if self._error is not None:
            raise self._error

    def _batch(self) -> list[bytes]:
        """What there is; where that is nothing, all that fits in, or the rest."""
        with self._changed:
            if not self._ready:
                self._changed.wait_for(lambda: self._ended or len(self._ready) >= self._most)
            batch = list(self._ready)
            self._ready.clear()
            self._changed.notify_all()
            return batch

    def _read(self) -> None:
        try:
            for piece in self._source:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or len(self._ready) < self._most)
                    if self._stopped:
                        return
                    self._ready.append(piece)
                    self._changed.notify_all()
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
