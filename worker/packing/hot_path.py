"""What runs for every message that is read, and how: in C where that was built, else in pure Python.

``reading``, ``entries`` and ``scanning`` specify ``read_file``, ``entries_in`` and ``scan``, and run where
the extension is missing. The extension (``_native.c``) gives exactly the same
(tests/property/test_hot_path.py). Why, and what it brings: docs/decisions/0047-hot-path-in-c.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from ...proto.records import Terms
from . import entries, reading, scanning
from .entries import Entry
from .reading import OrdinaryFile
from .scanning import Parts

read_file: Callable[[int, bytes, int], int | OrdinaryFile]
entries_in: Callable[[int], Iterator[Entry]]
scan: Callable[[bytes], tuple[Terms, Parts]]

try:
    from . import _native
except ImportError:
    NAME = "pure Python"
    read_file, entries_in, scan = reading.read_file, entries.entries_in, scanning.scan
else:
    NAME = "C"
    _terms = partial(tuple.__new__, Terms)

    def _scan(window: bytes) -> tuple[Terms, Parts]:
        terms, parts = _native.scan(window)
        return _terms(terms), parts

    def _entries_in(directory: int) -> Iterator[Entry]:
        some = _native.read_entries(directory, True)
        while some:
            yield from some
            some = _native.read_entries(directory, False)

    read_file, entries_in, scan = _native.read_file, _entries_in, _scan
