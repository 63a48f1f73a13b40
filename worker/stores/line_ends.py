"""The line ends of mail on its way: CR LF."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def with_crlf(content: Iterable[bytes]) -> Iterator[bytes]:
    """The same with CR before each LF that has none: as servers show a file whose lines end otherwise."""
    kept = b""
    for data in content:
        data = kept + data
        # What follows a CR at the end tells whether it belongs to a line end.
        kept = b"\r" if data.endswith(b"\r") else b""
        data = data[: len(data) - len(kept)]
        if data.count(b"\n") != data.count(b"\r\n"):
            data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        if data:
            yield data
    if kept:
        yield kept
