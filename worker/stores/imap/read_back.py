"""What the server has made of messages: size, flags and date of each are asked for, and of some the bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from .fetching import Seen, seen
from .outgoing import Sent
from .present import Present
from .session import Session

_SAMPLE = 50
"""Of so many messages the bytes of one are read; and of each that has what servers are known to alter."""


class ReadBack:
    """With ``everything`` the bytes of all messages are read. ``altered`` is called for each message that is
    not as it was sent, with what differs."""

    def __init__(
        self, session: Session, folder: str, altered: Callable[[Sent, str], None], *, everything: bool
    ) -> None:
        self._session = session
        self._folder = folder
        self._altered = altered
        self._everything = everything
        self._count = 0

    def check(self, sent: Sequence[Sent]) -> None:
        """Compare messages with what the server has of them, by their UIDs."""
        if not sent:
            return
        self._session.examine(self._folder)
        there = self._session.ask_in(self._folder, partial(seen, uids=[one.uid for one in sent]))
        contents = self._contents([one for one in sent if one.uid in there and self._is_chosen(one)])
        for one in sent:
            if (found := there.get(one.uid)) is None:
                self._altered(one, "it is not there any more")
            elif differences := "; ".join(_differences(one, found, contents.get(one.uid, one.digest))):
                self._altered(one, differences)

    def _is_chosen(self, sent: Sent) -> bool:
        self._count += 1
        return self._everything or not sent.is_plain or self._count % _SAMPLE == 1

    def _contents(self, sent: Sequence[Sent]) -> dict[int, bytes]:
        uids = [one.uid for one in sent]
        return Present(self._session, self._folder, uids).digests(uids) if uids else {}


def _differences(sent: Sent, found: Seen, digest: bytes) -> Iterator[str]:
    if found.size != sent.size:
        yield f"{sent.size} bytes became {found.size}"
    elif digest != sent.digest:
        yield f"the bytes are not the same, though they are as many ({sent.size})"
    there = {flag.casefold() for flag in found.flags}
    if lacking := [flag for flag in sent.flags if flag.casefold() not in there]:
        yield f"without {', '.join(lacking)}"
    if sent.seconds is not None and (found.date is None or int(found.date.timestamp()) != sent.seconds):
        yield f"the date became {found.date}"
