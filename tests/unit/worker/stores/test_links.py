"""Which symbolic links stay inside a mailbox."""

from __future__ import annotations

import pytest

from mailhaul.worker.stores.links import stays_inside


@pytest.mark.parametrize(
    ("link", "target", "above"),
    [
        (b"a", b"b", 0), (b"a", b"b/c", 0), (b"a", b"./b//c", 0), (b"a/b", b"../c", 0), (b"a/b", b"..", 0),
        (b"a", b"...", 0), (b"a", b"../b", 1), (b"a/b/c", b"../../d", 0), (b"a", b".", 0), (b"a", b"b/", 0),
    ],
)  # fmt: skip
def test_inside(link: bytes, target: bytes, above: int) -> None:
    assert stays_inside(link, target, above)


@pytest.mark.parametrize(
    ("link", "target", "above"),
    [
        (b"a", b"", 0), (b"a", b"/b", 0), (b"a", b"..", 0), (b"a", b"../b", 0), (b"a/b", b"../../c", 0),
        (b"a", b"b/../c", 0), (b"a", b"b/../../c", 0), (b"a", b"x\0", 0), (b"a", b"../../b", 1),
        (b"a", b"./../b", 0), (b"a", b"x" * 5000, 0), (b"a/b", b"../c/../../d", 0),
    ],
)  # fmt: skip
def test_outside(link: bytes, target: bytes, above: int) -> None:
    assert not stays_inside(link, target, above)
