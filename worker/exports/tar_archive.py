"""A tar archive on its way to a file or to the standard output."""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from ...groups.paths import printable
from ...proto.errors import StoreError
from ..stores.directories import refused
from .file_names import EML
from .tar_output import STDOUT, Output, open_output
from .tar_stream import TarStream


def listed_messages(file: BinaryIO) -> Counter[str]:
    """How many messages a tar archive has in each directory. Raises TarError, OSError."""
    counts: Counter[str] = Counter()
    with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errorlevel=2) as archive:
        while (member := archive.next()) is not None:
            directory, _, name = member.name.rpartition("/")
            counts[directory] += name.endswith(EML)
            cast(Any, archive).members.clear()  # it would remember all of them
    return counts


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

    def finish(self, expected: Counter[str]) -> None:
        """Write the end; list it anew, unless it has been sent: each directory has as many messages as
        ``expected``; make it durable, then visible."""
        with self._writing() as stream:
            stream.end()
            if self._output is not None:
                self._compare(self._output, expected)
                self._output.publish()

    def close(self) -> None:
        """Let go; what is not finished is gone. Repeatable."""
        if self._output is not None:
            self._output.close()

    def _compare(self, output: Output, expected: Counter[str]) -> None:
        path = printable(self._path.encode())
        written = output.written()
        if written is None:
            return
        try:
            with written:
                listed = listed_messages(written)
        except tarfile.TarError as error:
            raise StoreError(f"{path} can't be listed: {error}") from error
        for directory in (expected - listed) | (listed - expected):
            raise StoreError(
                f"{path}: {expected[directory]} messages were written to {directory}, and it lists "
                f"{listed[directory]}"
            )

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
