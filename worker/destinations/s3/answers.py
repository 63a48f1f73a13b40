"""What an answer of a server, or none, means: what to do about it, and which of our errors it is.

Deciding only. Servers differ in their codes and words, so the status decides where a code is not known.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from botocore import exceptions as foreign

from ....proto.errors import (
    AccessError,
    BackupError,
    ExistsError,
    PlaceError,
    PlaceFullError,
    PlaceUnavailableError,
)


class Meaning(Enum):
    """What an answer means to who asked."""

    MISSING = auto()
    """There is no such object, version or upload."""
    EXISTS = auto()
    """There is an object of that name already."""
    BUSY = auto()
    """Slow down: nothing was done, the same may be asked later."""
    UNKNOWN = auto()
    """No answer, or a failure inside the server: it may have been done, or not."""
    SPOILT = auto()
    """The bytes did not arrive as they were sent: nothing was done, they can be sent again."""
    SIGNATURE = auto()
    """The signature was not accepted: a wrong key, or a server that stumbles."""
    DENIED = auto()
    """Not allowed; some servers say so when they mean to be asked more slowly."""
    STRANGER = auto()
    """The key is not known there, or has ended."""
    FULL = auto()
    """There is no room, or no more is allowed."""
    COLD = auto()
    """The object lies in a cold storage class."""
    UNSUPPORTED = auto()
    """The server does not have this."""
    REFUSED = auto()
    """Anything else: the same will be refused again."""


_CODES = {
    "NoSuchKey": Meaning.MISSING,
    "NoSuchVersion": Meaning.MISSING,
    "NoSuchUpload": Meaning.MISSING,
    "PreconditionFailed": Meaning.EXISTS,
    "RestoreAlreadyInProgress": Meaning.EXISTS,
    "ConditionalRequestConflict": Meaning.BUSY,
    "OperationAborted": Meaning.BUSY,
    "SlowDown": Meaning.BUSY,
    "SlowDownRead": Meaning.BUSY,
    "SlowDownWrite": Meaning.BUSY,
    "TooManyRequests": Meaning.BUSY,
    "Throttling": Meaning.BUSY,
    "ThrottlingException": Meaning.BUSY,
    "RequestLimitExceeded": Meaning.BUSY,
    "BandwidthLimitExceeded": Meaning.BUSY,
    "ServiceUnavailable": Meaning.BUSY,
    "InternalError": Meaning.UNKNOWN,
    "RequestTimeout": Meaning.UNKNOWN,
    "BadDigest": Meaning.SPOILT,
    "InvalidDigest": Meaning.SPOILT,
    "IncompleteBody": Meaning.SPOILT,
    "XAmzContentSHA256Mismatch": Meaning.SPOILT,
    "SignatureDoesNotMatch": Meaning.SIGNATURE,
    "AccessDenied": Meaning.DENIED,
    "InvalidAccessKeyId": Meaning.STRANGER,
    "ExpiredToken": Meaning.STRANGER,
    "InvalidToken": Meaning.STRANGER,
    "InvalidClientTokenId": Meaning.STRANGER,
    "UserSuspended": Meaning.STRANGER,
    "QuotaExceeded": Meaning.FULL,
    "InsufficientCapacity": Meaning.FULL,
    "XMinioStorageFull": Meaning.FULL,
    "InvalidObjectState": Meaning.COLD,
    "NotImplemented": Meaning.UNSUPPORTED,
    "RequestTimeTooSkewed": Meaning.REFUSED,
    "AuthorizationHeaderMalformed": Meaning.REFUSED,
    "NoSuchBucket": Meaning.REFUSED,
}
_STATUSES = {
    403: Meaning.DENIED,
    404: Meaning.MISSING,
    405: Meaning.MISSING,  # a delete marker, asked for by its version
    412: Meaning.EXISTS,
    413: Meaning.FULL,
    429: Meaning.BUSY,
    501: Meaning.UNSUPPORTED,
    503: Meaning.BUSY,
    507: Meaning.FULL,
}

_HINTS = {
    "NoSuchBucket": "there is no such bucket",
    "RequestTimeTooSkewed": "the clock of this host or that of the server is wrong",
    "AuthorizationHeaderMalformed": "the region may be another",
    "PermanentRedirect": "the endpoint or the region may be another",
    "SignatureDoesNotMatch": "the secret key may be wrong",
    "InvalidAccessKeyId": "the key is not known there",
    "ExpiredToken": "the session has ended",
}


def meaning_of(error: Exception) -> Meaning:
    """What a foreign exception means."""
    if isinstance(error, foreign.ClientError):
        code, status = code_of(error), status_of(error)
        if code in _CODES:
            return _CODES[code]
        return _STATUSES.get(status, Meaning.UNKNOWN if status >= 500 else Meaning.REFUSED)
    if isinstance(error, foreign.NoCredentialsError | foreign.PartialCredentialsError):
        return Meaning.STRANGER
    if isinstance(error, foreign.SSLError):
        return Meaning.REFUSED
    if isinstance(
        error,
        foreign.ConnectionError | foreign.HTTPClientError | foreign.IncompleteReadError | OSError,
    ):
        return Meaning.UNKNOWN
    return Meaning.REFUSED


def code_of(error: Exception) -> str:
    """The server's word for what is wrong; empty if there is none."""
    return str(_told(error, "Error").get("Code", ""))


def status_of(error: Exception) -> int:
    """The status of an answer; 0 if there was none."""
    return int(_told(error, "ResponseMetadata").get("HTTPStatusCode", 0))


def translated(error: Exception, meaning: Meaning, place: str, what: str) -> BackupError:
    """Our error for what ended the attempts to do ``what``, with the server's words."""
    words = _words(error)
    text = f"{place}: {what}: {words}"
    facts = {"place": place, "words": words}
    if meaning in (Meaning.BUSY, Meaning.UNKNOWN, Meaning.SPOILT):
        return PlaceUnavailableError(text, **facts)
    if meaning in (Meaning.SIGNATURE, Meaning.DENIED, Meaning.STRANGER):
        return AccessError(text, **facts)
    if meaning is Meaning.FULL:
        return PlaceFullError(text, **facts)
    if meaning is Meaning.EXISTS:
        return ExistsError(text, **facts)
    return PlaceError(text, **facts)


def _told(error: Exception, part: str) -> dict[str, Any]:
    return error.response.get(part, {}) if isinstance(error, foreign.ClientError) else {}


def _words(error: Exception) -> str:
    if not isinstance(error, foreign.ClientError):
        return str(error) or type(error).__name__
    code, message = code_of(error), _told(error, "Error").get("Message") or ""
    hint = _HINTS.get(code, "")
    return ", ".join(one for one in (f"{status_of(error)} {code}", str(message), hint) if one)
