"""What an operation prints is bounded, and who carries it out is known from its lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhaul.coordinator.serving.files import (
    Output,
    Said,
    carrying_out,
    file_of,
    forget_old,
    is_carried_out,
    open_output,
    open_stderr,
    read_output,
    read_stderr,
)
from mailhaul.proto.errors import LockedError


def test_an_operation_is_carried_out_by_one_process(tmp_path: Path) -> None:
    assert not is_carried_out(tmp_path, 3)
    with carrying_out(tmp_path, 3):
        assert is_carried_out(tmp_path, 3)
        assert not is_carried_out(tmp_path, 4)
        with pytest.raises(LockedError, match="operation 3 is being carried out"), carrying_out(tmp_path, 3):
            pass
    assert not is_carried_out(tmp_path, 3)


def test_output_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    assert read_output(tmp_path, 1) is None
    with Output(open_output(tmp_path, 1), most_bytes=10) as output:
        output.write(b"12345")
        output.write(b"67890")
    assert read_output(tmp_path, 1) == b"1234567890"
    with Output(open_output(tmp_path, 1), most_bytes=10) as output:
        for _ in range(3):
            output.write(b"12345")
        output.write(b"1")
    assert read_output(tmp_path, 1) is None
    assert file_of(tmp_path, 1, "out").stat().st_mode & 0o777 == 0o600


def test_of_what_is_said_the_last_is_kept(tmp_path: Path) -> None:
    said = Said(file_of(tmp_path, 1, "err"), open_stderr(tmp_path, 1), most_bytes=100)
    for number in range(100):
        said.write(f"line {number}\nhalf ".encode())
        said.write(b"of it\n")
    said.write(b"not ended")
    said.close()
    text = read_stderr(tmp_path, 1)
    assert text.endswith("line 99\nhalf of it\nnot ended")
    assert len(text) < 300
    assert list(said.lines)[-2:] == ["line 99", "half of it"]
    assert len(said.lines) == 5
    with Said(file_of(tmp_path, 1, "err"), open_stderr(tmp_path, 1)) as more:
        more.write(b" yet\n")
    assert read_stderr(tmp_path, 1).endswith("not ended yet\n")


def test_files_of_old_operations_go(tmp_path: Path) -> None:
    for number in (1, 2, 1003):
        for kind in ("lock", "json", "out", "err"):
            with carrying_out(tmp_path, number):
                file_of(tmp_path, number, kind).touch()
    (tmp_path / ".mailhaul" / "operations" / "other").touch()
    forget_old(tmp_path, 1002)
    left = {path.name for path in (tmp_path / ".mailhaul" / "operations").iterdir()}
    assert left == {"other", *(f"1003.{kind}" for kind in ("lock", "json", "out", "err"))}
