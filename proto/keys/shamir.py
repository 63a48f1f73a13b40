"""A secret in shares, of which so many give it back and fewer say nothing about it: Shamir's scheme, byte by
byte over GF(256) with the polynomial of AES (x^8 + x^4 + x^3 + x + 1). KEYS.md, "Shares"."""

from __future__ import annotations

import os
from collections.abc import Mapping

MOST_SHARES = 255


def split(secret: bytes, threshold: int, count: int) -> dict[int, bytes]:
    """Shares by their numbers, 1 to ``count``, each as long as the secret; ``threshold`` (2 at least) of them
    give it back. Raises ValueError."""
    if not 2 <= threshold <= count <= MOST_SHARES:
        raise ValueError(f"of {count} shares {threshold} can't be what is needed: 2 to all of at most 255")
    shares = {number: bytearray(len(secret)) for number in range(1, count + 1)}
    for place, byte in enumerate(secret):
        coefficients = (byte, *os.urandom(threshold - 1))
        for number, share in shares.items():
            share[place] = _value(coefficients, number)
    return {number: bytes(share) for number, share in shares.items()}


def combine(shares: Mapping[int, bytes]) -> bytes:
    """The secret of as many shares as are needed, by their numbers. What is no share of it, or too few of
    them, gives something else: whoever calls checks. Raises ValueError for shares that can't be of one."""
    if not shares or len({len(share) for share in shares.values()}) != 1:
        raise ValueError("shares of one secret have the same length")
    if not all(1 <= number <= MOST_SHARES for number in shares):
        raise ValueError("shares have numbers from 1 to 255")
    weights = {number: _weight(number, tuple(shares)) for number in shares}
    secret = bytearray(len(next(iter(shares.values()))))
    for number, share in shares.items():
        for place, byte in enumerate(share):
            secret[place] ^= _times(weights[number], byte)
    return bytes(secret)


def _value(coefficients: tuple[int, ...], at: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = _times(value, at) ^ coefficient
    return value


def _weight(number: int, numbers: tuple[int, ...]) -> int:
    """Of Lagrange's interpolation at 0; subtraction is exclusive or."""
    weight = 1
    for other in numbers:
        if other != number:
            weight = _times(weight, _times(other, _inverse(other ^ number)))
    return weight


def _inverse(value: int) -> int:
    result = value  # value to the power of 254
    for _ in range(6):
        result = _times(_times(result, result), value)
    return _times(result, result)


def _times(left: int, right: int) -> int:
    product = 0
    while right:
        if right & 1:
            product ^= left
        left = left << 1 ^ (0x11B if left & 0x80 else 0)
        right >>= 1
    return product
