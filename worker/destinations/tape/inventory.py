"""What is known of the volumes without loading any: a record for each, and which ones somebody should bring.

The records are made again from the volumes themselves (``scanning``); only what was removed, or retired by
hand, stands here alone: without it more is kept than has to be.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ....proto.errors import DamagedError, PlaceError
from ....proto.structs import Record, asdict, field, replace
from .contents import Contents, Entry, Label, decode_entry, decode_label, entry_fields
from .headers import Header, Kind

_VOLUMES = "volumes"
_WANTED = "wanted.json"
_LOCK = "lock"


class KnownVolume(Record, kw_only=True):
    """A volume as it was when it was last in a drive. ``tag`` is its bar code, or its file. ``retired`` says
    why nothing is written on it any more; ``alerts`` are what drives told of it."""

    label: Label
    contents: Contents = field(default_factory=Contents)
    tag: str = ""
    retired: str = ""
    alerts: tuple[str, ...] = ()

    @property
    def written(self) -> str:
        """When an archive was last committed to it (ISO 8601), else when it was labelled."""
        return max((entry.written for entry in self.contents.entries), default=self.label.made)

    @property
    def empty(self) -> bool:
        """Whether all that was on it was removed."""
        return all(entry.removed for entry in self.contents.entries)


class Wanted(Record, kw_only=True):
    """A volume that has to be brought: ``volume`` and ``label`` where a certain one is meant, else any of
    ``pool`` with room. ``since`` is ISO 8601. Once somebody was ``asked`` for it, that is not done again."""

    pool: str
    why: str
    since: str
    volume: str = ""
    label: str = ""
    asked: bool = False


class Inventory:
    """The records below a directory. Any number of processes; who writes the record of a volume has it in a
    drive, or finds it in none."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._read: dict[str, tuple[tuple[int, int, int], KnownVolume]] = {}

    def all(self) -> Iterator[KnownVolume]:
        """Every known volume, in any order. Raises PlaceError for a record that can't be read."""
        try:
            names = sorted(os.listdir(self._directory / _VOLUMES))
        except FileNotFoundError:
            return
        except OSError as error:
            raise PlaceError(f"{self._directory}: {error.strerror}") from error
        for name in names:
            if name.endswith(".json") and (known := self.get(name.removesuffix(".json"))):
                yield known

    def get(self, volume: str) -> KnownVolume | None:
        """What is known of a volume, by its UUID."""
        path = self._path(volume)
        try:
            status = path.stat()
            seen = (status.st_ino, status.st_size, status.st_mtime_ns)
            read = self._read.get(volume)
            if read is None or read[0] != seen:
                read = self._read[volume] = (seen, _decode(json.loads(path.read_bytes())))
        except FileNotFoundError:
            self._read.pop(volume, None)
            return None
        except (OSError, ValueError, DamagedError) as error:
            raise PlaceError(
                f"{path}: the record of a volume can't be read ({error}); remove it, and `mailhaul tape"
                " inventory` makes it again from the tape",
                path=str(path),
            ) from error
        return read[1]

    def put(self, known: KnownVolume) -> None:
        """Record what is known of a volume; durable. What was removed from it, or retired it, meanwhile stays
        so."""
        with self._locked():
            self._put(_merged(known, self.get(known.label.volume)))

    def _put(self, known: KnownVolume) -> None:
        document = {
            "label": asdict(known.label),
            "contents": {
                **asdict(known.contents),
                "entries": [entry_fields(entry) for entry in known.contents.entries],
            },
            "tag": known.tag,
            "retired": known.retired,
            "alerts": list(known.alerts),
        }
        self._write(self._path(known.label.volume), document)

    def forget(self, volume: str) -> None:
        """A volume that is no more. Repeatable."""
        self._path(volume).unlink(missing_ok=True)

    def wanted(self) -> Sequence[Wanted]:
        """What somebody should bring."""
        try:
            found = json.loads((self._directory / _WANTED).read_bytes())
            return [Wanted(**one) for one in found]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError):
            # It is asked for anew by whoever needs it.
            return []

    def want(self, one: Wanted) -> None:
        """Repeatable: what was asked for stays asked for since then."""
        with self._locked():
            wanted = self.wanted()
            if not any(_same(one, other) for other in wanted):
                self._write(self._directory / _WANTED, [asdict(each) for each in (*wanted, one)])

    def note_asked(self, one: Wanted) -> None:
        """Somebody was asked to bring it."""
        with self._locked():
            wanted = [replace(each, asked=each.asked or _same(each, one)) for each in self.wanted()]
            self._write(self._directory / _WANTED, [asdict(each) for each in wanted])

    def came(self, pool: str, volume: str) -> None:
        """A volume was found: it is not wanted any more. Without ``volume``, one of the pool with room."""
        if not self.wanted():
            return
        came = Wanted(pool=pool, volume=volume, why="", since="")
        with self._locked():
            wanted = self.wanted()
            left = [asdict(wish) for wish in wanted if not _same(wish, came)]
            if len(left) < len(wanted):
                self._write(self._directory / _WANTED, left)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else changes a record meanwhile."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PlaceError(f"{self._directory}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _path(self, volume: str) -> Path:
        return self._directory / _VOLUMES / f"{volume}.json"

    def _write(self, path: Path, document: object) -> None:
        new = path.with_suffix(f".{os.getpid()}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("w") as file:
                json.dump(document, file, separators=(",", ":"))
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
            directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            with suppress(OSError):
                new.unlink()
            raise PlaceError(f"{path}: {error.strerror}", path=str(path)) from error


def removed(known: KnownVolume, block: int) -> KnownVolume:
    """The same volume, with the archive at a block given up."""
    entries = tuple(
        replace(entry, removed=True) if entry.block == block else entry for entry in known.contents.entries
    )
    return replace(known, contents=replace(known.contents, entries=entries))


def _merged(known: KnownVolume, recorded: KnownVolume | None) -> KnownVolume:
    if recorded is None:
        return known
    gone = {entry.block for entry in recorded.contents.entries if entry.removed}
    entries = (replace(one, removed=True) if one.block in gone else one for one in known.contents.entries)
    return replace(
        known,
        contents=replace(known.contents, entries=tuple(entries)),
        retired=known.retired or recorded.retired,
        alerts=tuple(dict.fromkeys((*recorded.alerts, *known.alerts))),
    )


def _same(wanted: Wanted, other: Wanted) -> bool:
    return wanted.volume == other.volume and bool(wanted.volume or wanted.pool == other.pool)


def _decode(document: object) -> KnownVolume:
    header = Header(Kind.CATALOG, document if isinstance(document, dict) else {})
    label = Header(Kind.LABEL, _mapping(header, "label"))
    contents = Header(Kind.CATALOG, _mapping(header, "contents"))
    alerts = header.fields.get("alerts", [])
    return KnownVolume(
        label=decode_label(label),
        contents=Contents(
            entries=tuple(_entries(contents)),
            end_block=contents.number("end_block"),
            catalog_block=contents.number("catalog_block"),
            finished=contents.flag("finished"),
        ),
        tag=header.text("tag"),
        retired=header.text("retired"),
        alerts=tuple(map(str, alerts)) if isinstance(alerts, list) else (),
    )


def _entries(contents: Header) -> Iterator[Entry]:
    for document in contents.documents("entries"):
        yield decode_entry(document)


def _mapping(header: Header, name: str) -> dict[str, object]:
    value = header.fields.get(name)
    if not isinstance(value, dict):
        raise DamagedError(f"no {name}", reason="header")
    return value
