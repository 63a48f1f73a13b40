"""How vanished messages are brought back: which messages of which version go into which folder."""

from __future__ import annotations

from ..groups.paths import LogicalPath
from ..proto.records import ArchiveId, Partition, RunId
from ..worker.archives.holdings import Holdings
from ..worker.choice import Choice, Rescue
from ..worker.load import NO_LIMITS, LoadLimits
from ..worker.stores.registry import keeps_places
from ..worker.tasks.restore import RestoreTask
from .access import Access, grants_for, reached
from .browsing.vanished import WhatVanished
from .restore_plan import PlannedTask


def target_folder(path: LogicalPath, into: str, folder: str) -> str:
    """Where messages of a folder go: into ``into`` if ``path`` names that folder, else into one below it."""
    if path.folder is None:
        return f"{into}/{folder}"
    return into + folder.removeprefix(path.folder)


def plan_undelete(
    found: WhatVanished,
    path: LogicalPath,
    into: str,
    target: Partition,
    archives: Holdings,
    *,
    as_user: str | None = None,
    access: Access | None = None,
    load: LoadLimits = NO_LIMITS,
) -> PlannedTask:
    """The task that puts what vanished into the mailbox, or into that of ``as_user``. One task: what comes
    from several versions goes into the same folders. ``archives`` are all that there are, ``load`` is how
    much of a host it takes."""
    choices = _choices(found, path, into, target, as_user)
    return PlannedTask(
        task=RestoreTask(
            # Which of them the metadata lies in is told by that alone.
            archives=reached(archives, access, [(path.partition or "", found.whose.user or "")]),
            choices=choices,
            target=target,
            label=f"{path.partition}/{path.group} 1",
            load=load,
            grants=grants_for(access, target),
        ),
        messages=len(found.vanished),
        size_bytes=sum(vanished.message.size for vanished in found.vanished),
    )


def _choices(
    found: WhatVanished, path: LogicalPath, into: str, target: Partition, as_user: str | None
) -> tuple[Choice, ...]:
    """From each version the messages that it had last, the oldest version first."""
    by_version: dict[tuple[RunId, ArchiveId], dict[str, set[tuple[bytes, bytes]]]] = {}
    for vanished in found.vanished:
        folders = by_version.setdefault((vanished.last, vanished.archive), {})
        folders.setdefault(vanished.folder, set()).add((vanished.message.base, vanished.message.digest))
    user = found.whose.user or ""
    return tuple(
        Choice(
            archive=archive,
            user=user,
            to_user=as_user or user,
            place=found.place if not as_user and keeps_places(target) else b"",
            path=found.whose,
            rescues=tuple(
                Rescue(folder=name, into=target_folder(path, into, name), messages=frozenset(messages))
                for name, messages in sorted(folders.items())
            ),
        )
        for (_, archive), folders in sorted(by_version.items())
    )
