"""One HTTP request: in bounded time, to the server that was meant, without following where it points."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from pathlib import Path

from ...proto.errors import DeliveryError
from .addresses import WebAddress
from .channels import said
from .time_limits import TimeLimit

_TRY_AGAIN = (408, 425, 429)
_MOST_ANSWER = 4096


def send(
    address: WebAddress,
    method: str,
    body: bytes,
    headers: Mapping[str, str],
    ca_file: Path | None,
    limit_seconds: float,
) -> str:
    """Send it, and wait for an answer that says yes (2xx). Returns the answer in a few words. Raises
    DeliveryError, whose message holds neither path nor headers."""
    where = f"{address.host}:{address.port}"
    with TimeLimit(limit_seconds) as limit:
        try:
            status, reason = _exchange(address, method, body, headers, ca_file, limit)
        except ssl.SSLCertVerificationError as error:
            raise DeliveryError(f"{where}: {said(error.verify_message)}", unreachable=True) from None
        except (OSError, http.client.HTTPException) as error:
            if limit.is_over or isinstance(error, TimeoutError):
                text = f"did not answer within {limit.seconds:.0f} s"
                raise DeliveryError(f"{where} {text}", unreachable=True) from None
            text = (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
            raise DeliveryError(f"{where}: {said(text)}", unreachable=True) from None
    answer = f"{status} {said(reason)}".strip()
    if 200 <= status < 300:
        return f"{where} says {answer}"
    if 300 <= status < 400:
        raise DeliveryError(
            f"{where} says {answer}: it points elsewhere, which is not followed", unreachable=True
        )
    raise DeliveryError(f"{where} says {answer}", unreachable=status >= 500 or status in _TRY_AGAIN)


def _exchange(
    address: WebAddress,
    method: str,
    body: bytes,
    headers: Mapping[str, str],
    ca_file: Path | None,
    limit: TimeLimit,
) -> tuple[int, str]:
    client = _Client(address, ca_file, limit)
    try:
        client.request(method, address.target, body or None, {**address.headers, **headers})
        answer = client.getresponse()
        answer.read(_MOST_ANSWER)
        return answer.status, answer.reason
    finally:
        client.close()


class _Client(http.client.HTTPConnection):
    """A connection within a time limit, without any proxy."""

    def __init__(self, address: WebAddress, ca_file: Path | None, limit: TimeLimit) -> None:
        super().__init__(address.host, address.port)
        self._limit = limit
        self._context = ssl.create_default_context(cafile=ca_file) if address.secure else None

    def connect(self) -> None:
        """See http.client."""
        self.sock = self._limit.connected(self.host, self.port)
        if self._context is not None:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)
