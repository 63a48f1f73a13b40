"""What the fuzzer of the scanner begins with: ``python -m mailhaul.tests.fuzz.seeds DIRECTORY`` writes
``seeds/``, mail of the corpora where these are at hand, and ``words``, what the scanner looks for."""

from __future__ import annotations

import sys
from pathlib import Path

from mailhaul.tests.corpora import corpus, shared_place
from mailhaul.tests.medleys import PLAIN, WORDS

_MOST_BYTES = 20_000


def main(place: Path) -> None:
    seeds = place / "seeds"
    seeds.mkdir(parents=True, exist_ok=True)
    shared = shared_place()
    mails = corpus(shared, "tricky", "sample") if shared is not None else []
    for number, mail in enumerate([PLAIN, *(PLAIN + word for word in WORDS), *mails]):
        (seeds / f"{number}").write_bytes(mail[:_MOST_BYTES])
    quoted = ("".join(f"\\x{byte:02x}" for byte in word) for word in WORDS if len(word) <= 64)
    (place / "words").write_text("".join(f'"{word}"\n' for word in quoted))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
