"""The metadata of one version of a mailbox, frame by frame: for whoever compares or searches many versions.

Most frames of a version are those to which the version before refers. Their pointers tell, so that no frame
has to be read to learn what it has in common with another."""

from __future__ import annotations

from functools import cached_property

from ...groups.paths import LogicalPath
from ...proto.archive.mailboxes import FolderEntry
from ...proto.archive.stored import StoredMailbox

LEFT_OUT = frozenset({"excluded", "not-asked"})
"""Why a folder that may well be in the mailbox is not in its metadata."""


def lasting_key(uid: int, base: bytes) -> bytes:
    """What a message is known by within its folder, in all versions."""
    return base or b"/%d" % uid  # a slash is in no file name


class MailboxFrames(StoredMailbox):
    """A mailbox as the metadata of an archive tells of it. Methods raise DamagedError."""

    @cached_property
    def folders(self) -> dict[str, FolderEntry]:
        """The folders by name, in the order in which they are stored."""
        return {folder.folder.name: folder for folder in self.mailbox.folders}

    @cached_property
    def _left_out(self) -> tuple[str, ...]:
        named = (
            LogicalPath.parse(skip.path).folder for skip in self.mailbox.skipped if skip.reason in LEFT_OUT
        )
        return tuple(f"{one}/" for one in named if one is not None)

    def leaves_out(self, folder: str) -> bool:
        """Whether this version would not have a folder in any case: it was excluded, or not asked for."""
        return f"{folder}/".startswith(self._left_out)
