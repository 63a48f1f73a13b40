"""Control directories (``CONTROL=`` of Dovecot): where a server keeps UID lists, keywords and subscriptions
apart from the mail.

There each folder has a directory of its name, the INBOX too, without the one that ``DIRNAME=`` adds. What
lies there is listed and stored as if it lay in the folders themselves: so a backup can be restored to a
server with a control directory, and to one without.
"""

from __future__ import annotations

from collections.abc import Iterable

from .directories import is_directory, joined, names_in, opened

_INBOXES = (b".INBOX", b"INBOX")
_FILES = (b"dovecot-uidlist", b"dovecot-keywords", b"dovecot-uidvalidity", b"subscriptions")


def is_control_file(name: bytes) -> bool:
    """Whether the server keeps a file of this name in the control directory, if there is one."""
    return name.startswith(_FILES)


class Control:
    """The control directory of one mailbox, open as ``fd``. ``end`` is how the paths of all folders end (see
    ``folder_names.directory_name``), ``dotted`` whether the others lie as in Maildir++."""

    def __init__(self, fd: int, end: bytes = b"", *, dotted: bool = True) -> None:
        self.fd = fd
        self._end = end
        self._inboxes = _INBOXES if dotted else _INBOXES[::-1]

    def path(self, folder: bytes) -> bytes:
        """Where in it the lists of the folder with this path lie."""
        if folder:
            return folder.removesuffix(self._end)
        return next((name for name in self._inboxes if is_directory(self.fd, name)), self._inboxes[0])


def control_of(root: int, fd: int) -> Control:
    """The control directory ``fd`` of the mailbox in the open directory ``root``. Raises OSError."""
    return Control(fd, _end(root, fd), dotted=not is_directory(fd, b"INBOX"))


def _end(root: int, control: int) -> bytes:
    """With ``DIRNAME=``: the INBOX holds a directory with ``cur`` that its control directory lacks."""
    for name in _INBOXES:
        try:
            with opened(root, (name,)) as inbox:
                below = sorted(_folders(inbox, names_in(inbox)))
        except OSError:
            continue
        found = [one for one in below if not is_directory(control, joined(name, one))]
        if len(found) == 1:
            return b"/" + found[0]
    return b""


def _folders(directory: int, names: Iterable[bytes]) -> Iterable[bytes]:
    if not is_directory(directory, b"cur"):
        yield from (name for name in names if is_directory(directory, name + b"/cur"))
