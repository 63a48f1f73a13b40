"""What the receiver says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mailhaul.proto.errors import StagingError
from mailhaul.proto.structs import replace
from mailhaul.worker.staging.receiver_status import (
    STATUS_FILE,
    ReceiverStatus,
    RefusedStranger,
    StreamStatus,
    write_status,
)

STATUS = ReceiverStatus(
    time=1000.5,
    started=900.0,
    pid=1234,
    endpoint="tcp://127.0.0.1:7400",
    streams=(
        StreamStatus(
            file="primary/user/x.0.0123456789abcdef.mha",
            host="store01",
            epoch=1,
            written_bytes=5,
            waiting="",
            since=950.0,
        ),
    ),
    connections=1,
    free_bytes=10,
    total_bytes=20,
    reserve_bytes=5,
    received_bytes=5,
    read_bytes=0,
    seals=0,
    credit_stalls=0,
    credit_stall_seconds=0.0,
    refused=0,
    fenced=0,
    malformed=0,
    strangers=1,
    last_strangers=(RefusedStranger(time=990.0, address="10.0.0.1", reason="the key is not allowed"),),
)


def test_it_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_status(tmp_path, STATUS)
    write_status(tmp_path, replace(STATUS, seals=7, streams=()))
    told = json.loads((tmp_path / STATUS_FILE).read_text())
    assert told["seals"] == 7
    assert told["streams"] == []
    assert told["last_strangers"] == [
        {"time": 990.0, "address": "10.0.0.1", "reason": "the key is not allowed"}
    ]
    assert [path.name for path in (tmp_path / ".mailhaul").iterdir()] == ["receiver.json"]


def test_a_place_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / ".mailhaul").write_bytes(b"")
    with pytest.raises(StagingError):
        write_status(tmp_path, STATUS)
