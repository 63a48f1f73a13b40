"""Bringing objects out of cold storage classes: asked for once, ready hours later, for some days."""

from __future__ import annotations

from collections.abc import Collection

from ..settings import S3Destination
from .answers import Meaning
from .bucket import Bucket
from .connection import Told


class Thawing:
    """Asks for cold objects. What was asked for is remembered by the server, so a restart forgets nothing."""

    def __init__(self, bucket: Bucket, settings: S3Destination) -> None:
        self._bucket = bucket
        self._settings = settings

    def request(self, copies: Collection[tuple[str, str]]) -> None:
        """Ask for all that is cold and was not asked for. Looks at all of it first, so that nothing is asked
        for when something is amiss."""
        cold = []
        for name, version in dict.fromkeys(copies):
            found = self._bucket.look(name, version)
            if found is not None and not (found.thawed or found.thawing):
                cold.append((name, found.version))
        for name, version in cold:
            self._ask(name, version)

    def _ask(self, name: str, version: str) -> None:
        wanted = {
            "Days": self._settings.thaw_days,
            "GlacierJobParameters": {"Tier": self._settings.thaw_tier},
        }
        try:
            self._bucket.ask_about(
                "restore_object", name, version, RestoreRequest=wanted, expecting=(Meaning.EXISTS,)
            )
        except Told:
            return  # somebody else was first
