"""Later looks at a mailbox: which of its directories are new or have changed since they were looked through.

Folders are read one after the other, so what is moved between them meanwhile may be in none when it is
read. Only a mailbox that held still was seen whole: then there was a moment at which every folder was as it
was read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from .attributes import AttributeReader
from .directories import confirmed, joined, opened, split
from .location import RESERVED
from .marks import tick_ns
from .notices import Notices
from .survey import OWN, Survey, contents_of, survey

PAUSES = (0.0, 0.03, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0)
"""Seconds to wait before each later look: as many looks as there are, at a mailbox that never holds still.
After a tick of the file system's clock a change in the tick of the look before shows."""


class LaterLooks:
    """The directories of a mailbox as its survey found them, to be looked at again. ``now`` is the clock, in
    nanoseconds since 1970."""

    def __init__(
        self,
        root: int,
        found: Survey,
        notices: Notices,
        attributes: AttributeReader,
        now: Callable[[], int],
    ) -> None:
        self.survey = found
        self._attributes = attributes
        self._root = root
        self._notices = notices
        self._now = now
        self._times = {path: directory.mtime_ns for path, directory in found.records.items()}

    def new_folders(self) -> list[bytes]:
        """The folders that were not there when this was asked last; ``survey`` tells of them, too."""
        before = set(self.survey.folders)
        for path in list(self._times):
            for start in self._made_in(path):
                self._add(survey(self._root, self._notices, start, attributes=self._attributes))
        return [path for path in self.survey.folders if path not in before]

    def _made_in(self, path: bytes) -> Iterator[bytes]:
        """The directories that were made in this one since; itself, if it is a folder now."""
        try:
            with opened(self._root, split(path)) as directory:
                changed = os.fstat(directory).st_mtime_ns
                if changed == self._times[path] and self._now() - changed > tick_ns(changed):
                    return
                names = contents_of(directory).directories
        except OSError as error:
            # A folder that is gone is told by whoever is to read it.
            del self._times[path]
            if not isinstance(confirmed(error, self._root, path), FileNotFoundError):
                self._notices.failed(path, error)
            return
        self._times[path] = changed
        is_folder = path in self.survey.folders
        if not is_folder and (b"cur" in names or b"new" in names):
            yield path
            return
        for name in names:
            below = joined(path, name)
            if below not in self._times and not name.startswith(RESERVED) and not (is_folder and name in OWN):
                yield below

    def _add(self, found: Survey) -> None:
        known = self.survey
        self._times |= {path: directory.mtime_ns for path, directory in found.records.items()}
        self.survey = Survey(
            tuple(sorted({*known.folders, *found.folders})),
            tuple(sorted({*known.others, *found.others} - set(found.folders))),
            {**known.records, **found.records},
            {**known.contents, **found.contents},
        )
