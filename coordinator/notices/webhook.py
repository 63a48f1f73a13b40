"""Notices as webhooks: JSON by POST, signed as Standard Webhooks says, so that receivers have code for it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path

from ... import __version__
from ...proto.errors import AccessError, DeliveryError
from .addresses import read_address
from .channels import Letter
from .private_files import read_private
from .requests import send
from .settings import WebhookReceiver

_PREFIX = "whsec_"


class WebhookChannel:
    """See ``Channel``. ``now`` gives seconds since 1970."""

    def __init__(self, receiver: WebhookReceiver, now: Callable[[], float]) -> None:
        self._receiver = receiver
        self._now = now

    def deliver(self, letter: Letter) -> str:
        """See Channel."""
        receiver = self._receiver
        try:
            address = read_address(receiver.url_file)
            key = None if receiver.secret_file is None else _key(receiver.secret_file)
        except AccessError as error:
            raise DeliveryError(error.message, unreachable=True) from None
        body = json.dumps(document(letter)).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"mailhaul/{__version__}",
            **identified(letter.key, int(self._now()), body, key),
        }
        return send(address, "POST", body, headers, receiver.ca_file, receiver.limit_seconds)


def document(letter: Letter) -> dict[str, object]:
    """A letter for programs; ``text`` is what chat servers show."""
    saying, notice = letter.saying, letter.saying.notice
    return {
        "key": letter.key,
        "site": letter.site,
        "event": notice.event,
        "kind": saying.kind,
        "cause": notice.cause,
        "subject": letter.subject,
        "text": f"{letter.subject}\n{letter.body}",
        "lines": list(notice.lines),
        "facts": dict(notice.facts),
        "first": saying.first.isoformat(),
        "made": saying.made.isoformat(),
        "times": saying.times,
    }


def identified(key: str, seconds: int, body: bytes, secret: bytes | None) -> dict[str, str]:
    """The headers by which a receiver knows a letter again, and knows that it comes from here."""
    headers = {"webhook-id": key, "webhook-timestamp": str(seconds)}
    if secret is not None:
        signed = f"{key}.{seconds}.".encode() + body
        made = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        headers["webhook-signature"] = f"v1,{made}"
    return headers


def _key(path: Path) -> bytes:
    """``whsec_`` and base64, as Standard Webhooks writes keys; any other text stands for itself."""
    text = read_private(path)
    if not text.startswith(_PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise AccessError(f"{path}: what follows {_PREFIX} is no base64", path=str(path)) from None
