"""Sessions in signed cookies, and the tokens that bind forms to them.

A cookie says whose it is, what was on record of them when it was made, and when it was begun and last used;
HMAC-SHA256 under a key of the staging area holds that together. What has to be kept here are the sessions
that were ended before their time.
"""

from __future__ import annotations

import json
import secrets
import threading
from pathlib import Path

from ...proto.errors import DamagedError, StagingError
from ...proto.ports import Clock
from ...proto.structs import Record, asdict, replace
from ..durable import replace_durably
from .signing import Signer

IDLE_SECONDS = 30 * 60.0
LONGEST_SECONDS = 12 * 3600.0
_PURPOSE = "session"


class Session(Record, kw_only=True):
    """A session of ``name``, whose account had this ``mark`` when it began. Times in seconds since 1970."""

    id: str
    name: str
    mark: str
    begun: float
    used: float


class Sessions:
    """The sessions of a staging area. For any thread.

    Raises StagingError, DamagedError when it is made, and StagingError from ``end``.
    """

    def __init__(self, staging: Path, signer: Signer, clock: Clock) -> None:
        self._clock = clock
        self._signer = signer
        self._ended_file = staging / ".mailhaul" / "sessions-ended.json"
        self._ended = _ended(self._ended_file)
        self._lock = threading.Lock()
        self.incarnation = secrets.token_urlsafe(16)
        """The mark of sessions that are to end with this process."""

    def begin(self, name: str, mark: str) -> Session:
        """A session that begins now."""
        now = self._clock.now()
        return Session(id=secrets.token_urlsafe(16), name=name, mark=mark, begun=now, used=now)

    def cookie(self, session: Session) -> str:
        """What the browser keeps, as if it were used now."""
        return self._signer.sealed(_PURPOSE, asdict(replace(session, used=self._clock.now())))

    def read(self, cookie: str) -> Session | None:
        """The session of a cookie that was made here and is still good."""
        document = self._signer.opened(_PURPOSE, cookie)
        if document is None:
            return None
        session = Session(**document)
        now = self._clock.now()
        idle, age = now - session.used, now - session.begun
        if not (idle <= IDLE_SECONDS and age <= LONGEST_SECONDS) or session.id in self._ended:
            return None
        return session

    def end(self, session: Session) -> None:
        """Nobody goes on with it, whoever has a copy of the cookie."""
        with self._lock:
            now = self._clock.now()
            left = {one: until for one, until in self._ended.items() if until > now}
            self._ended = {**left, session.id: session.begun + LONGEST_SECONDS}
            replace_durably(self._ended_file, json.dumps(self._ended).encode("ascii"))

    def form_token(self, bound_to: str) -> str:
        """What a form has to bring along that was made for a session, or for somebody without one."""
        return self._signer.signature("form", bound_to)

    def is_form_token(self, token: str, bound_to: str) -> bool:
        """Whether it is."""
        return self._signer.is_signature(token, "form", bound_to)


def _ended(path: Path) -> dict[str, float]:
    try:
        return {str(one): float(until) for one, until in json.loads(path.read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StagingError(f"{path}: can't be read: {error.strerror}", path=str(path)) from error
    except (AttributeError, TypeError, ValueError) as error:
        raise DamagedError(
            f"{path} is damaged: remove it, and session.key beside it, which ends all sessions",
            path=str(path),
        ) from error
