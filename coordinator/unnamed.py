"""What is recorded of runs, without the names of mailboxes that were erased."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from ..groups.paths import LogicalPath
from ..proto.erased import Erased
from ..proto.errors import UsageError
from ..proto.records import RunId, Skipped
from ..proto.run_ends import RunEnd, ScopeEnd
from ..proto.structs import replace

NOBODY = "(erased)"
"""Stands where a name stood."""

_PATHS = re.compile(r" (?=/)")


class Unnaming:
    """Takes names away, of those mailboxes that were ``erased``. Records of runs hold paths and free text:
    paths are recognised by themselves; in free text those names are found that are known from what was looked
    at before."""

    def __init__(self, erased: Erased) -> None:
        self._erased = erased
        self._names: set[str] = set()

    def is_erased(self, partition: str, user: str, run: str) -> bool:
        """Whether what a run has stored of a mailbox is erased."""
        found = self._erased.holds(partition, user, run)
        if found:
            self._names.add(user)
        return found

    def is_of(self, path: str, run: str) -> bool:
        """Whether a path leads to such a mailbox, or into it. What is no path does not."""
        found = _parsed(path)
        if found is None or found.partition is None or found.user is None:
            return False
        return self.is_erased(found.partition, found.user, run)

    def paths(self, text: str, run: str) -> str:
        """The paths that a run was over."""
        told = []
        for one in filter(None, _PATHS.split(text)):
            path = _parsed(one)
            if path is not None and self.is_of(one, run):
                one = str(LogicalPath(path.partition, path.group, NOBODY))
            told.append(one)
        return " ".join(told)

    def entries(self, entries: Iterable[Skipped], run: str) -> tuple[Skipped, ...]:
        """What a run left out, or warned of."""
        kept = [entry for entry in entries if not self.is_of(entry.path, run)]
        return tuple(
            Skipped(self.text(skip.path, run), skip.reason, self.text(skip.detail, run)) for skip in kept
        )

    def text(self, text: str, run: str) -> str:
        """Free text: an error, or what a run was asked for."""
        for name in self._names if text else ():
            if self._erased.names_any(name, run):
                text = re.sub(rf"(?<![\w.@+-]){re.escape(name)}(?![\w@+-])", NOBODY, text)
        return text

    def document(self, value: Any, run: str) -> Any:
        """A JSON document: its paths, and free text."""
        if isinstance(value, str):
            return self.text(self.paths(value, run) if value.startswith("/") else value, run)
        if isinstance(value, dict):
            return {self.document(key, run): self.document(one, run) for key, one in value.items()}
        return [self.document(one, run) for one in value] if isinstance(value, list) else value

    def run_end(self, end: RunEnd) -> RunEnd:
        """How a run ended."""
        scopes = tuple(self._scope(scope, end.run) for scope in end.scopes)
        skipped = [(place, skip) for place, skip in end.skipped if not self.is_of(skip.path, end.run)]
        paths, alarms = self.paths(end.paths, end.run), self.entries(end.alarms, end.run)
        left_out = self.entries(end.left_out, end.run)
        return replace(
            end,
            paths=paths,
            options=self.text(end.options, end.run),
            error=self.text(end.error, end.run),
            units=tuple(replace(unit, error=self.text(unit.error, end.run)) for unit in end.units),
            failed=tuple((what, code, self.text(told, end.run)) for what, code, told in end.failed),
            left_out=left_out,
            alarms=alarms,
            skipped=tuple(
                (place, replace(one, detail=self.text(one.detail, end.run))) for place, one in skipped
            ),
            scopes=scopes,
        )

    def _scope(self, scope: ScopeEnd, run: RunId) -> ScopeEnd:
        return replace(
            scope,
            others=tuple(one for one in scope.others if not self.is_erased(scope.partition, one[0], run)),
            passed_over=tuple(
                one for one in scope.passed_over if not self.is_erased(scope.partition, one, run)
            ),
        )

    def is_named_in(self, value: object, partitions: Iterable[str], run: str) -> bool:
        """Whether a JSON document names such a mailbox: by a path, or by the name of its user alone."""
        there = tuple(partitions)
        for text in _texts(value):
            if any(self.is_of(one, run) for one in _PATHS.split(text)):
                return True
            if any(self.is_erased(one, text, run) for one in there):
                return True
        return any(self.text(text, run) != text for text in _texts(value))


def _parsed(path: str) -> LogicalPath | None:
    try:
        return LogicalPath.parse(path) if path.startswith("/") else None
    except UsageError:
        return None


def _texts(value: object) -> Iterator[str]:
    """All texts of a JSON document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _texts(key)
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
