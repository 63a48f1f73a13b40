"""Keys wrapped for a recipient with the public half of a pair. FORMAT.md, "Wrapped keys"."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ..errors import DamagedError
from .records import Kem, Recipient

X25519_BYTES = 32
MLKEM_PUBLIC_BYTES = 1184
MLKEM_SEED_BYTES = 64

_SUITES = {
    Kem.X25519: hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
    Kem.HYBRID: hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
}
_Public = X25519PublicKey | hpke.MLKEM768X25519PublicKey
_Private = X25519PrivateKey | hpke.MLKEM768X25519PrivateKey


def wrap(recipient: Recipient, secret: bytes, info: bytes) -> bytes:
    """A secret that only the private half opens again, and only with this ``info``. Raises ValueError for a
    public key that is none."""
    if recipient.kem is Kem.AGE:
        import pyrage  # only for who has such recipients

        to = pyrage.x25519.Recipient.from_str(recipient.public.decode("ascii"))
        return bytes(pyrage.encrypt(hashlib.sha256(info).digest() + secret, [to]))
    return _SUITES[recipient.kem].encrypt(secret, _public(recipient.kem, recipient.public), info)


def unwrap(kem: Kem, private: bytes, sealed: bytes, info: bytes) -> bytes:
    """The inverse, with a private key of X25519 (32 bytes) or a hybrid one (the seed of ML-KEM, 64 bytes, and
    that). Raises DamagedError (``wrapped-key``) if this key does not open it, or not with this ``info``."""
    try:
        return _SUITES[kem].decrypt(sealed, _private(kem, private), info)
    except (InvalidTag, ValueError) as error:
        raise DamagedError("a wrapped key does not open", reason="wrapped-key") from error


def public_of(kem: Kem, private: bytes) -> bytes:
    """The public half of a private key: of a hybrid one that of ML-KEM (1,184 bytes), and that of X25519."""
    key = _private(kem, private)
    if isinstance(key, X25519PrivateKey):
        return key.public_key().public_bytes_raw()
    return (
        MLKEM768PrivateKey.from_seed_bytes(private[:MLKEM_SEED_BYTES]).public_key().public_bytes_raw()
        + X25519PrivateKey.from_private_bytes(private[MLKEM_SEED_BYTES:]).public_key().public_bytes_raw()
    )


def _public(kem: Kem, public: bytes) -> _Public:
    if kem is Kem.X25519:
        return X25519PublicKey.from_public_bytes(public)
    return hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public[:MLKEM_PUBLIC_BYTES]),
        X25519PublicKey.from_public_bytes(public[MLKEM_PUBLIC_BYTES:]),
    )


def _private(kem: Kem, private: bytes) -> _Private:
    if kem is Kem.X25519:
        return X25519PrivateKey.from_private_bytes(private)
    return hpke.MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(private[:MLKEM_SEED_BYTES]),
        X25519PrivateKey.from_private_bytes(private[MLKEM_SEED_BYTES:]),
    )
