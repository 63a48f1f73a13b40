"""TAPE.md and the code that writes tapes say the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from blake3 import blake3

from mailhaul.proto.errors import DamagedError, UnsupportedError
from mailhaul.proto.structs import replace
from mailhaul.worker.destinations.tape import headers
from mailhaul.worker.destinations.tape.contents import (
    LABEL_BYTES,
    LEAST_RECORD,
    MOST_RECORD,
    Entry,
    Label,
    decode_entry,
    decode_label,
    encode_catalog,
    encode_label,
    entry_fields,
)
from mailhaul.worker.destinations.tape.drive import Mark
from mailhaul.worker.destinations.tape.file_drive import FileDrive, TapeEnd
from mailhaul.worker.destinations.tape.headers import Kind, decode, encode

RECORD = 10_240
LABEL = Label(
    volume="1f0c7c1e-8d3b-4a52-9e0d-3c2b6a7f5e11",
    label="TAPE0001",
    pool="default",
    record_bytes=RECORD,
    made="2026-11-29T03:15:00+00:00",
)
DATA = b"fifteen bytes.\n"
BEGUN = Entry(name="primary/user/20261129T031500Z-4f3a.0.0123456789abcdef.mha", block=4, size_bytes=len(DATA))
ENTRY = replace(BEGUN, bytes=15, checksum=blake3(DATA).hexdigest(), written="2026-11-29T03:20:00+00:00")


@pytest.fixture(scope="module")
def document(root: Path) -> str:
    return (root / "worker/destinations/tape/TAPE.md").read_text()


@pytest.fixture(scope="module")
def examples(document: str) -> Mapping[str, bytes]:
    """The records in the document, by their kind."""
    found = re.findall(r"^```\n(mailhaul-tape 1 ([a-z-]+) .*\n.*)\n```", document, re.MULTILINE)
    return {kind: text.encode() for text, kind in found}


def test_the_label_of_the_document_is_what_is_written(examples: Mapping[str, bytes]) -> None:
    assert encode_label(LABEL) == examples["label"].ljust(LABEL_BYTES, b"\n")
    header = decode(examples["label"])
    assert header
    assert decode_label(header) == LABEL


def test_the_archive_of_the_document_is_what_is_written(examples: Mapping[str, bytes]) -> None:
    address = {"volume": LABEL.volume, "block": 4}
    assert encode(Kind.ARCHIVE, {**entry_fields(BEGUN), **address}, RECORD).rstrip() == examples["archive"]
    header, end = decode(examples["archive"]), decode(examples["archive-end"])
    assert header
    assert end
    assert decode_entry(header) == BEGUN
    assert (end.number("archive"), end.number("block"), end.number("bytes")) == (4, 6, 15)
    assert end.text("checksum") == blake3(DATA).hexdigest()


def test_the_catalog_of_the_document_is_what_is_written(examples: Mapping[str, bytes]) -> None:
    (record,) = encode_catalog(LABEL, [ENTRY], 7)
    assert record.rstrip() == examples["catalog"]
    header = decode(record)
    assert header
    assert [decode_entry(one) for one in header.documents("archives")] == [ENTRY]


def test_the_file_of_the_document_is_what_is_read(document: str, tmp_path: Path) -> None:
    found = re.search(r"^```\n((?:[0-9a-f]{2}[ \n])+)```", document, re.MULTILINE)
    assert found
    path = tmp_path / "volume.tap"
    path.write_bytes(bytes.fromhex(found[1]))
    drive = FileDrive(str(path), TapeEnd(capacity_bytes=1 << 30))
    assert [drive.read_record(), drive.read_record()] == [b"abc", Mark.FILEMARK]
    with pytest.raises(DamagedError):
        drive.read_record()
    assert drive.read_record() is Mark.END
    drive.rewind()
    drive.write_record(b"abc")
    drive.write_filemark()
    drive.write_record(b"d")
    drive.close()
    assert path.read_bytes() == bytes.fromhex(found[1].replace("80", "00"))


def test_sizes_and_kinds_are_those_of_the_document(document: str) -> None:
    assert f"record_bytes`, {LEAST_RECORD:,} to {MOST_RECORD:,}" in document
    assert f"label({LABEL_BYTES})" in document
    assert f"Version {headers.VERSION}." in document
    assert all(f"| `{kind}` |" in document for kind in Kind)


def test_a_long_catalog_takes_several_records() -> None:
    entries = [replace(ENTRY, block=100 + number) for number in range(200)]
    records = list(encode_catalog(LABEL, entries, 50))
    assert len(records) > 5
    found = []
    for number, record in enumerate(records):
        assert len(record) == RECORD
        header = decode(record)
        assert header
        assert (header.number("block"), header.number("part")) == (50 + number, number)
        assert header.number("parts") == len(records)
        found += [decode_entry(one) for one in header.documents("archives")]
    assert found == entries


@pytest.mark.parametrize("at", [5, 20, 40, 60, 200])
def test_a_changed_record_is_none(examples: Mapping[str, bytes], at: int) -> None:
    record = bytearray(examples["label"])
    record[at] ^= 1
    assert decode(bytes(record)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"block": -1}, {"block": "4"}, {"block": True}, {"block": 1 << 80}, {"name": 4}, {"size_bytes": 1.5},
        {"bytes": 9}, {"checksum": "f" * 65}, {"removed": 1},
    ],
)  # fmt: skip
def test_a_lying_entry_is_damage(fields: dict[str, object]) -> None:
    header = decode(encode(Kind.ARCHIVE, {"name": "a", "block": 4, "size_bytes": 8, **fields}, RECORD))
    assert header
    with pytest.raises(DamagedError):
        decode_entry(header)


def test_a_newer_version_is_refused(examples: Mapping[str, bytes]) -> None:
    with pytest.raises(UnsupportedError):
        decode(examples["label"].replace(b"mailhaul-tape 1", b"mailhaul-tape 2"))


@pytest.mark.parametrize("text", [b"", b"[]", b"[" * 5000, b"nothing", b'"text"', b"{}x"])
def test_what_is_no_document_is_no_record(text: bytes) -> None:
    check = headers._check(text)
    assert decode(b"mailhaul-tape 1 label " + check + b"\n" + text + b"\n") is None
