"""Envelopes: what goes in comes out, and nothing else does, whatever the bytes are."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.wire import envelopes as wire
from mailhaul.proto.wire.envelopes import KINDS, Envelope, Kind, Sender, WireError, decode, encode
from mailhaul.proto.wire.fields import Blob, Field, Flag, OneOf, Seconds, Text, Whole

FOREIGN = [None, True, -(2**63), 2**64 - 1, 1.5, float("nan"), "x" * 3000, b"x" * 20_000, [], [1], "\x00"]


def values(field: Field) -> st.SearchStrategy[Any]:
    """What a field may hold, limits included."""
    if isinstance(field, Whole):
        return st.integers(field.least, field.most)
    if isinstance(field, Seconds):
        return st.floats(0, field.most, exclude_min=True)
    if isinstance(field, Text):
        plain = st.text(max_size=field.most_bytes // 4)
        return st.from_regex(field.pattern, fullmatch=True) if field.pattern else plain
    if isinstance(field, Blob):
        return st.binary(max_size=field.most_bytes)
    if isinstance(field, OneOf):
        return st.sampled_from(field.words)
    assert isinstance(field, Flag)
    return st.booleans()


def envelopes(kinds: tuple[Kind, ...] = KINDS) -> st.SearchStrategy[Envelope]:
    """Any envelope at all."""
    made: list[st.SearchStrategy[Any]] = [
        st.builds(kind.envelope, *(values(field) for _, field in kind.fields)) for kind in kinds
    ]
    return st.one_of(made)


def example(kind: Kind, **changed: object) -> Any:
    """An envelope of a kind with plain values."""
    plain: dict[type, object] = {Whole: 1, Seconds: 1.0, Text: "a", Blob: b"b", Flag: True}
    fields = {
        name: field.words[0] if isinstance(field, OneOf) else plain[type(field)]
        for name, field in kind.fields
    }
    make: Any = kind.envelope
    return make(**{**fields, **changed})


def is_refused(data: bytes) -> bool:
    try:
        decode(data)
    except WireError:
        return True
    return False


class TestRoundTrip:
    @given(envelopes())
    def test_any(self, envelope: Envelope) -> None:
        data = encode(envelope)
        assert len(data) <= wire.MOST_ENVELOPE_BYTES
        assert decode(data) == decode(memoryview(data)) == envelope

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.envelope.__name__)
    def test_at_the_limits(self, kind: Kind) -> None:
        for name, field in kind.fields:
            for value in limits(field):
                envelope = example(kind, **{name: value})
                assert decode(encode(envelope)) == envelope

    def test_whole_seconds_are_taken_for_a_float(self) -> None:
        welcome = decode(encode(wire.Welcome(1, 30, 1, 1)))
        assert isinstance(welcome, wire.Welcome)
        assert (welcome.lease_seconds, type(welcome.lease_seconds)) == (30.0, float)


def limits(field: Field) -> list[object]:
    if isinstance(field, Whole):
        return [field.least, field.most]
    if isinstance(field, Seconds):
        return [5e-324, field.most]
    if isinstance(field, Text):
        return ["a" * field.most_bytes] if field.pattern else ["", "é" * (field.most_bytes // 2), "\x00"]
    if isinstance(field, Blob):
        return [b"", b"\xff" * field.most_bytes]
    return []


def beyond(field: Field) -> list[object]:
    """What a field must not hold; of every other type, and just over its limits."""
    if isinstance(field, Whole):
        return [field.least - 1, field.most + 1, True, 1.0, "1", None, b"1"]
    if isinstance(field, Seconds):
        return [0.0, -1.0, field.most + 1, float("nan"), float("inf"), "1", None, True]
    if isinstance(field, Text):
        over = "a" * (field.most_bytes + 1)
        return [over, "é" * (field.most_bytes // 2 + 1), b"a", 1, None, "\ud800"] + (
            ["", "a b", "a\n", "é", "../a"] if field.pattern else []
        )
    if isinstance(field, Blob):
        return [b"x" * (field.most_bytes + 1), "x", None, 1, bytearray(b"x")]
    if isinstance(field, OneOf):
        return ["", "other", None, 1, field.words[0].encode()]
    return [0, 1, None, "true"]


class TestFields:
    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.envelope.__name__)
    def test_out_of_range_is_neither_sent_nor_taken(self, kind: Kind) -> None:
        for at, (name, field) in enumerate(kind.fields):
            for value in beyond(field):
                envelope = example(kind, **{name: value})
                with pytest.raises(WireError, match=name):
                    encode(envelope)
                row = list(msgpack.unpackb(encode(example(kind))))
                row[at + 1] = value
                try:
                    data = msgpack.packb(row)
                except (UnicodeEncodeError, OverflowError):
                    continue  # no bytes are such a value
                if isinstance(value, bytearray):
                    continue  # the same bytes as a value that is right
                assert is_refused(data), (name, value)

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.envelope.__name__)
    def test_as_many_as_there_are(self, kind: Kind) -> None:
        row = list(msgpack.unpackb(encode(example(kind))))
        assert is_refused(msgpack.packb([*row, 1]))
        assert is_refused(msgpack.packb(row[:-1]))


class TestPayload:
    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.envelope.__name__)
    def test_only_where_there_may_be_one_and_from_the_right_side(self, kind: Kind) -> None:
        envelope = example(kind)
        other = Sender.CLIENT if kind.sender is Sender.RECEIVER else Sender.RECEIVER
        wire.check_payload(envelope, kind.least_payload, kind.sender)
        wire.check_payload(envelope, kind.most_payload, kind.sender)
        for size, sender in (
            (kind.least_payload - 1, kind.sender),
            (kind.most_payload + 1, kind.sender),
            (kind.least_payload, other),
        ):
            with pytest.raises(WireError):
                wire.check_payload(envelope, size, sender)


class TestHostileBytes:
    """Whatever comes, decode gives an envelope that encodes to something equal, or raises WireError."""

    @given(st.binary(max_size=200))
    def test_noise(self, data: bytes) -> None:
        self.judge(data)

    @given(st.recursive(st.sampled_from(FOREIGN), lambda inner: st.lists(inner, max_size=8), max_leaves=12))
    def test_msgpack_of_another_shape(self, value: object) -> None:
        self.judge(msgpack.packb(value))

    @given(st.sampled_from(KINDS), st.lists(st.sampled_from(FOREIGN), max_size=7))
    def test_foreign_values(self, kind: Kind, row: list[object]) -> None:
        self.judge(msgpack.packb([kind.number, *row]))

    def test_ten_thousand_mutations(self) -> None:
        source = random.Random(20_261_121)
        good = [encode(example(kind)) for kind in KINDS]
        outcomes = [self.judge(self.mutated(source, good)) for _ in range(10_000)]
        # Both happen, or the mutations say nothing.
        assert min(outcomes.count(True), outcomes.count(False)) > 500

    def mutated(self, source: random.Random, good: list[bytes]) -> bytes:
        data = bytearray(source.choice(good))
        for _ in range(source.randint(1, 3)):
            at = source.randrange(len(data) + 1)
            match source.randrange(5):
                case 0:
                    data[at : at + 1] = bytes([source.randrange(256)])
                case 1:
                    del data[at : at + source.randint(1, 4)]
                case 2:
                    data[at:at] = source.randbytes(source.randint(1, 8))
                case 3:
                    data[at:] = source.choice(good)[at:]
                case _:
                    # The bytes by which msgpack begins long things, and what claims to be their length.
                    data[at:at] = bytes([source.randrange(0xC0, 0xE0)]) + b"\xff" * source.randint(0, 8)
        return bytes(data)

    def judge(self, data: bytes) -> bool:
        try:
            envelope = decode(data)
        except WireError:
            return False
        assert decode(encode(envelope)) == envelope
        return True

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x90",
            b"\xc0",
            b"\x01",
            b"\x91\xc0",
            b"\x91\x80",
            b"\x91\x81\x01\x02",
            b"\x91\xc7\x00\x01",
            b"\x91\xd6\xff\x00\x00\x00\x00",
            b"\x92\x09\xd6\xff\x00\x00\x00\x00",
            b"\x92\x09\xd4\x05\x00",
            b"\x92\x09\x01\x00",
            b"\x91\x09",
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xff",
            b"\x91\xc1",
            b"\xdc\x00\x06" + b"\x01" * 5,
            b"\x92\x0a\xa5event",
            b"\x92\x09\xca\x3f\x80\x00\x00",
        ],
        ids=bytes.hex,
    )
    def test_named_cases(self, data: bytes) -> None:
        with pytest.raises(WireError):
            decode(data)

    @pytest.mark.parametrize(
        "data",
        [
            b"\x91" * 65_536,
            b"\x95" * 65_536,
            b"\x96" + b"\x96\x90\x90\x90\x90\x90\x90" * 9_362,
            b"\x81" * 65_536,
            b"\x90" * 65_536,
            b"\x92\x0a\xc5\xff\xf0" + b"x" * 65_520,
        ],
        ids=["deep", "deep and wide", "wide", "maps", "many", "long"],
    )
    def test_cost_is_bounded(self, data: bytes) -> None:
        tracemalloc.start()
        try:
            with pytest.raises(WireError):
                decode(data[: wire.MOST_ENVELOPE_BYTES])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8 << 20

    def test_what_is_too_long_is_not_even_looked_at(self) -> None:
        class Untouchable(bytes):
            def __len__(self) -> int:
                return wire.MOST_ENVELOPE_BYTES + 1

        with pytest.raises(WireError, match="too long"):
            decode(Untouchable(encode(wire.Ping(1))))


def test_numbers_of_kinds_differ_and_tell_the_side() -> None:
    assert len({kind.number for kind in KINDS}) == len({kind.envelope for kind in KINDS}) == len(KINDS)
    assert all((kind.number < 64) is (kind.sender is Sender.CLIENT) for kind in KINDS)
