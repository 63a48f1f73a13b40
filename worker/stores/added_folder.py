"""A folder that no store had: where it lies, and whose it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...proto.records import Directory, DirectoryKind, Folder
from .folder_names import folder_path


def added_folder(name: str, beside: Sequence[Folder]) -> Folder:
    """See ``MailboxWriter.new_folder``. With nothing but an INBOX beside it, it lies as in Maildir++."""
    paths = [one.path for one in beside if one.path]
    dotted = not paths or any(path.startswith(b".") for path in paths)
    path = folder_path(name, dotted=dotted)
    return Folder(name=name, path=path, directories=_directories(path, beside))


def _directories(path: bytes, beside: Sequence[Folder]) -> tuple[Directory, ...]:
    """The record of its own directory, as another folder has one."""
    for folder in beside:
        for record in folder.directories:
            if record.kind is DirectoryKind.FOLDER:
                return (replace(record, path=path),)
    return ()
