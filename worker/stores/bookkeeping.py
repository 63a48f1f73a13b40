"""Files of a Maildir that say of it what another server says of its own folders."""

from __future__ import annotations

from ...proto.records import StoredFile

_NAMES = (
    *(b"dovecot-uidlist", b"dovecot-uidvalidity", b"dovecot-keywords", b"dovecot.", b"maildirfolder"),
    *(b"maildirsize", b"courierimapuiddb", b"courierimapkeywords", b"dovecot-acl-list"),
)
"""How they begin."""


def is_bookkeeping(file: StoredFile) -> bool:
    """Whether a file means nothing to another server."""
    return not file.home and file.path.rpartition(b"/")[2].startswith(_NAMES)
