"""What a destination is configured with: a frozen record for each kind, fit to be sent to a worker. Light: no
adapter is imported for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryDestination:
    """A directory: of this host, over NFS, on a disk that is carried. ``path`` is absolute. ``area`` is the
    id of the staging area whose archives are put there; who only reads need not tell it."""

    name: str
    path: str
    area: str = ""


Destination = DirectoryDestination
