"""One look for all who look on: while anybody does, what goes on is read once a second, and whoever looks on
hears when it is another than before.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from anyio.to_thread import run_sync

from ..documents import plain
from .presence import Now

MOST_WATCHERS = 64
_SECONDS = 1.0
_LONGEST_SECONDS = 600.0
"""Then a stream ends, and a browser begins another: with a session that is over it gets none."""


class Watch:
    """Streams of what goes on. All but ``close`` is for the event loop alone.

    ``look`` is called in a thread; ``on_error`` gets what it raises, once until it raises something else.
    """

    def __init__(
        self,
        look: Callable[[], Now],
        on_error: Callable[[Exception], object],
        *,
        seconds: float = _SECONDS,
        most: int = MOST_WATCHERS,
    ) -> None:
        self._look = look
        self._on_error = on_error
        self._seconds = seconds
        self._most = most
        self._watchers: set[asyncio.Event] = set()
        self._somebody = asyncio.Event()
        self._is_closed = False
        self._text = ""
        self._version = 0
        self._last_error = ""

    @property
    def is_full(self) -> bool:
        """Whether nobody else can look on."""
        return len(self._watchers) >= self._most

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
