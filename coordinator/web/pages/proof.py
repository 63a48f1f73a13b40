"""*Proof*: whose mail was really restored, when, and what a restore would lack."""

from __future__ import annotations

from typing import cast

from starlette.responses import Response

from ....groups.paths import LogicalPath
from ....proto.errors import NotFoundError, UsageError
from ....proto.structs import Record
from ...catalog import Catalog
from ...overview.plots import Bar, bars
from ...overview.proof import (
    DAYS,
    FailedProofs,
    ProofStanding,
    failed_proofs,
    proof_standing,
)
from ...service.proofs import Drill, Mailbox, Proof, Proofs
from ...texts import number
from ..routes import VIEWER, Page, Resource
from ..visits import Visit

_LONGEST = 2000


class FailedAsked(Record, kw_only=True):
    """Those behind a mailbox, by its path; without it the first."""

    after: str = ""


class OneAsked(Record, kw_only=True):
    """A mailbox, as /PARTITION/GROUP/USER."""

    path: str


# Data


def standing(visit: Visit) -> ProofStanding:
    """By group, and the newest drills."""
    try:
        with Catalog.open(visit.site.staging) as catalog:
            return proof_standing(catalog, visit.site.staging, visit.site.now())
    except NotFoundError:  # there is no catalog before the first run
        return ProofStanding(mailboxes=0, proven=0, failed=0, share=0.0, groups=())


def failed(visit: Visit) -> FailedProofs:
    """A page of what failed."""
    return _failed(visit, cast(FailedAsked, visit.query).after)


def one(visit: Visit) -> Proof:
    """What was shown of one mailbox. Raises NotFoundError."""
    return _one(visit, cast(OneAsked, visit.query).path)


# Pages


def proof_page(visit: Visit) -> Response:
    """All of it, and one mailbox if it is asked for."""
    sought, found, problem = visit.asked("mailbox")[:_LONGEST].strip(), None, ""
    if sought:
        try:
            found = _one(visit, sought)
        except (NotFoundError, UsageError) as error:
            problem = error.message
    now = standing(visit)
    return visit.page(
        "proof.html",
        standing=now,
        failed=_failed(visit, visit.asked("after")),
        after=visit.asked("after"),
        days=DAYS,
        plot=drills_plot(now.drills) if now.drills else "",
        sought=sought,
        found=found,
        problem=problem,
        path_of=path_of,
    )


def drills_plot(drills: tuple[Drill, ...]) -> str:
    """How many mailboxes each drill has proven, the oldest first; failures stand out."""
    values = [
        Bar(
            label=f"{drill.started:%d %b}",
            value=drill.proven + drill.failed,
            hint=f"{drill.started:%Y-%m-%d}: {drill.proven:,} proven, {drill.failed:,} failed,"
            f" {drill.untried:,} could not be tried",
            kind="bar bad" if drill.failed or drill.state == "failed" else "bar",
        )
        for drill in reversed(drills)
    ]
    failures = sum(drill.failed for drill in drills)
    return bars(
        "drills",
        "Mailboxes restored and compared, by drill",
        f"{len(drills)} drills, the oldest first; {failures:,} mailboxes failed in them",
        values,
        lambda count: number(round(count)),
    )


def path_of(mailbox: Mailbox) -> str:
    """The path of a mailbox, as the address of a following page has it."""
    return str(LogicalPath(*mailbox))


# Within


def _failed(visit: Visit, after: str) -> FailedProofs:
    return failed_proofs(visit.site.staging, _mailbox(after) if after else None)


def _one(visit: Visit, text: str) -> Proof:
    mailbox = _mailbox(text)
    found = Proofs(visit.site.staging).of(mailbox)
    if found is None:
        raise NotFoundError(f"no drill has taken {path_of(mailbox)} yet", path=path_of(mailbox))
    return found


def _mailbox(text: str) -> Mailbox:
    path = LogicalPath.parse(text)
    if path.partition is None or path.group is None or path.user is None or path.folder is not None:
        raise UsageError(f"{text!r} is no mailbox: expected /PARTITION/GROUP/USER")
    return path.partition, path.group, path.user


ROUTES = (
    Page(path="/proof", shows=proof_page, allows=VIEWER, menu="Proof"),
    Resource(
        path="/proof",
        answers=standing,
        allows=VIEWER,
        summary="What drills have proven, by group, and the newest drills",
        answer=ProofStanding,
    ),
    Resource(
        path="/proof/failed",
        answers=failed,
        allows=VIEWER,
        summary="Mailboxes of which a restore would lack something",
        query=FailedAsked,
        answer=FailedProofs,
    ),
    Resource(
        path="/proof/mailbox",
        answers=one,
        allows=VIEWER,
        summary="What was shown of one mailbox",
        query=OneAsked,
        answer=Proof,
    ),
)
