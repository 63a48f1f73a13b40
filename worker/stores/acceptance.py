"""What an administrator knows of and has accepted that it is not backed up: patterns of paths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from ...proto.records import Skipped
from ...proto.structs import replace

ACCEPTED = "accepted"

_NEVER = frozenset({"io-error", "vanished", "doveadm"})
"""What is no matter of where something lies."""


class Acceptance:
    """Patterns as of the shell, in which ``*`` stands for slashes, too. What they fit is accepted, and what
    is below it."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = patterns

    @property
    def any(self) -> bool:
        """Whether anything is."""
        return bool(self._patterns)

    def judged(self, skipped: Skipped) -> Skipped:
        """How something is reported that is left out; the reason is ``accepted`` if a pattern fits."""
        if skipped.reason in _NEVER or not any(_fits(skipped.path, pattern) for pattern in self._patterns):
            return skipped
        return replace(
            skipped,
            reason=ACCEPTED,
            detail=f"{skipped.reason}: {skipped.detail}" if skipped.detail else skipped.reason,
        )

    def all_judged(self, skipped: Iterable[Skipped]) -> list[Skipped]:
        """``judged``, of each."""
        return [self.judged(skip) for skip in skipped]


def _fits(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}/*")


NOTHING = Acceptance(())
"""Where nothing is accepted."""
