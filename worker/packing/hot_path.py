"""What runs for every message that is read, and how: in C where that was built, else in pure Python.

``reading`` and ``scanning`` specify ``read_file`` and ``scan``, and run where the extension is missing. The
extension (``_native.c``) gives exactly the same (tests/property/test_hot_path.py). Why, and what it brings:
docs/decisions/0047-hot-path-in-c.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...proto.records import Terms
from . import reading, scanning
from .reading import OrdinaryFile
from .scanning import Parts

read_file: Callable[[int, bytes, int], int | OrdinaryFile]
scan: Callable[[bytes], tuple[Terms, Parts]]

try:
    from . import _native
except ImportError:
    NAME = "pure Python"
    read_file, scan = reading.read_file, scanning.scan
else:
    NAME = "C"
    _terms = partial(tuple.__new__, Terms)

    def _scan(window: bytes) -> tuple[Terms, Parts]:
        terms, parts = _native.scan(window)
        return _terms(terms), parts

    read_file, scan = _native.read_file, _scan
