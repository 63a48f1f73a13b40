"""WIRE.md and the code say the same: kinds, fields, limits, grants; worked examples, byte for byte."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from mailhaul.proto import errors
from mailhaul.proto.wire import envelopes, grants, sockets, tasks
from mailhaul.proto.wire.envelopes import KINDS, Kind, Sender, decode, encode
from mailhaul.tests.receiving import pair_of


@pytest.fixture(scope="module")
def document() -> str:
    return (Path(envelopes.__file__).parent / "WIRE.md").read_text()


def section(document: str, title: str) -> str:
    found = re.search(
        rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |^\1 |\Z)", document, re.DOTALL | re.MULTILINE
    )
    assert found, f"no section {title!r}"
    return found[2]


def table(text: str, number: int = 0) -> list[list[str]]:
    """The rows of one of the tables of a section, without its head."""
    starts = [found.start() + 1 for found in re.finditer(r"(?<!\|)\n\|", text)]
    rows = list(takewhile(lambda line: line.startswith("|"), text[starts[number] :].splitlines()))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in rows[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def payload(kind: Kind) -> str:
    return f"{kind.least_payload:,} to {kind.most_payload:,}" if kind.most_payload else "none"


@pytest.mark.parametrize(
    ("title", "sender"),
    [("What a client sends", Sender.CLIENT), ("What a receiver sends", Sender.RECEIVER)],
)
def test_kinds(document: str, title: str, sender: Sender) -> None:
    rows = table(section(document, title))
    assert [(int(row[0]), names(row[1]), names(row[2]), row[3]) for row in rows] == [
        (kind.number, [kind.envelope.__name__], [name for name, _ in kind.fields], payload(kind))
        for kind in KINDS
        if kind.sender is sender
    ]
    # The answers are envelopes of the other side; what a loss means is said of each.
    others = {kind.envelope.__name__ for kind in KINDS if kind.sender is not sender}
    assert all(set(names(row[4])) <= others and row[5] for row in rows)


def test_fields(document: str) -> None:
    told = {row[0].strip("`"): row[1] for row in table(section(document, "Fields"))}
    for kind in KINDS:
        for name, field in kind.fields:
            assert told[name] == str(field), (kind.envelope.__name__, name)
    assert set(told) == {name for kind in KINDS for name, _ in kind.fields}


def test_fields_of_a_grant(document: str) -> None:
    rows = table(section(document, "Grants"), 1)
    assert [(row[0].strip("`"), row[1]) for row in rows] == [
        (name, str(field)) for name, field in grants.FIELDS
    ]


def test_limits_in_the_text(document: str) -> None:
    assert f"at most {envelopes.MOST_ENVELOPE_BYTES:,} bytes" in section(document, "Messages")
    timing = sockets.Timing()
    connections = " ".join(section(document, "Connections").split())
    assert f"is {sockets.NAME_BYTES} bytes that the client chooses" in connections
    assert f"heartbeats, each {timing.heartbeat:g} s" in connections
    assert f"nothing was heard for {timing.heartbeat_timeout:g} s" in connections
    assert f"no more than {timing.handshake:g} s" in connections
    assert f"after {timing.reconnect_first:g} s" in connections
    assert f"up to {timing.reconnect_most:g} s" in connections


def test_codes_of_refusals_are_those_of_errors(document: str) -> None:
    codes = {row[0].strip("`") for row in table(section(document, "Codes of a refusal"))}
    ours = {value.code for value in vars(errors).values() if hasattr(value, "code")}
    assert codes - ours == {"closed"}


def test_version(document: str) -> None:
    assert int(table(section(document, "Versions"))[-1][0]) == envelopes.VERSION


class TestWorkedExamples:
    def test_every_kind_has_one_which_is_encoded_and_decoded(self, document: str) -> None:
        shown: set[type] = set()
        for text, bytes_shown in table(section(document, "Worked examples")):
            envelope: Any = eval(text.strip("`"), vars(envelopes).copy())
            data = bytes.fromhex(bytes_shown.strip("`"))
            assert (encode(envelope), decode(data)) == (data, envelope)
            assert f"`{envelope!r}`" == text
            shown.add(type(envelope))
        assert shown == {kind.envelope for kind in KINDS}

    def test_a_grant(self, document: str) -> None:
        text = section(document, "A grant")
        found = re.search(r"`(Grant\(.*\))`", text)
        block = re.search(r"```hex\n(.*?)```", text, re.DOTALL)
        assert found
        assert block
        grant = eval(found[1], vars(grants).copy())
        token = bytes.fromhex(block[1])
        secret = bytes(range(32))
        assert grants.issue(secret, grant) == token
        assert grants.check(secret, token, grant.expires - 1) == grant

    def test_a_sealed_task(self, document: str) -> None:
        block = re.search(r"```hex\n(.*?)```", section(document, "A sealed task"), re.DOTALL)
        assert block
        host, worker = pair_of(bytes(range(32))), pair_of(bytes(range(32, 64)))
        assert tasks.open_task(bytes.fromhex(block[1]), "store01", host, worker) == b"task\n"

    def test_a_sealed_task_by_the_document_alone(self, document: str) -> None:
        told = section(document, "Sealed tasks")
        block = re.search(r"```hex\n(.*?)```", section(document, "A sealed task"), re.DOTALL)
        assert block
        data = bytes.fromhex(block[1])
        suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
        assert data[:4] == bytes.fromhex("6d 68 74 01")
        data = data[4:]
        for info, private in zip(
            re.findall(r"the text `([^`]*)`", told), (range(32), range(32, 64)), strict=True
        ):
            key = X25519PrivateKey.from_private_bytes(bytes(private))
            data = suite.decrypt(data, key, info.encode() + b"store01")
        assert data == b"task\n"
