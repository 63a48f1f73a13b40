"""The connection to a server: one request at a time and thread, repeated with patience where that may help.

The library's own repeating is off: it would send again what must not be sent twice, and waits where others
could go on.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Container
from functools import cache
from typing import Any

from botocore.config import Config
from botocore.exceptions import IncompleteReadError
from botocore.session import Session

from ..settings import S3Destination
from .answers import Meaning, meaning_of, translated
from .credentials import read_credentials
from .pace import Pace

_CONNECT_SECONDS = 10
_SILENCE_SECONDS = 120
"""So long a server may say nothing; large uploads are put together in that time."""

ATTEMPTS = 6
_FIRST_WAIT_SECONDS = 0.25
_MOST_WAIT_SECONDS = 8.0
_REPEATED = {
    Meaning.BUSY: ATTEMPTS,
    Meaning.UNKNOWN: ATTEMPTS,
    Meaning.SPOILT: 3,
    # Both are said for ever of a wrong key, and now and then of a good one.
    Meaning.SIGNATURE: 3,
    Meaning.DENIED: 4,
}
"""How often the same is asked in all, by what was answered; else once."""


class Told(Exception):
    """An answer that its caller is prepared for; it does not leave this package."""

    def __init__(self, meaning: Meaning) -> None:
        super().__init__(meaning.name)
        self.meaning = meaning


class Connection:
    """The requests of one place, also from several threads. The client is made by the process that asks
    first and belongs to it: after a fork there is another."""

    def __init__(self, settings: S3Destination, sleep: Callable[[float], None] = time.sleep) -> None:
        self.settings = settings
        self._sleep = sleep
        self._pace = Pace(settings.requests_per_second, sleep=sleep)
        self._lock = threading.Lock()
        self._client: tuple[int, Any] | None = None
        self._welcome = False

    def ask(
        self,
        verb: str,
        what: str,
        *,
        before_again: Callable[[], Any] | None = None,
        expecting: Container[Meaning] = (),
        attempts: int = ATTEMPTS,
        **facts: Any,
    ) -> Any:
        """Call a method of the client; ``what`` says for people what for. Raises Told if the answer has a
        meaning that the caller is ``expecting``, else one of our errors.

        The same is asked again only if ``before_again`` gives None; what it gives else is the result.
        """
        for attempt in range(1, attempts + 1):
            self._pace.spend()
            try:
                answer = getattr(self.client(), verb)(**facts)
            except Exception as error:
                meaning = meaning_of(error)
                if meaning in expecting:
                    raise Told(meaning) from error
                if attempt >= min(attempts, self._most(meaning)):
                    raise translated(error, meaning, self.settings.name, what) from error
                self.pause(attempt)
                if before_again is not None and (found := before_again()) is not None:
                    return found
            else:
                self._welcome = True
                return answer
        raise AssertionError("the last attempt raises or returns")

    def received(self, body: Any, length: int, attempt: int, what: str) -> bytes | None:
        """The bytes of an answer; None, after a wait, if they broke off and may be asked for again."""
        error: Exception
        try:
            data: bytes = body.read()
            if len(data) == length:
                return data
            error = IncompleteReadError(actual_bytes=len(data), expected_bytes=length)
        except Exception as broken:
            error = broken
        finally:
            body.close()
        meaning = meaning_of(error)
        if attempt >= self._most(meaning):
            raise translated(error, meaning, self.settings.name, what) from error
        self.pause(attempt)
        return None

    def pause(self, attempt: int) -> None:
        """Wait after the n-th attempt: twice as long each time, and not all at once."""
        most = min(_MOST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2 ** (attempt - 1))
        self._sleep(most * random.uniform(0.5, 1))  # noqa: S311

    def _most(self, meaning: Meaning) -> int:
        # Who was never let in has a key that does not fit: no need to ask four times.
        if meaning is Meaning.DENIED and not self._welcome:
            return 1
        return _REPEATED.get(meaning, 1)

    def client(self) -> Any:
        """The client of this process. Raises AccessError for credentials that can't be used."""
        with self._lock:
            if self._client is None or self._client[0] != os.getpid():
                self._client = os.getpid(), _made_client(self.settings)
            return self._client[1]

    def close(self) -> None:
        """Repeatable."""
        with self._lock:
            made, self._client = self._client, None
        if made is not None and made[0] == os.getpid():
            made[1].close()


@cache
def _session(_process: int) -> Any:
    # What it reads of the protocol takes longer than a request, so all places of a process share it.
    return Session()


def _made_client(settings: S3Destination) -> Any:
    keys: dict[str, str] = {}
    if settings.credentials:
        found = read_credentials(settings.credentials)
        keys = {"aws_access_key_id": found.key, "aws_secret_access_key": found.secret}
        if found.session:
            keys["aws_session_token"] = found.session
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_SILENCE_SECONDS,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=settings.part_threads + 2,
        # The bytes are told by a Content-MD5 that is signed: every server has that. Checksums at the end of
        # the body, which the library would send by itself, break some servers, and a second digest costs
        # time.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        tcp_keepalive=True,
        s3={
            "addressing_style": "path" if settings.endpoint else "auto",
            "payload_signing_enabled": False,
        },
    )
    return _session(os.getpid()).create_client(
        "s3",
        endpoint_url=settings.endpoint or None,
        region_name=settings.region or ("us-east-1" if settings.endpoint else None),
        verify=settings.ca_file or None,
        config=config,
        **keys,
    )
