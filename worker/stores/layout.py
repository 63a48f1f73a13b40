"""How the mailboxes of a store are laid out: by a template, or wherever they are found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from ...proto.records import Skipped
from .acceptance import NOTHING, Acceptance
from .discovery import Discovery
from .location import Location
from .template import Template, is_template


class Layout(Protocol):
    """From users to directories and back."""

    @property
    def anchor(self) -> bytes:
        """The directory that all mailboxes lie in or below."""

    def users(self) -> Iterator[str]:
        """See ``MailStore.users``."""

    def left_out(self) -> Sequence[Skipped]:
        """See ``MailStore.left_out``."""

    def locate(self, user: str) -> Location:
        """Where the mailbox of a user lies. Raises StoreError if it can't lie anywhere."""

    def lay_out(self, user: str, place: bytes) -> Location:
        """Where a mailbox that lay at ``place`` is to be written. Raises StoreError."""


def make_layout(path: str, acceptance: Acceptance = NOTHING) -> Layout:
    """The layout that a partition's path means. Raises ConfigError for a template that is none."""
    return Template(path, acceptance) if is_template(path) else Discovery(path, acceptance)
