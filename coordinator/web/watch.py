"""One look for all who look on: while anybody does, what goes on is read once a second, and whoever looks on
hears when it is another than before.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from anyio.to_thread import run_sync
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from ..documents import plain
from .crowds import Crowd
from .presence import Now

MOST_WATCHERS = 64
MOST_OF_EACH = 8
_RETRY_SECONDS = 60
_PING_SECONDS = 15
_SEND_SECONDS = 10.0
_SECONDS = 1.0
_LONGEST_SECONDS = 600.0
"""Then a stream ends, and a browser begins another: with a session that is over it gets none."""


class Watch:
    """Streams of what goes on. All but ``close`` is for the event loop alone.

    ``look`` is called in a thread; ``on_error`` gets what it raises, once until it raises something else.
    ``crowd`` is to be entered for each stream.
    """

    def __init__(
        self,
        look: Callable[[], Now],
        on_error: Callable[[Exception], object],
        *,
        seconds: float = _SECONDS,
        each: int = MOST_OF_EACH,
        most: int = MOST_WATCHERS,
    ) -> None:
        self._look = look
        self._on_error = on_error
        self._seconds = seconds
        self.crowd = Crowd("streams of events", each=each, in_all=most, retry_seconds=_RETRY_SECONDS)
        self._watchers: set[asyncio.Event] = set()
        self._somebody = asyncio.Event()
        self._is_closed = False
        self._text = ""
        self._version = 0
        self._last_error = ""

    def close(self) -> None:
        """All streams end."""
        self._is_closed = True
        self._wake()

    async def run(self) -> None:
        """Look as long as anybody looks on, until cancelled."""
        while True:
            await self._somebody.wait()
            await self._look_once()
            await asyncio.sleep(self._seconds)

    async def stream(self) -> AsyncIterator[dict[str, str]]:
        """The events: ``now`` with what goes on as a JSON document, at once and after each change."""
        awake = asyncio.Event()
        self._watchers.add(awake)
        self._somebody.set()
        seen = 0
        ends = asyncio.get_running_loop().time() + _LONGEST_SECONDS
        try:
            while not self._is_closed:
                awake.clear()
                if self._version != seen:
                    seen = self._version
                    yield {"event": "now", "data": self._text}
                    continue
                left = ends - asyncio.get_running_loop().time()
                try:
                    await asyncio.wait_for(awake.wait(), left)
                except TimeoutError:
                    return
        finally:
            self._watchers.discard(awake)
            if not self._watchers:
                self._somebody.clear()

    async def _look_once(self) -> None:
        try:
            now = await run_sync(self._look)
        except Exception as error:
            if repr(error) != self._last_error:
                self._last_error = repr(error)
                self._on_error(error)
            return
        text = json.dumps(plain(now), ensure_ascii=False)
        if text != self._text:
            self._text = text
            self._version += 1
            self._wake()

    def _wake(self) -> None:
        for awake in self._watchers:
            awake.set()


class Stream(EventSourceResponse):
    """What goes on, as an answer to an account; where too many look on, an error in its place."""

    def __init__(self, watch: Watch, whose: str) -> None:
        super().__init__(watch.stream(), ping=_PING_SECONDS, send_timeout=_SEND_SECONDS)
        self._crowd = watch.crowd
        self._whose = whose

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer. Raises BusyError before anything is sent."""
        with self._crowd.entered(self._whose):
            await super().__call__(scope, receive, send)
