"""What the commands share that may want a tape volume: somebody is asked to bring it."""

from __future__ import annotations

from pathlib import Path

from ..hooks import Hooks
from ..wanted_volumes import ask_for_volumes
from .output import note, shown


class Asked:
    """Call it when a volume may be wanted: the hook is called once for each. How it failed is said once, and
    stands in ``troubles``."""

    def __init__(self, staging: Path, hooks: Hooks) -> None:
        self._staging = staging
        self._hooks = hooks
        self.troubles: tuple[str, ...] = ()

    def __call__(self) -> None:
        for failure in ask_for_volumes(self._staging, self._hooks):
            if failure.told() not in self.troubles:
                self.troubles = (*self.troubles, failure.told())
                note(shown(failure.told()))
