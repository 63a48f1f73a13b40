"""What the commands share that may want a tape volume, or a file that another program keeps: somebody is
asked to bring it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...worker.tasks.recalling import Wanted
from ..hooks import Hooks
from ..wanted_volumes import ask_for_volumes
from .noticing import tell_of_volumes
from .output import note, shown


class Asked:
    """Call it when a volume may be wanted: there is a notice, and the hook is called once for each. How it
    failed is said once, and stands in ``troubles``."""

    def __init__(self, staging: Path, hooks: Hooks) -> None:
        self._staging = staging
        self._hooks = hooks
        self.troubles: tuple[str, ...] = ()

    def __call__(self) -> None:
        tell_of_volumes()
        for failure in ask_for_volumes(self._staging, self._hooks):
            if failure.told() not in self.troubles:
                self.troubles = (*self.troubles, failure.told())
                note(shown(failure.told()))


class AskedForFiles:
    """Call it with archives that other programs keep: the hook ``files_wanted`` is called once for each
    place where they are. How it failed is said."""

    def __init__(self, staging: Path, hooks: Hooks) -> None:
        self._staging = staging
        self._hooks = hooks
        self._asked: set[Wanted] = set()

    def __call__(self, wanted: Sequence[Wanted]) -> None:
        new: dict[str, list[str]] = {}
        for wish in wanted:
            if wish not in self._asked:
                new.setdefault(wish.location.version, []).append(wish.location.name)
        self._asked.update(wanted)
        for location, names in new.items():
            facts = {"location": location, "files": sorted(names), "staging": str(self._staging)}
            if failure := self._hooks.call("files_wanted", facts):
                note(shown(failure.told()))
