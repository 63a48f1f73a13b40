"""How a run ended, to and from the frames of an archive."""

from __future__ import annotations

import io
from pathlib import Path

import msgpack
import pytest

from mailhaul.proto.archive import run_end
from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.keys.records import NO_KEYS, Sealing
from mailhaul.proto.records import ArchiveId, RunId, Skipped
from mailhaul.proto.run_ends import RunEnd, ScopeEnd, UnitEnd
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import MemoryFile, frames_of
from mailhaul.tests.sealed import OF_A_HOST, SEALING
from mailhaul.worker.staging.sinks import StreamSink

ODD = "j\udcff\u00e9ne/example.org"
UNIT = UnitEnd(
    partition="primary",
    group="user",
    shard=3,
    state="sealed",
    archive=ArchiveId(bytes(range(16))),
    file="primary/user/x.3.0123456789abcdef.mha",
    attempts=2,
    error="",
    counts=tuple(range(12)),
    seconds=1.5,
    cpu_seconds=0.5,
    ended=1_795_298_400.0,
)
END = RunEnd(
    run=RunId("20261121T220000Z-4f3a"),
    started=1_795_298_300.0,
    ended=None,
    state="interrupted",
    resumed=1,
    paths="/primary",
    options="--full",
    narrowed=True,
    error="ended early: by Ctrl-C",
    units=(UNIT, replace(UNIT, shard=4, state="failed", archive=None, file="", error="gone", ended=None)),
    failed=(("second", "store-empty", "it lists nobody"),),
    left_out=(Skipped("/primary/user/x", "excluded-user"),),
    alarms=(Skipped("/primary", "mailboxes-gone", "3 of 4"),),
    skipped=((0, Skipped(f"/primary/user/{ODD}/7", "io-error", "EIO")),),
    scopes=(
        ScopeEnd(
            partition="primary",
            group="user",
            good="20261120T220000Z-4f3a",
            others=((ODD, "", "20261121T220000Z-4f3a", "mailbox", "no rights"),),
            passed_over=("x",),
        ),
        ScopeEnd(partition="primary", group="sales", good=""),
    ),
)


def written(end: RunEnd, path: Path) -> LocalFile:
    stream = io.BytesIO()
    run_end.write_run_end(end, StreamSink(stream, "stream"), ArchiveId(b"a" * 16), "a test")
    path.write_bytes(stream.getvalue())
    return LocalFile(str(path))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = written(END, tmp_path / "run.mha")
    assert run_end.read_run_end(file) == END
    archive = open_sealed(file)  # a reader of mail finds none
    assert (archive.header.partition, archive.header.shard, archive.directory.mailboxes) == ("-", 1, ())


def test_what_one_frame_cannot_hold(tmp_path: Path) -> None:
    many = tuple((0, Skipped(f"/primary/user/x/{number}", "io-error", "e" * 90)) for number in range(30_000))
    large = replace(END, skipped=many)
    assert len(list(run_end.encode(large))) > 2
    assert run_end.read_run_end(written(large, tmp_path / "run.mha")) == large


def test_damage_is_told(tmp_path: Path) -> None:
    whole = written(END, tmp_path / "run.mha")
    data = (tmp_path / "run.mha").read_bytes()
    whole.close()
    spoilt = 0
    for at in range(72, len(data), 97):
        broken = tmp_path / "broken.mha"
        broken.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            assert run_end.read_run_end(LocalFile(str(broken))) == END
        except DamagedError:
            spoilt += 1
    assert spoilt
    (tmp_path / "cut.mha").write_bytes(data[: len(data) // 3])
    with pytest.raises(DamagedError):
        run_end.read_run_end(LocalFile(str(tmp_path / "cut.mha")))


@pytest.mark.parametrize("sealing", [None, SEALING])
def test_a_frame_of_several_that_is_gone_is_missed(
    sealing: Sealing | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_end, "_PART_BYTES", 100)
    stream = io.BytesIO()
    run_end.write_run_end(END, StreamSink(stream, "stream"), ArchiveId(b"a" * 16), "a test", sealing=sealing)
    data = stream.getvalue()
    keys = OF_A_HOST if sealing else NO_KEYS
    assert run_end.read_run_end(MemoryFile(data), keys) == END
    found = frames_of(data, FrameType.RUN)
    assert len(found) > 3
    for frame in found:
        without = data[: frame.at] + bytes(frame.end - frame.at) + data[frame.end :]
        with pytest.raises(DamagedError):
            run_end.read_run_end(MemoryFile(without), keys)


@pytest.mark.parametrize(
    "change",
    [
        {"run": ""},
        {"started": "x"},
        {"units": 7},
        {"units": [[1, 2]]},
        {"skipped": [[9, "p", "r", "d"]]},
        {"scopes": [["p", "g"]]},
        {"mailboxes": [[0, "u"]]},
        {"passed_over": [[5, "u"]]},
        {"alarms": [["p", "r", 3]]},
        {"last": False},
    ],
)
def test_nonsense_is_damage(change: dict[str, object]) -> None:
    (payload,) = run_end.encode(END)
    row = msgpack.unpackb(payload, unicode_errors="surrogateescape") | change
    with pytest.raises(DamagedError):
        run_end.decode([msgpack.packb(row, unicode_errors="surrogateescape")])
    with pytest.raises(DamagedError):
        run_end.decode([])
