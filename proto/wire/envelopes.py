"""The envelopes: every message that client and receiver may send each other, and their bytes.

An envelope is a msgpack list: the number of its kind, then its fields in the order of the class. Bulk goes
beside it as a payload, and is not looked at here. WIRE.md is the specification.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, cast, get_args, get_type_hints

import msgpack

from ..archive.draft import MOST_DRAFT_BYTES
from ..archive.frames import HEADER_BYTES, LARGEST_FRAME
from ..errors import BackupError
from ..structs import Record, field_names
from .fields import Blob, Field, Flag, OneOf, Seconds, Text, Whole

VERSION = 4
"""The version that this code speaks; Hello and Welcome carry it."""

MOST_ENVELOPE_BYTES = 64 << 10
"""No envelope is longer; one that is, is refused before anything is decoded."""

MOST_EVENT_BYTES = 16 << 10
MOST_GRANT_BYTES = 1 << 10
MOST_FILE_BYTES = 512
MOST_READ_BYTES = 1 << 20
MOST_ASK_BYTES = 64 << 10
MOST_REPLY_BYTES = 1 << 20
MOST_DATA_BYTES = HEADER_BYTES + LARGEST_FRAME
"""One frame of an archive of the largest size; several frames together are to be about 1 MiB."""

HOST_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What the name of a host looks like: its keys are files of that name."""


class WireError(BackupError):
    """What came, or was to be sent, is no envelope; or a socket could not be set up."""

    code = "wire"


class Sender(Enum):
    """Which side sends an envelope."""

    CLIENT = "client"
    RECEIVER = "receiver"


Version = Annotated[int, Whole(1, (1 << 16) - 1)]
Number = Annotated[int, Whole(0, (1 << 32) - 1)]
Offset = Annotated[int, Whole(0, (1 << 63) - 1)]
Have = Annotated[int, Whole(-1, (1 << 63) - 1)]
ReadBytes = Annotated[int, Whole(1, MOST_READ_BYTES)]
SizeBytes = Annotated[int, Whole(1, (1 << 32) - 1)]
LeaseSeconds = Annotated[float, Seconds(86_400)]
Host = Annotated[str, Text(100, HOST_NAME)]
File = Annotated[str, Text(MOST_FILE_BYTES)]
Token = Annotated[bytes, Blob(MOST_GRANT_BYTES)]
Event = Annotated[bytes, Blob(MOST_EVENT_BYTES)]
Note = Annotated[str, Text(2000)]
Code = Annotated[str, Text(64, "[a-z0-9-]+")]
Subject = Annotated[str, OneOf(("stream", "request", "hello"))]
Truth = Annotated[bool, Flag()]


class Hello(Record):
    """The first after each (re)connect. Answer: Welcome, or Refused. Its form is the same in all versions."""

    version: Version
    host: Host


class Open(Record):
    """Begin or continue an archive. Answer: Opened, or Refused.

    ``have`` is -1 for a new attempt, which wants to know what there is; else the stream continues after a
    reconnect, and the client still holds all bytes from ``have`` on.
    """

    stream: Number
    grant: Token
    have: Have


class Data(Record):
    """With a payload: whole frames of the archive, which belong at ``offset``. Answer: Credit, in time."""

    stream: Number
    offset: Offset


class Checkpoint(Record):
    """A mailbox is complete at ``offset``. Answer: Durable, in time."""

    stream: Number
    offset: Offset


class Seal(Record):
    """The archive is complete and has ``size`` bytes. Answer: Sealed, or Refused."""

    stream: Number
    size: Offset


class Close(Record):
    """The client gives up; what was written stays. No answer."""

    stream: Number


class Find(Record):
    """How large is this archive? Answer: Found, or Refused."""

    request: Number
    grant: Token
    file: File


class Read(Record):
    """A stretch of a file. Answer: Bytes, or Refused."""

    request: Number
    grant: Token
    file: File
    offset: Offset
    length: ReadBytes


class Ping(Record):
    """The client lives; does the receiver? Answer: Pong."""

    number: Number


class Tell(Record):
    """How far the client has come, for those who watch. No answer."""

    event: Event


class Watch(Record):
    """From here on the client wants to know what others tell. Answers: Told, as it happens."""


class Ask(Record):
    """With a payload: something for the coordinator, about operations. Answer: Reply, or Refused."""

    request: Number


class Welcome(Record):
    """The answer to Hello: what the receiver asks of its clients."""

    version: Version
    lease_seconds: LeaseSeconds
    window_bytes: SizeBytes
    chunk_bytes: SizeBytes


class Opened(Record):
    """The archive has ``size`` bytes in ``frames`` frames. The payload, if any, is the encoded draft."""

    stream: Number
    size: Offset
    frames: Offset
    sealed: Truth


class Credit(Record):
    """All below ``written`` is in the file, and the client may send what lies below ``until``.

    ``waiting`` says why it may not send more now; empty where nothing is the matter.
    """

    stream: Number
    until: Offset
    written: Offset
    waiting: Note


class Durable(Record):
    """All below ``offset`` survives a crash of the staging host."""

    stream: Number
    offset: Offset


class Sealed(Record):
    """The archive is whole, durable, and has its final name."""

    stream: Number
    size: Offset


class Refused(Record):
    """The receiver does not do it. ``number`` is that of the stream or request (0 for a hello), ``code``
    that of an error of ``proto.errors``, ``message`` for people."""

    what: Subject
    number: Number
    code: Code
    message: Note
    retryable: Truth


class Found(Record):
    """The answer to Find."""

    request: Number
    size: Offset


class Bytes(Record):
    """The answer to Read, with the bytes as payload: fewer than asked for only at the end of the file."""

    request: Number
    offset: Offset


