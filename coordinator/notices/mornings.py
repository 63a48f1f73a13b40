"""Each morning: the night is looked at once, the digest goes out; if it was good, the switch is worked."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, time, timedelta, tzinfo

from ...proto.errors import DeliveryError, NotFoundError
from ..drills.shares import shares
from ..service.nights import Nights, is_due
from ..settings import Config
from . import digest as words
from .conditions import proofs, reconcile
from .digest import Digest
from .morning import look_at_night
from .raising import over, raise_notice
from .records import Notice
from .spaces import Spaces
from .switch import work

_UNLESS_SAID = 7 * 60
_SWITCH = "switch-failed"


class Mornings:
    """Looks at nights of a staging area, whose ``site`` is told; times are those of the zone."""

    def __init__(self, config: Config, spaces: Spaces, site: str, zone: tzinfo) -> None:
        self._config = config
        self._spaces = spaces
        self._site = site
        self._zone = zone
        self._nights = Nights(config.staging.path)

    def __call__(self, now: datetime) -> None:
        """Do what is due: to be called now and then. Raises as ``raise_notice``."""
        newest = self._nights.newest()
        morning = self._last_morning(now)
        if newest is None:
            # Somebody has just begun with this: the night that is over is not to be reproached.
            self._nights.note(morning.date(), good=False)
        elif newest.day < morning.date():
            self.look(now)
        self.work(now)

    def digest(self, since: datetime, until: datetime) -> Digest:
        """Of what happened in between."""
        return look_at_night(self._config, self._spaces, self._site, self._zone, since, until)

    def look(self, now: datetime) -> Digest:
        """Look at the night that is over, and put the digest on record for who receives it: once for each
        night. Raises as ``raise_notice``."""
        staging = self._config.staging.path
        with suppress(NotFoundError):  # nothing was backed up yet
            groups = shares(staging, now) if self._config.schedule.drill else ()
            reconcile(staging, "proof-old", proofs(groups), now)
        morning = self._last_morning(now)
        found = self.digest((morning - timedelta(days=1)).astimezone(UTC), now)
        day = morning.date()
        if self._config.notices.digest_at is not None:
            raise_notice(staging, self.notice(found, day.isoformat()), now)
        self._nights.note(day, good=not found.not_good)
        return found

    def work(self, now: datetime) -> None:
        """Work the switch for the last night if it was a good one, and that was not done yet. Raises as
        ``raise_notice``."""
        switch, night = self._config.notices.switch, self._nights.newest()
        if not switch.is_there or night is None or not is_due(night, now):
            return
        staging = self._config.staging.path
        try:
            work(switch, now)
        except DeliveryError as error:
            self._nights.failed(night, error.message, now)
            raise_notice(staging, _failed(error.message), now)
        else:
            self._nights.worked(night, now)
            over(staging, _SWITCH, now)

    def notice(self, found: Digest, day: str) -> Notice:
        """The digest of a day as a notice."""
        return Notice(
            event="digest",
            cause=f"digest:{day}",
            subject=words.subject(found),
            lines=tuple(words.lines(found, self._zone)),
            facts={"good": not found.not_good, "problems": words.problems(found)},
        )

    def _last_morning(self, now: datetime) -> datetime:
        at = self._config.notices.digest_at
        minutes = _UNLESS_SAID if at is None else at
        local = now.astimezone(self._zone)
        today = datetime.combine(local.date(), time(minutes // 60, minutes % 60), self._zone)
        return today if today <= now else today - timedelta(days=1)


def _failed(error: str) -> Notice:
    return Notice(
        event="switch-failed",
        cause=_SWITCH,
        subject="The dead man's switch could not be worked",
        lines=("The night was good, but who watches over the switch does not know it.", error),
    )
