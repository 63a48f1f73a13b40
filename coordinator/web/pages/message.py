"""A message of a backup: as text, as HTML in a sandbox, its attachments, and all of it as a file."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from tempfile import TemporaryFile
from typing import IO
from urllib.parse import quote

from starlette.responses import HTMLResponse, Response, StreamingResponse

from ....groups.paths import LogicalPath
from ....proto.errors import EncryptedError, NotFoundError, StagingError, UsageError
from ....proto.structs import Record
from ...browsing.view import MailboxView
from ...showing.message import MOST_BYTES, ShownMessage, attachment_of, shown_html, shown_message
from ...showing.visible import plain_file_name
from ..mailbox_visits import ReasonWanted, entered, path_of, whose
from ..routes import VIEWER, Page, Resource
from ..visits import Visit
from .mailboxes import MailboxAsked, wanted

READ = "read message"
TAKE = "take attachment"
TAKE_ALL = "take message"

_PIECE_BYTES = 1 << 16

HTML_POLICY = "; ".join(
    (
        "sandbox",
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    )
)
"""For HTML of mail, in its frame and also alone: no scripts, no forms, nothing from anywhere."""


class PartAsked(Record, kw_only=True):
    """A part of a message by its number."""

    path: str
    reason: str
    number: int
    at: str = ""


def _read(view: MailboxView, path: LogicalPath, at: str) -> tuple[bytes, bool]:
    """The beginning of a message, and whether that is all of it. Raises DamagedError for other bytes than
    were stored, unless they are more than is read."""
    message = view.message(path, view.moment(at))
    kept = BytesIO()  # in memory once, however long
    for chunk in view.content(message):
        kept.write(chunk[: MOST_BYTES - kept.tell()])
        if kept.tell() >= MOST_BYTES < message.size:
            return kept.getvalue(), False
    return kept.getvalue(), True


def message(visit: Visit) -> Response:
    """The page of a message."""
    path = path_of(visit.asked("path"))
    shown: ShownMessage | None = None
    size = 0
    try:
        with entered(visit, path, READ) as view:
            at = view.moment(visit.asked("at"))
            size = view.message(path, at).size
            try:
                with visit.site.readers:
                    content, whole = _read(view, path, at)
                    shown = shown_message(content, whole=whole)
            except EncryptedError as error:
                problem = error.message
            else:
                problem = ""
            moment, newest = view.began(at), view.newest
    except ReasonWanted:
        return wanted(visit, path)
    return visit.page(
        "message.html", path_shown=str(path), whose=str(whose(path)), user=path.user, folder_name=path.folder,
        shown=shown, problem=problem, at=at, moment=moment, newest=newest, size_bytes=size,
        is_html=visit.asked("as") == "html",
        folder_path=str(LogicalPath(path.partition, path.group, path.user, path.folder)),
    )  # fmt: skip


def framed(visit: Visit) -> Response:
    """The HTML of a message, for the frame of its page."""
    path = path_of(visit.asked("path"))
    try:
        with entered(visit, path, READ) as view, visit.site.readers:
            content, _ = _read(view, path, visit.asked("at"))
            shown = shown_html(content)
    except ReasonWanted:
        return wanted(visit, path)
    if shown is None:
        raise NotFoundError(f"{path}: the message has no HTML")
    return HTMLResponse(
        shown.document,
        headers={
            "Content-Security-Policy": HTML_POLICY,
            "X-Frame-Options": "SAMEORIGIN",
            "X-DNS-Prefetch-Control": "off",
        },
    )


def part(visit: Visit) -> Response:
    """An attachment, as a file to keep."""
    path, number = path_of(visit.asked("path")), visit.asked("number")
    if not (number.isascii() and number.isdigit() and len(number) < 6):
        raise UsageError("parts have numbers")
    try:
        return _part(visit, path, visit.asked("at"), int(number))
    except ReasonWanted:
        return wanted(visit, path)


def _part(visit: Visit, path: LogicalPath, at: str, number: int) -> Response:
    with entered(visit, path, TAKE) as view, visit.site.readers:
        content, _ = _read(view, path, at)
        found = attachment_of(content, number)
    if found is None:
        raise NotFoundError(f"{path}: the message has no part {number}")
    attachment, data = found
    return Response(data, media_type="application/octet-stream", headers=download_headers(attachment.name))


def raw(visit: Visit) -> Response:
    """All of a message, as a file to keep."""
    path = path_of(visit.asked("path"))
    try:
        return _raw(visit, path, visit.asked("at"))
    except ReasonWanted:
        return wanted(visit, path)


def _raw(visit: Visit, path: LogicalPath, at: str) -> Response:
    """A browser may take its time, or stop in the middle: then nothing is held that a purge waits for."""
    kept = _kept_file(visit)
    try:
        with entered(visit, path, TAKE_ALL) as view:
            found = view.message(path, view.moment(at))
            for chunk in view.content(found):
                kept.write(chunk)
        kept.seek(0)
    except OSError as error:
        kept.close()
        raise StagingError(f"the message can't be put by: {error.strerror}") from error
    except BaseException:
        kept.close()
        raise

    def content() -> Iterator[bytes]:
        with kept:
            while data := kept.read(_PIECE_BYTES):
                yield data

    headers = {**download_headers(f"message-{path.uid or 'x'}.eml"), "Content-Length": str(found.size)}
    return StreamingResponse(content(), media_type="application/octet-stream", headers=headers)


def _kept_file(visit: Visit) -> IO[bytes]:
    """A file without a name, where the archives are: what is in it is nobody else's."""
    try:
        return TemporaryFile(dir=visit.site.staging / ".mailhaul")
    except OSError as error:
        raise StagingError(f"the message can't be put by: {error.strerror}") from error


def download_headers(name: str) -> dict[str, str]:
    """What makes a browser keep a file under a safe name and never show it."""
    return {
        "Content-Disposition": f'attachment; filename="{plain_file_name(name)}"; '
        f"filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }


def _shown(visit: Visit) -> ShownMessage:
    asked: MailboxAsked = visit.query
    path = path_of(asked.path)
    with entered(visit, path, READ) as view, visit.site.readers:
        content, whole = _read(view, path, asked.at)
        return shown_message(content, whole=whole)


def _shown_part(visit: Visit) -> Response:
    asked: PartAsked = visit.query
    return _part(visit, path_of(asked.path), asked.at, asked.number)


def _shown_raw(visit: Visit) -> Response:
    asked: MailboxAsked = visit.query
    return _raw(visit, path_of(asked.path), asked.at)


ROUTES = (
    Page(path="/mailboxes/message", shows=message, allows=VIEWER),
    Page(path="/mailboxes/message/html", shows=framed, allows=VIEWER),
    Page(path="/mailboxes/message/part", shows=part, allows=VIEWER),
    Page(path="/mailboxes/message/raw", shows=raw, allows=VIEWER),
    Resource(
        path="/mailboxes/message", answers=_shown, allows=VIEWER, query=MailboxAsked, answer=ShownMessage,
        summary="A message, as people read it",
    ),
    Resource(
        path="/mailboxes/message/part", answers=_shown_part, allows=VIEWER, query=PartAsked, answer=bytes,
        summary="A part of a message, decoded",
    ),
    Resource(
        path="/mailboxes/message/raw", answers=_shown_raw, allows=VIEWER, query=MailboxAsked, answer=bytes,
        summary="A message, byte for byte as it was stored",
    ),
)  # fmt: skip
