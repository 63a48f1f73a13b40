"""Who can open wrapped keys: the port, and what there is behind it. KEYS.md says what the files hold.

A private key is read when an identity is opened, and kept in memory as long as that is; it is in no text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, cast

from ..errors import AccessError, DamagedError
from .derivation import recipient_id
from .paper import HEADING, paper_secret
from .recipients import KIND_NAMES, recipient_of_text
from .records import Kem, Recipient, Wrap
from .secret_files import COST, Secret, parse_secret, read_key_file, without_passphrase
from .shamir import combine

Passphrase = Callable[[Path], str]
"""Gives the passphrase of a file. Raises AccessError where nobody can be asked."""

_AGE_IDENTITY = "AGE-SECRET-KEY-1"
_AGE_FILES = (b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")
_COMMAND_LIMIT_SECONDS = 60.0
_MOST_COMMAND_SECONDS = 3600.0
_MOST_ANSWER_BYTES = 4096
_MOST_HANDED_WORK = 2 * COST.n * COST.r * COST.p
_WRITABLE_BY_OTHERS = 0o022


class Identity(Protocol):
    """What unwraps keys for one recipient or several."""

    @property
    def recipients(self) -> Mapping[bytes, str]:
        """The ids of the recipients that it unwraps for, each with a name for people."""

    def unwrap(self, wrap: Wrap, info: bytes) -> bytes:
        """The secret that was wrapped with this ``info`` for a recipient that is one of its own. Can be
        repeated.

        Raises DamagedError (``wrapped-key``) if it does not open, or not with this ``info``; AccessError if
        the wrap is for another recipient, or what holds the key refuses.
        """


class PrivateKey:
    """A private key in memory."""

    def __init__(self, secret: Secret) -> None:
        """Raises AccessError if the secret is not that of the recipient that it names."""
        from .wrapping import public_of

        try:
            found = recipient_id(secret.kem, public_of(secret.kem, secret.private))
        except ValueError:
            found = b""
        if found != secret.recipient:
            raise AccessError(f"the secret key {secret.name} does not belong to its recipient")
        self._secret = secret

    @property
    def recipients(self) -> Mapping[bytes, str]:
        return {self._secret.recipient: self._secret.name}

    def unwrap(self, wrap: Wrap, info: bytes) -> bytes:
        from .wrapping import unwrap

        _check_own(self, wrap)
        return unwrap(self._secret.kem, self._secret.private, wrap.sealed, info)

    @property
    def secret(self) -> Secret:
        """What a paper key is made of."""
        return self._secret


class AgeIdentity:
    """An identity of age, through pyrage."""

    def __init__(self, name: str, text: str) -> None:
        """Raises AccessError for a text that is no ``AGE-SECRET-KEY-1...``, and without pyrage."""
        pyrage = _pyrage()
        try:
            self._identity = pyrage.x25519.Identity.from_str(text)
        except pyrage.IdentityError as error:
            raise AccessError(f"{name}: is no identity of age") from error
        public = str(self._identity.to_public()).encode("ascii")
        self._recipients = {recipient_id(Kem.AGE, public): name}

    @property
    def recipients(self) -> Mapping[bytes, str]:
        return self._recipients

    def unwrap(self, wrap: Wrap, info: bytes) -> bytes:
        pyrage = _pyrage()
        _check_own(self, wrap)
        try:
            opened = bytes(pyrage.decrypt(wrap.sealed, [self._identity]))
        except pyrage.DecryptError as error:
            raise _does_not_open() from error
        # age binds nothing to what it encrypts: a digest of info stands before the secret (wrapping.wrap).
        bound = hashlib.sha256(info).digest()
        if not opened.startswith(bound):
            raise _does_not_open()
        return opened[len(bound) :]


class Command:
    """A program that holds the private key, or reaches what does: a smart card, a vault. It gets the wrapped
    key as JSON on its standard input, and writes what was wrapped as base64; KEYS.md, "Commands"."""

    def __init__(self, recipient: Recipient, arguments: tuple[str, ...], limit_seconds: float) -> None:
        self._recipient = recipient
        self._arguments = arguments
        self._limit_seconds = limit_seconds

    @property
    def recipients(self) -> Mapping[bytes, str]:
        return {self._recipient.id: self._recipient.name}

    def unwrap(self, wrap: Wrap, info: bytes) -> bytes:
        _check_own(self, wrap)
        question = {
            "mailhaul_unwrap": 1,
            "recipient": wrap.recipient.hex(),
            "kind": KIND_NAMES[wrap.kem],
            "sealed": base64.b64encode(wrap.sealed).decode("ascii"),
            "info": base64.b64encode(info).decode("ascii"),
        }
        answer = self._asked(json.dumps(question).encode("ascii"))
        try:
            return base64.b64decode(b"".join(answer.split()), validate=True)
        except ValueError as error:
            raise AccessError(f"{self._arguments[0]}: answers with no base64") from error

    def _asked(self, question: bytes) -> bytes:
        program = self._arguments[0]
        try:
            # In a session of its own: with it ends what it has started.
            process = subprocess.Popen(
                self._arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        except OSError as error:
            raise AccessError(f"{program}: can't be started: {error.strerror}") from error
        with process:
            try:
                answer, _ = process.communicate(question, self._limit_seconds)
            except subprocess.TimeoutExpired:
                _end(process)
                raise AccessError(
                    f"{program}: did not answer within {self._limit_seconds:g} seconds"
                ) from None
            except BaseException:
                _end(process)
                raise
        if process.returncode or len(answer) > _MOST_ANSWER_BYTES:
            raise AccessError(f"{program}: did not unwrap a key (exit status {process.returncode})")
        return answer


class AnyOf:
    """Several identities as one."""

    def __init__(self, identities: Sequence[Identity]) -> None:
        self._by_id = {id_: identity for identity in identities for id_ in identity.recipients}
        self._recipients = {id_: name for one in identities for id_, name in one.recipients.items()}

    @property
    def recipients(self) -> Mapping[bytes, str]:
        return self._recipients

    def unwrap(self, wrap: Wrap, info: bytes) -> bytes:
        _check_own(self, wrap)
        return self._by_id[wrap.recipient].unwrap(wrap, info)


def open_identity(paths: Sequence[Path], passphrase: Passphrase, warn: Callable[[str], object]) -> Identity:
    """What these files unwrap together: secret keys, shares of them, paper keys that were typed, identities
    of age, programs. ``warn`` gets what is not as it should be, in words. Raises AccessError, also for shares
    that are too few, or not of one key."""
    identities: list[Identity] = []
    shares: list[tuple[Path, Secret]] = []
    for path in paths:
        data, lies_open = read_key_file(path)
        found = _identities_in(path, data, passphrase)
        if lies_open:
            warn(f"{path}: others may read or write this secret: chmod 600 {path}")
        if isinstance(found, Secret):
            if found.share:
                shares.append((path, found))
            else:
                identities.append(_private_key(path, found))
        else:
            identities += found
    identities += _combined(shares)
    if not identities:
        raise AccessError("no identity was given")
    return identities[0] if len(identities) == 1 else AnyOf(identities)


def handed_identity(name: str, data: bytes, passphrase: str) -> tuple[Identity, bytes]:
    """What a key opens that was handed in as the content of a file of this name; and the same content without
    its passphrase, for a process that is to have it. Some identities are for who has the files here: programs
    (whoever hands a key in must not start any), shares, what takes much work to decrypt. Raises AccessError.
    """
    path = Path(name)
    if data.startswith(_AGE_FILES):
        raise AccessError(f"{path}: decrypt it before (age --decrypt): what that costs has no bounds here")
    document = _document_in(path, data)
    if document is not None:
        if "mailhaul_command" in document:
            raise AccessError(f"{path}: it names a program, which only a file of this host may")
        cost = parse_secret(path, data, lies_open=False).cost
        if cost and cost.n * cost.r * cost.p > _MOST_HANDED_WORK:
            raise AccessError(f"{path}: its passphrase takes more work than is done here (scrypt)")

    def given(_path: Path) -> str:
        if not passphrase:
            raise AccessError(f"{path}: a passphrase is needed", path=str(path))
        return passphrase

    found = _identities_in(path, data, given)
    if isinstance(found, Secret):
        if found.share:
            raise AccessError(f"{path}: is one share of a key: shares are put together on the command line")
        return _private_key(path, found), without_passphrase(found)
    return found[0] if len(found) == 1 else AnyOf(found), data


def _identities_in(path: Path, data: bytes, passphrase: Passphrase) -> Secret | Sequence[Identity]:
    document = _document_in(path, data)
    if document is not None:
        if "mailhaul_command" in document:
            return (_command(path, document),)
        file = parse_secret(path, data, lies_open=False)
        return file.open(passphrase(path) if file.cost else None)
    text = data.decode("utf-8", "replace")
    if data.startswith(_AGE_FILES):
        text = _decrypted_by_age(path, data, passphrase(path))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if lines and all(line.startswith(_AGE_IDENTITY) for line in lines):
        return [AgeIdentity(path.name, line) for line in lines]
    if lines and lines[0].split() == HEADING.split():
        try:
            return paper_secret(path.stem, text)
        except ValueError as error:
            raise AccessError(f"{path}: {error}", path=str(path)) from error
    if lines and lines[0].startswith(("mailhaul-recipient ", "age1")):
        raise AccessError(f"{path}: is a public key; what opens keys is its secret half", path=str(path))
    raise AccessError(
        f"{path}: is no identity: neither a secret key, nor a paper key below the line {HEADING!r}, nor "
        "one of age, nor one with a command",
        path=str(path),
    )


def _document_in(path: Path, data: bytes) -> dict[str, object] | None:
    """The JSON document that is in a file; None: there is none. What may be handed in is decided by the same
    reading as what is done with it. Raises AccessError."""
    text = data.decode("utf-8", "replace")
    if not text.lstrip().startswith("{"):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AccessError(f"{path}: is no identity: {error}", path=str(path)) from error
    return document if isinstance(document, dict) else {}


def _command(path: Path, document: Mapping[str, object]) -> Command:
    wrong = None
    arguments, limit = document.get("command"), document.get("limit_seconds", _COMMAND_LIMIT_SECONDS)
    if document["mailhaul_command"] != 1:
        wrong = "its version is another than 1"
    elif not (
        isinstance(arguments, list) and arguments and all(isinstance(argument, str) for argument in arguments)
    ):
        wrong = "command is no list of strings"
    elif not (type(limit) in (int, float) and 0 < float(str(limit)) <= _MOST_COMMAND_SECONDS):
        wrong = "limit_seconds is no number up to 3600"
    elif path.stat().st_mode & _WRITABLE_BY_OTHERS:
        wrong = f"others may write here what is started: chmod go-w {path}"
    if wrong:
        raise AccessError(f"{path}: is no identity with a command: {wrong}", path=str(path))
    try:
        recipient = recipient_of_text(path.name.partition(".")[0], str(document.get("recipient")))
    except ValueError as error:
        raise AccessError(f"{path}: recipient: {error}", path=str(path)) from error
    return Command(recipient, tuple(cast(list[str], arguments)), float(str(limit)))


def _private_key(path: Path, secret: Secret) -> PrivateKey:
    try:
        return PrivateKey(secret)
    except AccessError as error:
        raise AccessError(f"{path}: {error.message}", path=str(path)) from error


def _combined(shares: Sequence[tuple[Path, Secret]]) -> Sequence[PrivateKey]:
    """The keys that the shares make, one for each recipient."""
    by_recipient: dict[bytes, list[tuple[Path, Secret]]] = {}
    for path, secret in shares:
        by_recipient.setdefault(secret.recipient, []).append((path, secret))
    return [_combined_one(several) for several in by_recipient.values()]


def _combined_one(several: Sequence[tuple[Path, Secret]]) -> PrivateKey:
    secret = several[0][1]
    found = {one.share.number: one.private for _, one in several if one.share}
    names = ", ".join(path.name for path, _ in several)
    if len({(one.share.set, one.share.threshold) for _, one in several if one.share}) != 1:
        raise AccessError(f"{names}: these shares were not made together, and make no key")
    needed = secret.share.threshold if secret.share else 0
    if len(found) < needed:
        raise AccessError(
            f"{names}: {needed} different shares of {secret.name} are needed, {len(found)} given: "
            "name each with --identity"
        )
    whole = Secret(
        name=secret.name,
        kem=secret.kem,
        recipient=secret.recipient,
        private=combine(dict(list(found.items())[:needed])),
    )
    try:
        return PrivateKey(whole)
    except AccessError:
        raise AccessError(f"{names}: these shares make no key: one of them is not what it was") from None


def _decrypted_by_age(path: Path, data: bytes, passphrase: str) -> str:
    pyrage = _pyrage()
    try:
        return bytes(pyrage.passphrase.decrypt(data, passphrase)).decode("ascii", "replace")
    except pyrage.DecryptError:
        raise AccessError(
            f"{path}: the passphrase is wrong, or the file is damaged", path=str(path)
        ) from None


def _check_own(identity: Identity, wrap: Wrap) -> None:
    if wrap.recipient not in identity.recipients:
        raise AccessError(f"a key that is wrapped for {wrap.name} does not open with another identity")


def _does_not_open() -> DamagedError:
    return DamagedError("a wrapped key does not open", reason="wrapped-key")


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _pyrage() -> Any:
    try:
        import pyrage
    except ImportError as error:
        raise AccessError("for identities of age pyrage is needed: pip install 'mailhaul[age]'") from error
    return pyrage
