"""The catalog: which runs there were, what became of their units, which archive holds which mailbox.

It holds no fact that the archives do not (of how runs ended there are archives of their own), except what was
purged, of which there is a record beside it, and where copies of archives lie; so it can be made again from
them (``rebuild``), and quicker from a snapshot of it (``snapshots``). A unit of a run
is visible to restores from ``commit_unit`` on, and by nothing else.
Its records are in ``history``.
"""

from .bases import Base, newest_base
from .catalog import Catalog
from .rebuilding import FoundArchive, Inventory, PurgedMoments, Rebuilt, Start, rebuild

__all__ = [
    "Base",
    "Catalog",
    "FoundArchive",
    "Inventory",
    "PurgedMoments",
    "Rebuilt",
    "Start",
    "newest_base",
    "rebuild",
]
