"""Which folders a user has on the server, and how their names are made of levels."""

from __future__ import annotations

from collections.abc import Iterable

from imapclient import IMAPClient

from ..folder_names import INBOX

_NO_FOLDER = {b"\\noselect", b"\\nonexistent"}


def namespace(client: IMAPClient) -> tuple[str, str]:
    """The prefix of the user's own folders, and the separator of levels; "" if there are none."""
    if client.has_capability("NAMESPACE"):
        personal = client.namespace().personal
        if personal:
            prefix, separator = personal[0]
            return str(prefix), separator or ""
    listed = client.list_folders("", "")
    separator = listed[0][1] if listed else None
    return "", separator.decode("ascii") if separator else ""


def listed_folders(client: IMAPClient) -> list[str]:
    """The folders that can hold messages."""
    return [_named(name) for flags, _, name in client.list_folders() if not _marks(flags) & _NO_FOLDER]


def subscribed_folders(client: IMAPClient) -> list[str]:
    """The folders that the user has subscribed to."""
    return [_named(name) for _, _, name in client.list_sub_folders()]


def _named(name: object) -> str:
    text = str(name)
    return INBOX if text.upper() == INBOX else text


def _marks(flags: Iterable[bytes]) -> set[bytes]:
    return {flag.lower() for flag in flags}