class Pong(Record):
    """The answer to Ping."""

    number: Number


class Told(Record):
    """What a client on ``host`` told."""

    host: Host
    event: Event


class Reply(Record):
    """The answer to Ask, with a payload: what the coordinator says."""

    request: Number


Envelope = (
    Hello
    | Open
    | Data
    | Checkpoint
    | Seal
    | Close
    | Find
    | Read
    | Ping
    | Tell
    | Watch
    | Ask
    | Welcome
    | Opened
    | Credit
    | Durable
    | Sealed
    | Refused
    | Found
    | Bytes
    | Pong
    | Told
    | Reply
)


class Kind(Record, kw_only=True):
    """A row of the table of envelopes. The payload has from ``least_payload`` to ``most_payload`` bytes."""

    number: int
    envelope: type[Envelope]
    sender: Sender
    least_payload: int = 0
    most_payload: int = 0
    fields: tuple[tuple[str, Field], ...]


def _kind(
    number: int, envelope: type[Envelope], sender: Sender, least_payload: int = 0, most_payload: int = 0
) -> Kind:
    hints = get_type_hints(envelope, include_extras=True)
    return Kind(
        number=number,
        envelope=envelope,
        sender=sender,
        least_payload=least_payload,
        most_payload=most_payload,
        fields=tuple((name, get_args(hints[name])[1]) for name in field_names(envelope)),
    )


KINDS: tuple[Kind, ...] = (
    _kind(1, Hello, Sender.CLIENT),
    _kind(2, Open, Sender.CLIENT),
    _kind(3, Data, Sender.CLIENT, 1, MOST_DATA_BYTES),
    _kind(4, Checkpoint, Sender.CLIENT),
    _kind(5, Seal, Sender.CLIENT),
    _kind(6, Close, Sender.CLIENT),
    _kind(7, Find, Sender.CLIENT),
    _kind(8, Read, Sender.CLIENT),
    _kind(9, Ping, Sender.CLIENT),
    _kind(10, Tell, Sender.CLIENT),
    _kind(11, Watch, Sender.CLIENT),
    _kind(12, Ask, Sender.CLIENT, 1, MOST_ASK_BYTES),
    _kind(65, Welcome, Sender.RECEIVER),
    _kind(66, Opened, Sender.RECEIVER, 0, MOST_DRAFT_BYTES),
    _kind(67, Credit, Sender.RECEIVER),
    _kind(68, Durable, Sender.RECEIVER),
    _kind(69, Sealed, Sender.RECEIVER),
    _kind(70, Refused, Sender.RECEIVER),
    _kind(71, Found, Sender.RECEIVER),
    _kind(72, Bytes, Sender.RECEIVER, 0, MOST_READ_BYTES),
    _kind(73, Pong, Sender.RECEIVER),
    _kind(74, Told, Sender.RECEIVER),
    _kind(75, Reply, Sender.RECEIVER, 1, MOST_REPLY_BYTES),
)
"""Every envelope. A number that was released never means anything else."""

_BY_NUMBER = {kind.number: kind for kind in KINDS}
_BY_CLASS: dict[type, Kind] = {kind.envelope: kind for kind in KINDS}
_MOST_FIELDS = 1 + max(len(kind.fields) for kind in KINDS)


def encode(envelope: Envelope) -> bytes:
    """The bytes of an envelope. Raises WireError if a field holds what it must not."""
    kind = _BY_CLASS[type(envelope)]
    row: list[object] = [kind.number]
    for name, field in kind.fields:
        value = getattr(envelope, name)
        if type(field) is Seconds and type(value) is int:
            value = float(value)
        _check(kind, name, field, value)
        row.append(value)
    return cast(bytes, msgpack.packb(row))


def decode(data: bytes | memoryview) -> Envelope:
    """The envelope that these bytes are. Raises WireError, whatever they are."""
    if len(data) > MOST_ENVELOPE_BYTES:
        raise WireError(f"an envelope of {len(data)} bytes is too long")
    row = _unpack(data)
    number = row[0] if row else None
    kind = _BY_NUMBER.get(number) if type(number) is int else None
    if kind is None:
        raise WireError("there is no such kind of envelope")
    values = row[1:]
    if len(values) != len(kind.fields):
        raise WireError(f"{kind.envelope.__name__} has {len(kind.fields)} fields, not {len(values)}")
    for (name, field), value in zip(kind.fields, values, strict=True):
        _check(kind, name, field, value)
    make = cast(Any, kind.envelope)
    return cast(Envelope, make(*values))


def check_payload(envelope: Envelope, size_bytes: int, sender: Sender) -> None:
    """Raises WireError if this side must not send such an envelope, or not with a payload of this size."""
    kind = _BY_CLASS[type(envelope)]
    name = kind.envelope.__name__
    if kind.sender is not sender:
        raise WireError(f"{name} is not for a {sender.value} to send")
    if not kind.least_payload <= size_bytes <= kind.most_payload:
        raise WireError(f"{name} must not have a payload of {size_bytes} bytes")


def _unpack(data: bytes | memoryview) -> list[object]:
    try:
        row = msgpack.unpackb(
            data,
            max_str_len=MOST_EVENT_BYTES,
            max_bin_len=MOST_EVENT_BYTES,
            max_array_len=_MOST_FIELDS,
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise WireError(f"this is no envelope: {error}"[:300]) from error
    if type(row) is not list:
        raise WireError("an envelope is a list")
    return cast(list[object], row)


def _check(kind: Kind, name: str, field: Field, value: object) -> None:
    try:
        field.check(value)
    except ValueError as error:
        raise WireError(f"{kind.envelope.__name__}: {name} {error}") from error
