"""A message to look at: what its header says, its text, what is attached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import pybase64

from ...proto.structs import Record
from ..browsing.charsets import decoded, guessed
from ..browsing.header_text import header_date, header_text
from . import headers, hypertext
from .hypertext import Hypertext
from .mime import Part, content_of, parts_of
from .visible import on_one_line, safe_file_name, visible

MOST_BYTES = 32 << 20
"""So much of a message is looked at; whoever reads it need not keep more."""

MOST_ATTACHMENTS = 200
"""So many attachments are listed."""

_TEXT_BYTES = 1 << 20
_TEXT_CHARACTERS = 256 << 10
_LONGEST_FIELD = 2000
_LONGEST_RAW_VALUE = 8 << 10
_HEADER_CHARACTERS = 128 << 10
_PICTURES_BYTES = 8 << 20
_PICTURES = frozenset(("image/png", "image/jpeg", "image/gif", "image/webp"))
_FIELDS = {
    b"from": "From",
    b"sender": "Sender",
    b"reply-to": "Reply-To",
    b"to": "To",
    b"cc": "Cc",
    b"bcc": "Bcc",
    b"subject": "Subject",
    b"date": "Date",
    b"message-id": "Message-ID",
}
_ENDINGS = {
    "application/pdf": ".pdf",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "message/rfc822": ".eml",
    "text/calendar": ".ics",
    "text/html": ".html",
    "text/plain": ".txt",
}
_READ_AS_TEXT = frozenset(("message/delivery-status", "message/disposition-notification"))


class Attachment(Record, kw_only=True):
    """A part that is kept apart. ``name`` is safe for a file, ``size_bytes`` about what it takes."""

    number: int
    name: str
    kind: str
    size_bytes: int


class ShownMessage(Record, kw_only=True):
    """A message as a page or a program shows it. All texts are bounded, and may be put anywhere where markup
    is escaped.

    ``fields`` are those of its header that people know, ``header`` is all of it as it stands there. ``cut``
    says that there is more than is shown: of the text, of the attachments, or of the message itself.
    """

    subject: str
    sender: str
    date: datetime | None
    fields: tuple[tuple[str, str], ...]
    header: str
    text: str
    has_html: bool
    attachments: tuple[Attachment, ...]
    cut: tuple[str, ...]


def shown_message(message: bytes, *, whole: bool = True) -> ShownMessage:
    """A message, or the beginning of one that is not ``whole``. Never fails, whatever it is."""
    fields, body = headers.fields(message, 0, len(message))
    parts = parts_of(message)
    texts, attached = _sorted_out(parts.leaves)
    hypertext_part = _html_part(parts.leaves)
    text, text_is_whole = _text(message, texts)
    if not text and hypertext_part is not None:  # beside it stands a plain text that says nothing
        text, text_is_whole = _text(message, [hypertext_part])
    cut = []
    if not text_is_whole:
        cut.append("the text is longer than is shown")
    if parts.more or len(attached) > MOST_ATTACHMENTS:
        cut.append("there are more parts than are shown")
    if not whole:
        cut.append("the message is longer than is looked at here")
    return ShownMessage(
        subject=on_one_line(
            header_text(headers.first(fields, b"subject")[:_LONGEST_RAW_VALUE]), _LONGEST_FIELD
        ),
        sender=on_one_line(header_text(headers.first(fields, b"from")[:_LONGEST_RAW_VALUE]), _LONGEST_FIELD),
        date=header_date(headers.first(fields, b"date")[:200]),
        fields=tuple(_known_fields(fields)),
        header=visible(guessed(message[: min(body, _HEADER_CHARACTERS)]).rstrip(), _HEADER_CHARACTERS),
        text=text,
        has_html=hypertext_part is not None,
        attachments=tuple(_attachment(message, part) for part in attached[:MOST_ATTACHMENTS]),
        cut=tuple(cut),
    )


def shown_html(message: bytes) -> Hypertext | None:
    """The HTML form of a message, with its own pictures; None if it has none."""
    leaves = parts_of(message).leaves
    part = _html_part(leaves)
    if part is None:
        return None
    pictures = _Pictures(message, {leaf.content_id: leaf for leaf in leaves if leaf.content_id})
    return hypertext.written_anew(_part_text(message, part, 2 * hypertext.MOST_BYTES), pictures.url)


def attachment_of(message: bytes, number: int) -> tuple[Attachment, bytes] | None:
    """The part of this number, decoded; None if there is none."""
    for part in parts_of(message).leaves:
        if part.number == number:
            return _attachment(message, part), content_of(message, part, len(message))
    return None


def _known_fields(fields: Iterable[headers.Field]) -> Iterable[tuple[str, str]]:
    """Each as often as it stands there: that a message has two senders is worth seeing."""
    shown = 0
    for field in fields:
        if field.name in _FIELDS and shown < 50:
            shown += 1
            value = header_text(headers.unfolded(field.value[:_LONGEST_RAW_VALUE]))
            yield _FIELDS[field.name], on_one_line(value, _LONGEST_FIELD)


def _sorted_out(leaves: Iterable[Part]) -> tuple[list[Part], list[Part]]:
    """Which parts are the text, and which are kept apart. Of the forms of one text that which is plain is
    read, and none is kept apart."""
    texts: list[Part] = []
    attached: list[Part] = []
    forms: dict[int, int] = {}
    for part in leaves:
        if not _is_text(part):
            attached.append(part)
            continue
        known = forms.get(part.choice) if part.choice else None
        if known is None:
            forms[part.choice] = len(texts)
            texts.append(part)
        elif texts[known].kind == "text/html" and part.kind == "text/plain":
            texts[known] = part
        elif part.kind == texts[known].kind:
            texts.append(part)
    return texts, attached


def _is_text(part: Part) -> bool:
    readable = part.kind in ("text/plain", "text/html", "text/enriched") or part.kind in _READ_AS_TEXT
    return readable and not part.attached and not (part.name and part.kind == "text/html")


def _html_part(leaves: Iterable[Part]) -> Part | None:
    return next((leaf for leaf in leaves if leaf.kind == "text/html" and _is_text(leaf)), None)


def _text(message: bytes, texts: Iterable[Part]) -> tuple[str, bool]:
    pieces: list[str] = []
    left = _TEXT_CHARACTERS
    whole = True
    for part in texts:
        if left <= 0:
            return "\n\n".join(pieces), False
        text = _part_text(message, part, _TEXT_BYTES)
        whole = whole and part.end - part.start <= _TEXT_BYTES
        if part.kind == "text/html":
            text = hypertext.text_of(text)
        whole = whole and len(text) <= left
        shown = visible(text, left).strip("\n")
        if shown.strip():
            pieces.append(shown)
        left -= len(shown)
    return "\n\n".join(pieces), whole


def _part_text(message: bytes, part: Part, most_bytes: int) -> str:
    content = content_of(message, part, most_bytes)
    known = decoded(content, part.charset) if part.charset else None
    return guessed(content) if known is None else known


def _attachment(message: bytes, part: Part) -> Attachment:
    told = part.name
    if not told and part.kind == "message/rfc822":
        inner, _ = headers.fields(message, part.start, part.end)
        subject = header_text(headers.first(inner, b"subject")[:_LONGEST_RAW_VALUE])
        told = f"{subject}.eml" if subject.strip() else ""
    size = part.end - part.start
    return Attachment(
        number=part.number,
        name=safe_file_name(told, f"part-{part.number}{_ENDINGS.get(part.kind, '')}"),
        kind=part.kind,
        size_bytes=size * 3 // 4 if part.encoding == "base64" else size,
    )


class _Pictures:
    """The pictures that a message brings along for its HTML; in all not too much."""

    def __init__(self, message: bytes, parts: Mapping[str, Part]) -> None:
        self._message = message
        self._parts = parts
        self._left = _PICTURES_BYTES
        self._known: dict[str, str | None] = {}

    def url(self, content_id: str) -> str | None:
        """The data: URL of a picture; None if there is none, or no more room for it. One that is shown twice
        counts twice: so often it stands in the page."""
        if content_id not in self._known:
            self._known[content_id] = self._made(content_id)
        found = self._known[content_id]
        if found is None or len(found) > self._left:
            return None
        self._left -= len(found)
        return found

    def _made(self, content_id: str) -> str | None:
        part = self._parts.get(content_id)
        if part is None or part.kind not in _PICTURES or part.end - part.start > 2 * _PICTURES_BYTES:
            return None
        content = content_of(self._message, part, _PICTURES_BYTES)
        return f"data:{part.kind};base64,{pybase64.b64encode(content).decode()}"
