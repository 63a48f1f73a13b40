"""A tar archive on its way to a file or to the standard output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ...groups.paths import printable
from ...proto.errors import StoreError
from ..stores.directories import refused
from .tar_output import STDOUT, Output, open_output
from .tar_stream import TarStream


class TarArchive:
    """Begun when it is first written to. Once something could not be written nothing more is: every method
    but ``close`` raises StoreError from then on."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._output: Output | None = None
        self._stream: TarStream | None = None
        self._error: StoreError | None = None

    def position(self) -> int:
        """How much is written."""
        with self._writing() as stream:
            return stream.position

    def add(self, name: bytes, size: int, mtime_ns: int, content: Iterable[bytes]) -> None:
        """A regular file, of exactly so many bytes."""
        with self._writing() as stream:
            stream.add(name, size, mtime_ns, content)

    def take_back(self, position: int) -> None:
        """Drop what was added from a ``position`` on, unless it has been sent."""
        with self._writing() as stream:
            if self._output is not None and self._output.takes_back:
                stream.go_back(position)

    def finish(self) -> None:
        """Write the end; make it durable, then visible."""
        with self._writing() as stream:
            stream.end()
            if self._output is not None:
                self._output.publish()

    def close(self) -> None:
        """Let go; what is not finished is gone. Repeatable."""
        if self._output is not None:
            self._output.close()

    @contextmanager
    def _writing(self) -> Iterator[TarStream]:
        if self._error is not None:
            raise self._error
        try:
            if self._stream is None:
                self._output = open_output(self._path)
                self._stream = TarStream(self._output.file)
            yield self._stream
        except OSError as error:
            where = "the standard output" if self._path == STDOUT else printable(self._path.encode())
            self._error = refused(error, where)
            raise self._error from error
