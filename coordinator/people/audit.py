"""The audit log: each act that changes something, each look into somebody's mail, and what was refused.

A file that only grows, a JSON object a line. Each line names the SHA-256 of the line before it, so that one
which is altered or taken out of the middle shows. Its end is on record with the service, so that one which is
cut off shows, too, and the next line says so for good (``lacking``). Whoever can write both could write all
of it anew: what guards against that is knowing elsewhere how it ended, as the digest of each morning says.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO

from ...proto.directories import make_private, sync_directory
from ...proto.errors import BackupError, DamagedError, StagingError
from ...proto.structs import Record, field, replace
from ..documents import plain
from ..flocks import flocked
from ..service.audit_end import AuditEnd, AuditEnds

_NOTHING_BEFORE = "0" * 64
_LACKING = "lacking"
"""In a line that was written where the end had been cut off: how the log had ended."""
_PATIENCE_SECONDS = 10.0
_LONGEST_VALUE = 4000
_LONGEST_FACTS = 3 * _LONGEST_VALUE
_TAIL_BYTES = 512 * 1024
"""More than any line has."""
_MOST_READ_BYTES = 16 * 2**20
_BLOCK_BYTES = 64 * 1024


class Act(Record, kw_only=True):
    """What somebody did, or was refused. ``who`` is a name (``cli:root``, ``anna``), ``where`` the address
    that it came from, ``on`` what it was about (a logical path, an operation, an account), ``why`` the
    reason that they gave; ``outcome`` is ``begun`` before the act, then ``done``, ``failed`` or ``refused``.
    """

    when: datetime
    who: str
    role: str
    where: str
    what: str
    on: str = ""
    why: str = ""
    outcome: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)


class Newest(Record, kw_only=True):
    """Acts of the log, the newest first, and the position before which there are older ones (None: there are
    none). ``is_cut``: the end of the log is lacking, or was when one of the lines was written that were read
    for them."""

    acts: tuple[dict[str, Any], ...]
    older: int | None = None
    is_cut: bool = False


class Flaw(Record):
    """What is wrong with a line of the log, or (``line`` 0) with the log."""

    line: int
    problem: str

    def __str__(self) -> str:
        return f"line {self.line} {self.problem}" if self.line else f"the log {self.problem}"


class AuditLog:
    """The log of a staging area. For any thread and process."""

    def __init__(self, staging: Path) -> None:
        self.path = staging / ".mailhaul" / "audit.jsonl"
        self._ends = AuditEnds(staging)

    def append(self, act: Act) -> None:
        """Add an act; it is durable on return. Raises StagingError: what can't be written down must not be
        done. LockedError."""
        lock = self.path.with_suffix(".lock")
        with flocked(lock, "somebody writes the audit log", patience_seconds=_PATIENCE_SECONDS):
            try:
                self._append(act)
            except OSError as error:
                raise StagingError(
                    f"{self.path}: can't be written: {error.strerror}", path=str(self.path)
                ) from error

    def _append(self, act: Act) -> None:
        make_private(self.path.parent)
        is_new = not self.path.exists()
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "r+b", buffering=0) as file:
            last = _last_line(file.fileno())
            # A line that a crash cut off stays as it is: the next names it as any other.
            ending = b"\n" if last and not last.endswith(b"\n") else b""
            document = {**_encoded(act), "before": _digest(last)}
            if further := _behind_torn(file.fileno()):
                document["before_that"] = further
            known = self._ends.known()
            if known is not None and not _stood(file.fileno(), known):
                document[_LACKING] = str(known)
            line = json.dumps(document, ensure_ascii=False).encode("utf-8") + b"\n"
            _write_all(file.fileno(), ending + line)
            os.fsync(file.fileno())
            end = AuditEnd(os.fstat(file.fileno()).st_size, _digest(line))
        if is_new:
            sync_directory(self.path.parent)
        # A crash before this leaves the log longer than is known, which is as it should be.
        self._ends.note(end)

    @contextmanager
    def acting(self, act: Act) -> Iterator[dict[str, object]]:
        """Around whatever changes something: the log says durably that it is begun before it is, and how it
        ended, with the facts that were found meanwhile: what the context has is for them. Raises as
        ``append``, and nothing is done where it can't be written down."""
        self.append(replace(act, outcome="begun"))
        found: dict[str, object] = {}
        try:
            yield found
        except BackupError as error:
            facts = {**act.facts, **found, "code": error.code}
            self.append(replace(act, outcome="failed", facts=facts))
            raise
        except BaseException:
            self.append(replace(act, outcome="failed", facts={**act.facts, **found}))
            raise
        self.append(replace(act, outcome="done", facts={**act.facts, **found}))

    def acts(self) -> Iterator[dict[str, Any]]:
        """The lines, decoded; what can't be is left out (``flaws`` tells). Raises StagingError."""
        for line in self._lines():
            if (act := _decoded(line)) is not None:
                yield act

    def newest(
        self, count: int, is_meant: Callable[[Mapping[str, Any]], bool], before: int | None = None
    ) -> Newest:
        """So many of those that are meant, the newest first, that stand before a position in the file (None:
        its end). No more is read for them than some 16 MB: where that was not enough, fewer are given, with
        the position to go on from. Raises StagingError."""
        found: list[dict[str, Any]] = []
        is_cut = self.is_cut
        with self._reading() as file:
            if file is not None:
                end = file.seek(0, os.SEEK_END)
                end = end if before is None else min(before, end)
                for position, line in _backwards(file, end):
                    act = _decoded(line)
                    is_cut = is_cut or (act is not None and _LACKING in act)
                    if act is not None and is_meant(act):
                        found.append(act)
                    if position and (len(found) == count or end - position > _MOST_READ_BYTES):
                        return Newest(acts=tuple(found), older=position, is_cut=is_cut)
        return Newest(acts=tuple(found), is_cut=is_cut)

    def end(self) -> AuditEnd | None:
        """How it ends as of now; None for one that is empty. Raises StagingError."""
        with self._reading() as file:
            last = _last_line(file.fileno()) if file else b""
            return AuditEnd(file.seek(0, os.SEEK_END), _digest(last)) if file and last else None

    def stood(self, end: AuditEnd) -> bool:
        """Whether the log has what it had when this was its end. Raises StagingError."""
        with self._reading() as file:
            return file is not None and _stood(file.fileno(), end)

    @property
    def is_cut(self) -> bool:
        """Whether what was written last is not there any more. Raises StagingError, DamagedError."""
        known = self._ends.known()  # first: the log only grows
        return known is not None and not self.stood(known)

    def was_cut(self, since: datetime) -> bool:
        """Whether that is so, or was when a line was written since then (aware), as the next line is the end
        from then on. Looks at the newest 16 MB or so. Raises StagingError, DamagedError."""
        begin = _moment(since)
        found = self.newest(1, lambda act: _LACKING in act and str(act.get("when", "")) >= begin)
        return self.is_cut or bool(found.acts)

    def flaws(self) -> Iterator[Flaw]:
        """What is wrong with the log, from its beginning on. A line that a crash cut off is named by the next
        as any other, so it is no flaw unless it is the last. Raises StagingError, DamagedError."""
        is_cut = self.is_cut
        before, number, named = _NOTHING_BEFORE, 0, ""
        linked: list[str] = []  # as of ``_behind_torn``, with the line itself
        for number, line in enumerate(self._lines(), 1):
            act = _decoded(line) or {}
            named = str(act.get("before", ""))
            if named and (named != before or act.get("before_that", linked[1:]) != linked[1:]):
                yield Flaw(number, "does not follow the line before it: something was altered or removed")
            if _LACKING in act:
                yield Flaw(number, f"was written where the end had been cut off: that was {act[_LACKING]}")
            before = _digest(line)
            linked = [before] if named else [before, *linked]
        if is_cut and not number:
            yield Flaw(0, "is gone")
        elif is_cut:
            yield Flaw(number, "is the last, and others were written behind it: the end was cut off")
        elif number and not named:
            yield Flaw(number, "is the last, and is cut off")

    def _lines(self) -> Iterator[bytes]:
        with self._reading() as file:
            yield from file or ()

    @contextmanager
    def _reading(self) -> Iterator[BinaryIO | None]:
        """The log, to read; None if there is none. Raises StagingError, also for what is read within."""
        try:
            with ExitStack() as stack:
                file = None
                with suppress(FileNotFoundError):
                    file = stack.enter_context(self.path.open("rb"))
                yield file
        except OSError as error:
            raise StagingError(
                f"{self.path}: can't be read: {error.strerror}", path=str(self.path)
            ) from error


