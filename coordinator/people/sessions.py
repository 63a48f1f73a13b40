"""Sessions in signed cookies, and the tokens that bind forms to them.

A cookie says whose it is, what was on record of them when it was made, and when it was begun and last used;
HMAC-SHA256 under a key of the staging area holds that together. What has to be kept here are the sessions
that were ended before their time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import threading
from pathlib import Path

from ...proto.directories import make_private
from ...proto.errors import DamagedError, StagingError
from ...proto.ports import Clock
from ...proto.structs import Record, asdict, replace
from ..durable import replace_durably

IDLE_SECONDS = 30 * 60.0
LONGEST_SECONDS = 12 * 3600.0
_KEY_BYTES = 32
_LONGEST_COOKIE = 2048


class Session(Record, kw_only=True):
    """A session of ``name``, whose account had this ``mark`` when it began. Times in seconds since 1970."""

    id: str
    name: str
    mark: str
    begun: float
    used: float


class Sessions:
    """The sessions of a staging area, whose key is made if there is none. For any thread.

    Raises StagingError, DamagedError when it is made, and StagingError from ``end``.
    """

    def __init__(self, staging: Path, clock: Clock) -> None:
        self._clock = clock
        self._key = _key(staging / ".mailhaul" / "session.key")
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
        used = replace(session, used=self._clock.now())
        payload = _text(json.dumps(asdict(used), separators=(",", ":")).encode("utf-8"))
        return f"{payload}.{_text(self._signed('session', payload))}"

    def read(self, cookie: str) -> Session | None:
        """The session of a cookie that was made here and is still good."""
        payload, _, signature = cookie[:_LONGEST_COOKIE].partition(".")
        expected = _text(self._signed("session", payload))
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), expected.encode("ascii")):
            return None
        session = Session(**json.loads(_bytes(payload)))
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
        return _text(self._signed("form", bound_to))

    def is_form_token(self, token: str, bound_to: str) -> bool:
        """Whether it is."""
        return hmac.compare_digest(
            token.encode("utf-8", "replace"), self.form_token(bound_to).encode("ascii")
        )

    def _signed(self, what_for: str, text: str) -> bytes:
        return hmac.digest(self._key, f"{what_for}:{text}".encode("utf-8", "surrogatepass"), hashlib.sha256)


def _key(path: Path) -> bytes:
    try:
        make_private(path.parent)
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            # Whoever links first has made it: another process may be about to.
            new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(new, path)
            except FileExistsError:
                pass
            finally:
                new.unlink()
            key = path.read_bytes()
    except OSError as error:
        raise StagingError(f"{path}: can't be read or made: {error.strerror}", path=str(path)) from error
    if len(key) != _KEY_BYTES:
        raise DamagedError(f"{path} is damaged: remove it, which ends all sessions", path=str(path))
    return key


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


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
