"""What a destination is configured with: a frozen record for each kind, fit to be sent to a worker. Light: no
adapter is imported for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryDestination:
    """A directory: of this host, over NFS, on a disk that is carried. ``path`` is absolute. ``area`` is the
    id of the staging area whose archives are put there; who only reads need not tell it."""

    name: str
    path: str
    area: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Destination:
    """A bucket of an object storage that speaks S3, below ``prefix`` (empty, or with a ``/`` at its end).

    ``endpoint`` is a URL; empty for Amazon's. ``journal`` is a directory of this host, of this destination
    alone: uploads that were begun, and what the server can do. ``credentials`` is a file; without one, boto3
    looks for itself (environment, its own files, the role of the machine). ``lock``: what retention is set
    with; empty: nothing is locked. ``legal_hold``: each archive is held until somebody ends that.
    ``thaw_tier`` and ``thaw_days``: how fast what lies in a cold class is brought back, and for how long.
    """

    name: str
    bucket: str
    journal: str
    endpoint: str = ""
    prefix: str = ""
    region: str = ""
    credentials: str = ""
    ca_file: str = ""
    lock: Literal["", "governance", "compliance"] = ""
    legal_hold: bool = False
    storage_class: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    part_threads: int = 4
    requests_per_second: int = 0
    thaw_days: int = 7
    thaw_tier: Literal["Bulk", "Standard", "Expedited"] = "Standard"


Destination = DirectoryDestination | S3Destination
