"""``mailhaul proof``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_DAMAGED, EXIT_OK, UsageError
from ...proto.structs import field_names
from ..catalog import Catalog
from ..clock import utc
from ..drills.drill import candidates_of
from ..drills.shares import PROVEN_WITHIN, Share
from ..overview.proof import ProofStanding, proof_standing
from ..service.proofs import PartProof, Proof, Proofs
from . import adapters, output
from .configuration import chosen_site
from .options import json_option, path_argument, staging_option
from .output import Column, number, say, shown, size
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
_PARTS = [
    Column("folder", "<"),
    Column("from", "<"),
    Column("messages"),
    Column("size"),
    Column("last proven", "<"),
    Column("newest drill", "<"),
    Column("place", "<"),
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
    lack that failed; of one that is proven in parts, when each was; for / how much of each group was proven
    within 30 days.

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
    proofs = Proofs(area)
    known = {proof.mailbox: proof for proof in proofs.all()}
    mailboxes = [candidate.mailbox for candidate in candidates_of(area, [path])]
    found = [(LogicalPath(*mailbox), known.get(mailbox)) for mailbox in mailboxes]
    if failed:
        found = [(whose, one) for whose, one in found if one is not None and one.outcome == "failed"]
    if as_json:
        output.print_json({"path": str(path), "mailboxes": [_document(*one, proofs) for one in found]})
    else:
        output.stream_table(_MAILBOXES, (_row(*one) for one in found))
        if path.user is not None:
            _tell_parts([part for _, one in found if one is not None for part in proofs.parts(one.mailbox)])
        for _, proof in found:
            if proof is not None and proof.outcome == "failed":
                output.list_skipped(proof.lacks, "lacking")
    return EXIT_DAMAGED if any(one is not None and one.outcome == "failed" for _, one in found) else EXIT_OK


def _tell_parts(parts: Sequence[PartProof]) -> None:
    if parts:
        say()
        output.print_table(_PARTS, [_row_of_part(part) for part in parts])


def _row_of_part(part: PartProof) -> Sequence[str]:
    return (
        shown(part.folder or "(other files)"),
        shown(part.first.decode("utf-8", "surrogateescape").lstrip("0~") or "the beginning"),
        number(part.messages),
        size(part.size_bytes),
        output.moment(part.proven),
        part.outcome,
        shown(part.place or "-"),
    )


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
    parts = f", {proof.parts_proven} of {proof.parts} parts" if proof.parts else ""
    place = shown(proof.place or "-")
    return str(whose), output.moment(proof.proven), proof.outcome + parts, proof.run, place


def _document(whose: LogicalPath, proof: Proof | None, proofs: Proofs) -> dict[str, object]:
    """With the parts of a mailbox that is proven in parts."""
    parts = proofs.parts(proof.mailbox) if proof is not None and proof.parts else ()
    return {"path": str(whose), "proof": proof, "parts": [_part_document(part) for part in parts]}


def _part_document(part: PartProof) -> dict[str, object]:
    names = (name for name in field_names(part) if name != "first")
    first = part.first.decode("utf-8", "backslashreplace")
    return {"first": first, **{name: getattr(part, name) for name in names}}
