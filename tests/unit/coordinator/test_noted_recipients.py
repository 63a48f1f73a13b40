"""What is on record beside keys: for whom the last runs encrypted; and which directory that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhaul.coordinator.keys_directory import keys_directory, point_to, refuse_inside, was_said
from mailhaul.coordinator.noted_recipients import NotedRecipients, note_recipients, noted_recipients
from mailhaul.proto.errors import ConfigError, StagingError
from mailhaul.proto.keys.recipients import recipient
from mailhaul.proto.keys.records import Kem

OPS = recipient("ops", Kem.X25519, bytes(32))
AREA = "0" * 32


def test_those_of_before_stay_when_a_run_has_none(tmp_path: Path) -> None:
    assert noted_recipients(tmp_path, AREA) == NotedRecipients()
    assert noted_recipients(tmp_path, AREA).are_encrypted
    note_recipients(tmp_path, AREA, [OPS], erasable=True)
    assert noted_recipients(tmp_path, AREA) == NotedRecipients(
        encrypts=True, recipients=(OPS,), erasable=True, vault=True
    )
    note_recipients(tmp_path, AREA, [])
    noted = noted_recipients(tmp_path, AREA)
    assert noted == NotedRecipients(recipients=(OPS,), vault=True)
    assert not noted.are_encrypted


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"encrypts": true}', b'{"encrypts": true, "recipients": [["ops", "x"]]}']
)
def test_a_record_that_is_damaged_is_said_to_be(tmp_path: Path, data: bytes) -> None:
    (tmp_path / f"{AREA}.recipients").write_bytes(data)
    with pytest.raises(StagingError, match=r"\.recipients: can't be read"):
        noted_recipients(tmp_path, AREA)
    with pytest.raises(StagingError):
        note_recipients(tmp_path, AREA, [OPS])


def test_the_directory_is_what_the_area_says_but_never_inside_of_it(tmp_path: Path) -> None:
    staging, keys = tmp_path / "staging", tmp_path / "keys"
    assert keys_directory(staging) is None
    assert not was_said(staging)
    assert was_said(staging)
    assert keys_directory(staging) is None
    point_to(keys, staging)
    assert keys_directory(staging) == keys
    assert was_said(staging)
    inside = tmp_path / "link" / "keys"
    (tmp_path / "link").symlink_to(staging)
    point_to(inside, staging)
    assert keys_directory(staging) is None
    refuse_inside(keys, staging)
    with pytest.raises(ConfigError):
        refuse_inside(inside, staging)
