"""The place of what other programs keep: it answers "not yet", and where the file is, until it is back."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ...proto.archive.files import LocalFile
from ...proto.archive.reader import open_sealed
from ...proto.errors import DamagedError, EncryptedError, NotYetError
from ...proto.records import CONFIRMED
from .holdings import ConfirmedCopies
from .names import parse_name
from .places import open_local


class ConfirmedSource:
    """See Source. The ``version`` of a copy says where it is kept."""

    name = CONFIRMED

    def __init__(self, settings: ConfirmedCopies) -> None:
        self._staging = Path(settings.staging)

    def open(self, name: str, version: str = "") -> LocalFile:
        """The file, once it lies in the staging area under its name again, and has its end. Raises
        NotYetError, which says what is to be brought from where to where; UnreadableError."""
        path = self._staging / name
        told = f"archive {parse_name(name).digits} is kept at {version}: bring its file back as {path}"
        facts = {"name": name, "location": version, "path": str(path)}
        try:
            file = open_local(str(path))
        except DamagedError as error:
            if error.facts.get("reason") != "missing":
                raise
            raise NotYetError(told, **facts) from error
        try:
            with suppress(EncryptedError):  # its end is there
                open_sealed(file)
        except DamagedError as error:
            file.close()
            raise NotYetError(f"{told}; what lies there is not whole", **facts) from error
        except BaseException:
            file.close()
            raise
        return file

    def close(self) -> None:
        """See Source."""