def check(log: AuditLog) -> None:
    """Raises DamagedError for the first flaw of a log."""
    for flaw in log.flaws():
        raise DamagedError(f"{log.path}: {flaw}", path=str(log.path), line=flaw.line)


def _decoded(line: bytes) -> dict[str, Any] | None:
    """None for a line that is cut off."""
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _backwards(file: BinaryIO, end: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a file up to a position, the last first, each with where it begins."""
    begun = b""
    while end > 0:
        size = min(_BLOCK_BYTES, end)
        file.seek(end - size)
        block = file.read(size) + begun
        end -= size
        lines = block.split(b"\n")
        begun = lines[0]
        position = end + len(block)
        for line in reversed(lines[1:]):
            position -= len(line)
            if line:
                yield position, line
            position -= 1
    if begun:
        yield 0, begun


def _write_all(fd: int, data: bytes) -> None:
    """A disk that is nearly full takes a part of it without any error: that comes with the rest."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _behind_torn(fd: int) -> list[str]:
    """Where the last line is one that a crash cut off: the digests of the lines before it, up to the last
    that is whole, the newest first. What a torn line would have said of them is lost."""
    size = os.fstat(fd).st_size
    begin = max(0, size - _TAIL_BYTES)
    lines = os.pread(fd, size - begin, begin).splitlines()[::-1]
    torn = list(takewhile(lambda line: "before" not in (_decoded(line) or {}), lines))
    return [_digest(line) for line in lines[1 : len(torn) + 1]]


def _stood(fd: int, end: AuditEnd) -> bool:
    return end.size_bytes <= os.fstat(fd).st_size and _digest(_last_line(fd, end.size_bytes)) == end.digest


def _last_line(fd: int, size: int | None = None) -> bytes:
    """The last line of a file, or of so many bytes of it."""
    size = os.fstat(fd).st_size if size is None else size
    begin = max(0, size - _TAIL_BYTES)
    tail = os.pread(fd, size - begin, begin)
    return tail[tail.rstrip(b"\n").rfind(b"\n") + 1 :]


def _digest(line: bytes) -> str:
    return hashlib.sha256(line.rstrip(b"\n")).hexdigest() if line else _NOTHING_BEFORE


def _encoded(act: Act) -> dict[str, object]:
    document = {
        "when": _moment(act.when),
        "who": act.who,
        "role": act.role,
        "where": act.where,
        "what": act.what,
        "on": act.on,
        "why": act.why,
        "outcome": act.outcome,
    }
    facts = {name: _bounded(plain(value)) for name, value in act.facts.items()}
    return {
        **{name: _bounded(plain(value)) for name, value in document.items()},
        "facts": _bounded(facts, _LONGEST_FACTS),
    }


def _moment(when: datetime) -> str:
    """As it stands in a line; those of later moments sort behind."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds")


def _bounded(value: object, longest: int = _LONGEST_VALUE) -> object:
    """A value that leaves a line short enough to be found from the end of the file. Of one that is too long
    its beginning stands there, with how long it was and the hash of all of it: of a text as UTF-8, else as
    JSON without spaces."""
    if isinstance(value, str):
        if len(value) <= longest:
            return value
        return f"{value[:longest]}… ({len(value):,} characters, SHA-256 {_hash(value)})"
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if len(text) <= longest:
        return value
    count = {"count": len(value)} if isinstance(value, list | dict) else {}
    return {"cut": text[:longest], **count, "sha256": _hash(text)}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def is_about(act: Mapping[str, Any], who: str, on: str) -> bool:
    """Whether somebody did it, and whether it was about a path or anything below it (empty: either holds)."""
    about = str(act.get("on", ""))
    return (not who or act.get("who") == who) and (
        not on or about == on or about.startswith(on.rstrip("/") + "/")
    )
