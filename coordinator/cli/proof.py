"""``mailhaul proof``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_DAMAGED, EXIT_OK, UsageError
from ..catalog import Catalog
from ..clock import utc
from ..drills.drill import candidates_of
from ..drills.shares import PROVEN_WITHIN, Share
from ..overview.proof import ProofStanding, proof_standing
from ..service.proofs import Proof, Proofs
from . import adapters, output
from .configuration import chosen_site
from .options import json_option, path_argument, staging_option
from .output import Column, number, say, shown
from .program import Invocation

_GROUPS = [
    Column("partition", "<"),
    Column("group", "<"),
    Column("mailboxes"),
    Column("proven"),
    Column("share"),
    Column("failed"),
    Column("never"),
    Column("oldest proof"),
]
_MAILBOXES = [
    (Column("mailbox", "<"), 40),
    (Column("last proven", "<"), 20),
    (Column("newest drill", "<"), 8),
    (Column("run", "<"), 21),
    (Column("from", "<"), 10),
]


@click.command("proof")
@path_argument
@click.option("--failed", is_flag=True, help="Only mailboxes of which a restore would lack something.")
@staging_option
@json_option
@click.pass_obj
def command(
    invocation: Invocation, path: LogicalPath, failed: bool, staging: Path | None, as_json: bool
) -> int:
    """Tell when the mailboxes of PATH were last proven (`mailhaul drill`), and what a restore of those would
    lack that failed; for / how much of each group was proven within 30 days.

    \b
    Example: what a drill has found of a mailbox
      mailhaul proof /primary/user/jane@example.org
    """
    if path.folder is not None:
        raise UsageError(f"{path}: whole mailboxes are proven", path=str(path))
    area = chosen_site(invocation, staging).area
    now = utc(adapters.clock().now())
    if path == LogicalPath() and not failed:
        with Catalog.open(area) as catalog:
            standing = proof_standing(catalog, area, now)
        if as_json:
            output.print_json(standing)
        else:
            _tell_groups(standing)
        return EXIT_DAMAGED if standing.failed else EXIT_OK
    known = {one.mailbox: one for one in Proofs(area).all()}
    found = [
        (LogicalPath(*candidate.mailbox), known.get(candidate.mailbox))
        for candidate in candidates_of(area, [path])
    ]
    if failed:
        found = [(whose, one) for whose, one in found if one is not None and one.outcome == "failed"]
    if as_json:
        output.print_json({"path": str(path), "mailboxes": [_document(*one) for one in found]})
    else:
        output.stream_table(_MAILBOXES, (_row(*one) for one in found))
        for _, proof in found:
            if proof is not None and proof.outcome == "failed":
                output.list_skipped(proof.lacks, "lacking")
    return EXIT_DAMAGED if any(one is not None and one.outcome == "failed" for _, one in found) else EXIT_OK


def _tell_groups(standing: ProofStanding) -> None:
    output.print_table(_GROUPS, [_row_of_group(group) for group in standing.groups])
    say()
    percent = f"{standing.share:.1%}" if standing.mailboxes else "-"
    say(f"{percent} of {number(standing.mailboxes)} mailboxes were proven within {PROVEN_WITHIN.days} days")


def _row_of_group(share: Share) -> Sequence[str]:
    return (
        share.partition,
        share.group,
        number(share.mailboxes),
        number(share.proven),
        f"{share.share:.1%}",
        number(share.failed),
        number(share.never),
        output.moment(share.oldest),
    )


def _row(whose: LogicalPath, proof: Proof | None) -> Sequence[str]:
    if proof is None:
        return str(whose), "never", "-", "-", "-"
    return str(whose), output.moment(proof.proven), proof.outcome, proof.run, shown(proof.place or "-")


def _document(whose: LogicalPath, proof: Proof | None) -> dict[str, object]:
    return {"path": str(whose), "proof": proof}
