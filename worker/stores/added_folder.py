"""What the folders of a mailbox say of its layout: where one that no store had is to lie, and whose it is."""

from __future__ import annotations

from collections.abc import Sequence

from ...proto.records import Directory, DirectoryKind, Folder
from ...proto.structs import replace
from .folder_names import directory_name, folder_path


def added_folder(name: str, beside: Sequence[Folder]) -> Folder:
    """See ``MailboxWriter.new_folder``. With nothing but an INBOX beside it, it lies as in Maildir++."""
    paths = [folder.path for folder in beside]
    dotted = not any(paths) or any(path.startswith(b".") for path in paths)
    path = folder_path(name, dotted=dotted)
    path = path + directory_name(paths) if path else {one.name: one.path for one in beside}.get(name, path)
    return Folder(name=name, path=path, directories=_directories(path, beside))


def lies_below(layout: Sequence[Folder]) -> bool:
    """Whether the mailbox's own directory is no folder, as with ``INBOX=`` elsewhere or ``DIRNAME=``."""
    return bool(layout) and all(folder.path for folder in layout)


def _directories(path: bytes, beside: Sequence[Folder]) -> tuple[Directory, ...]:
    """The record of its own directory, as another folder has one."""
    for folder in beside:
        for record in folder.directories:
            if record.kind is DirectoryKind.FOLDER:
                return (replace(record, path=path),)
    return ()
