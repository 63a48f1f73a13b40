"""Which cipher a machine encrypts with fastest; what the keys of it are made of is elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .records import Cipher

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

    Aead = AESGCM | ChaCha20Poly1305


@cache
def quickest_cipher() -> Cipher:
    """What this machine encrypts with fastest: AES where the processor has instructions for it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    flags = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return Cipher.AES_256_GCM if any("aes" in flag for flag in flags) else Cipher.CHACHA20_POLY1305


def keyed_cipher(cipher: Cipher, key: bytes) -> Aead:
    """A cipher with a key of 32 bytes."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

    return AESGCM(key) if cipher is Cipher.AES_256_GCM else ChaCha20Poly1305(key)
