"""A layout in which mailboxes are looked for where a restore writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...proto.records import Skipped
from .layout import Layout
from .location import Location


class Placed:
    """A Layout: the mailboxes of ``places`` (by user, see ``MailTarget.open_mailbox``) lie where another one
    lays them out."""

    def __init__(self, layout: Layout, places: Mapping[str, bytes]) -> None:
        self._layout = layout
        self._places = places

    @property
    def anchor(self) -> bytes:
        return self._layout.anchor

    def users(self) -> Iterator[str]:
        return iter(sorted(self._places))

    def left_out(self) -> Sequence[Skipped]:
        return ()

    def locate(self, user: str) -> Location:
        return self.lay_out(user, self._places.get(user, b""))

    def lay_out(self, user: str, place: bytes) -> Location:
        return self._layout.lay_out(user, place)
