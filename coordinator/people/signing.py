"""The key of a staging area, under which what browsers keep is signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...proto.directories import make_private
from ...proto.errors import DamagedError, StagingError

_KEY_BYTES = 32
_LONGEST = 2048


class Signer:
    """Signs with HMAC-SHA256, each text for one purpose: what is signed for another is not good for it. For
    any thread."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of(cls, staging: Path) -> Signer:
        """With the key of a staging area, which is made if there is none. Raises StagingError,
        DamagedError."""
        return cls(_key(staging / ".mailhaul" / "session.key"))

    def sealed(self, purpose: str, document: Mapping[str, object]) -> str:
        """A document as text that can stand in a cookie; everybody can read it."""
        payload = _text(json.dumps(document, separators=(",", ":")).encode("utf-8"))
        return f"{payload}.{self.signature(purpose, payload)}"

    def opened(self, purpose: str, sealed: str) -> dict[str, Any] | None:
        """The document, if it was sealed here for this purpose."""
        payload, _, signature = sealed[:_LONGEST].partition(".")
        if not self.is_signature(signature, purpose, payload):
            return None
        document: dict[str, Any] = json.loads(_bytes(payload))
        return document

    def signature(self, purpose: str, text: str) -> str:
        """The signature of a text."""
        signed = f"{purpose}:{text}".encode("utf-8", "surrogatepass")
        return _text(hmac.digest(self._key, signed, hashlib.sha256))

    def is_signature(self, signature: str, purpose: str, text: str) -> bool:
        """Whether it is; takes the same time for each that is not."""
        expected = self.signature(purpose, text).encode("ascii")
        return hmac.compare_digest(signature.encode("utf-8", "replace"), expected)


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


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
