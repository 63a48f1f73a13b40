"""A secret as text that a person can type: lines with a checksum each. KEYS.md, "Paper keys".

Each line is checked by the code of Bech32m (BIP 350) over the number of the line, the number of lines and its
letters: up to four wrong letters of a line are always found, and so is a line that is missing, repeated or in
another place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .records import Kem
from .secret_files import PRIVATE_BYTES, Secret, Share

HEADING = "mailhaul paper key 1"

_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32M = 0x2BC830A3
_LINE_BYTES = 15
_DATA_LETTERS = _LINE_BYTES * 8 // 5
_CHECK_LETTERS = 6
_GROUP = 5
_HEAD_BYTES = 1 + 3 + 4 + 16
_LINES = sorted(-(-(_HEAD_BYTES + size) // _LINE_BYTES) for size in PRIVATE_BYTES.values())
_LABEL = re.compile(r"\s*(?:([0-9]{1,2})\s*:)?(.*)")


def paper_text(secret: Secret) -> str:
    """The secret in lines, below a heading that says whose it is; nothing of that is needed to read it."""
    share = secret.share
    which = bytes((share.number, share.threshold, share.count)) + share.set if share else bytes(7)
    data = bytes((secret.kem,)) + which + secret.recipient + secret.private
    data += bytes(-len(data) % _LINE_BYTES)
    pieces = [data[at : at + _LINE_BYTES] for at in range(0, len(data), _LINE_BYTES)]
    lines = [_line(number, len(pieces), piece) for number, piece in enumerate(pieces, 1)]
    return "\n".join((HEADING, *lines)) + "\n"


def paper_secret(name: str, text: str) -> Secret:
    """The secret that was typed, whatever its letters' case, and where blanks are. Comments begin with ``#``.
    Raises ValueError, which says each line that has an error."""
    written = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if written and written[0].split() == HEADING.split():
        del written[0]
    if len(written) not in _LINES:
        raise ValueError(f"there are {len(written)} lines; a key has {' or '.join(map(str, _LINES))}")
    wrong: list[str] = []
    pieces = [_piece(number, len(written), line, wrong) for number, line in enumerate(written, 1)]
    if wrong:
        raise ValueError("; ".join(wrong))
    return _secret(name, b"".join(pieces))


def _secret(name: str, data: bytes) -> Secret:
    size_bytes = PRIVATE_BYTES.get(Kem(data[0]) if data[0] in tuple(Kem) else Kem.AGE)
    if size_bytes is None:
        raise ValueError("it is a kind of key that this program does not know")
    end = _HEAD_BYTES + size_bytes
    if len(data) < end or any(data[end:]):
        raise ValueError("the lines do not make a key")
    number, threshold, count = data[1:4]
    share = Share(number=number, threshold=threshold, count=count, set=data[4:8]) if number else None
    if share and not (2 <= threshold <= count and number <= count):
        raise ValueError("it can't be a share of a key")
    return Secret(
        name=name, kem=Kem(data[0]), recipient=data[8:24], private=data[_HEAD_BYTES:end], share=share
    )


def _line(number: int, count: int, piece: bytes) -> str:
    values = list(_fives(piece))
    letters = "".join(_LETTERS[value] for value in (*values, *_check(number, count, values)))
    groups = " ".join(letters[at : at + _GROUP] for at in range(0, len(letters), _GROUP))
    return f"{number:2}: {groups}"


def _piece(number: int, count: int, line: str, wrong: list[str]) -> bytes:
    """What a line holds; what is wrong with it goes to ``wrong``."""
    found = _LABEL.fullmatch(line)
    label, rest = (found[1], found[2]) if found else (None, line)
    letters = "".join(rest.split()).lower()
    where = f"line {label or number}"
    if label is not None and int(label) != number:
        wrong.append(f"{where} stands where line {number} belongs")
    elif strange := sorted(set(letters) - set(_LETTERS)):
        wrong.append(f"{where}: {' '.join(map(repr, strange))} does not occur in keys")
    elif len(letters) != _DATA_LETTERS + _CHECK_LETTERS:
        wrong.append(f"{where}: {len(letters)} letters instead of {_DATA_LETTERS + _CHECK_LETTERS}")
    else:
        values = [_LETTERS.index(letter) for letter in letters]
        data, check = values[:_DATA_LETTERS], values[_DATA_LETTERS:]
        if check == list(_check(number, count, data)):
            return _bytes(data)
        wrong.append(f"{where}: letters are wrong")
    return b""


def _check(number: int, count: int, values: Iterable[int]) -> Iterator[int]:
    sum_ = _polymod((number, count, *values, *(0,) * _CHECK_LETTERS)) ^ _BECH32M
    return ((sum_ >> 5 * place) & 31 for place in reversed(range(_CHECK_LETTERS)))


def _polymod(values: Iterable[int]) -> int:
    sum_ = 1
    for value in values:
        top = sum_ >> 25
        sum_ = (sum_ & 0x1FFFFFF) << 5 ^ value
        for place, factor in enumerate(_GENERATOR):
            if top >> place & 1:
                sum_ ^= factor
    return sum_


def _fives(data: bytes) -> Iterator[int]:
    number = int.from_bytes(data, "big")
    count = len(data) * 8 // 5
    return ((number >> 5 * place) & 31 for place in reversed(range(count)))


def _bytes(values: Iterable[int]) -> bytes:
    number = 0
    for value in values:
        number = number << 5 | value
    return number.to_bytes(_LINE_BYTES, "big")
