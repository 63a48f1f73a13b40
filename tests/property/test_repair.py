"""Whatever was done to an archive: what is said to be lost is lost, and a repair keeps all the rest."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.errors import DamagedError, UnsupportedError
from mailhaul.worker.verifying.repair import repair
from mailhaul.worker.verifying.verify import broken_stretches, verify_archive, verify_frames, verify_sample

from ..archives import MemoryFile, MemorySink, expected, open_any, read_archive, write_archive
from ..checking import losses_of

RNG = random.Random(4)
MAILBOXES = {
    user: {
        name: [b"h: %d\n\n" % n + RNG.randbytes(RNG.randrange(40_000)) for n in range(9)] for name in folders
    }
    for user, folders in {"alice": ("INBOX", "Sent"), "bob": ("INBOX",), "carol": ("INBOX", "Trash")}.items()
}
DATA = write_archive(MAILBOXES)
WHOLE = expected(MAILBOXES)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """With some bytes changed; sometimes with a stretch cut out or overwritten, too, or without its end."""
    data = bytearray(DATA)
    for at in draw(st.lists(st.integers(0, len(DATA) - 1), max_size=6)):
        data[at] ^= draw(st.integers(1, 255))
    kind = draw(st.sampled_from(["flips", "cut out", "overwritten", "cut off"]))
    at, length = draw(st.integers(0, len(DATA) - 1)), draw(st.integers(1, len(DATA) // 3))
    if kind == "cut out":
        del data[at : at + length]
    elif kind == "overwritten":
        data[at : at + length] = bytes(len(data[at : at + length]))
    elif kind == "cut off":
        del data[at:]
    return bytes(data)


@settings(max_examples=60)
@given(damaged())
def test_what_is_lost_is_told_and_a_repair_keeps_the_rest(data: bytes) -> None:
    file = MemoryFile(data)
    try:
        report = verify_archive(file, lambda _: None)
        verify_sample(file, 0.5, random.Random(1))
        archive = open_any(data)
    except (DamagedError, UnsupportedError):
        return
    assert bool(report.damaged) == (data != DATA)
    before, _ = read_archive(archive)
    told = [loss.path for loss in losses_of(archive, damaged=True).losses]
    for (user, folder), messages in WHOLE.items():
        whose = f"/primary/user/{user}"
        if archive.entry(user) is None:  # the report of the archive tells of that
            assert report.damaged
        elif not {whose, f"{whose}/{folder}"} & set(told):
            named = [one for one in told if one.startswith(f"{whose}/{folder}/")]
            assert len(named) == len(messages) - len(before[user, folder])

    sink = MemorySink()
    repair(archive, sink, broken=broken_stretches(archive), dead=(), fillings=())
    written = MemoryFile(bytes(sink.data))
    assert verify_frames(written).damaged == ()
    after, _ = read_archive(open_sealed(written))
    assert after == before
