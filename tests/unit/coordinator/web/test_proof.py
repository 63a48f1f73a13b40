"""What drills have shown, on the page and in numbers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mailhaul.bench.macro import catalogs
from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.history import GoodBackup
from mailhaul.coordinator.overview.proof import failed_proofs, proof_standing, standing_of
from mailhaul.coordinator.service.proofs import Counts, PartProof, Proof, Proofs
from mailhaul.proto.records import RunId, Skipped
from mailhaul.tests.pages import SettableClock, make_site, operator

MORNING = SettableClock(catalogs.NEWEST.timestamp() + 6 * 3600)


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty nights with a drill each, the last of which found a mailbox that is not whole."""
    staging = tmp_path_factory.mktemp("small")
    catalogs.make(staging, catalogs.SMALL)
    proofs = Proofs(staging)
    drill = proofs.begin(1, catalogs.NEWEST)
    proofs.note(
        Proof(
            partition="primary",
            group="group-01",
            user="<script>@example.org",
            drill=drill.id,
            tried=catalogs.NEWEST,
            outcome="failed",
            run=RunId("20261129T020000Z-0000"),
            place="vault",
            lacks=(Skipped("/primary/group-01/x/IN<BOX", "damaged", "<img src=x>"),),
            lacking=1,
        )
    )
    proofs.end(drill.id, "done", catalogs.NEWEST)
    return staging


def test_the_share_is_of_the_mailboxes_that_are_there() -> None:
    good = [
        GoodBackup(partition="p", group="a", run=None, sealed=None, mailboxes=10),
        GoodBackup(partition="p", group="b", run=None, sealed=None, mailboxes=30),
    ]
    counts = [Counts(partition="p", group="a", proven=12, failed=1, ever=12, oldest=None)]
    found = standing_of(good, counts)
    assert (found.mailboxes, found.proven, found.failed, found.share) == (40, 10, 1, 0.25)
    assert [(group.group, group.share) for group in found.groups] == [("b", 0.0), ("a", 1.0)]
    assert standing_of([], []).share == 0


def test_what_was_proven_long_ago_does_not_count(staging: Path) -> None:
    now = catalogs.NEWEST + timedelta(hours=6)
    with Catalog.open(staging) as catalog:
        found = proof_standing(catalog, staging, now)
        later = proof_standing(catalog, staging, now + timedelta(days=60))
    assert found.mailboxes == catalogs.SMALL.mailboxes
    assert 0.5 < found.share < 1
    assert later.share == 0
    assert sum(group.proven for group in found.groups) == found.proven


def test_the_page_says_what_would_be_lacking_and_runs_nothing_of_it(staging: Path) -> None:
    client = operator(make_site(staging, clock=MORNING))
    page = client.get("/proof").text
    assert "could not be restored whole" in page
    assert "&lt;img src=x&gt;" in page
    assert "<img" not in page
    assert "<script>@" not in page


def test_pages_of_what_failed_have_each_once(staging: Path) -> None:
    found: list[Proof] = []
    after = None
    while True:
        page = failed_proofs(staging, after, 1)
        found += page.proofs
        if (after := page.after) is None:
            break
    assert len(found) == len({proof.mailbox for proof in found}) > 1
    assert found == list(Proofs(staging).not_whole(1000))
    client = operator(make_site(staging, clock=MORNING))
    mailbox = found[0].mailbox
    rest = client.get("/api/v1/proof/failed", params={"after": "/" + "/".join(mailbox)}).json()
    assert len(rest["proofs"]) == len(found) - 1


def test_one_mailbox(staging: Path) -> None:
    client = operator(make_site(staging, clock=MORNING))
    scope, user = next(catalogs.users(catalogs.SMALL))
    path = f"/primary/{catalogs.group_name(scope)}/{user}"
    assert client.get("/api/v1/proof/mailbox", params={"path": path}).json()["user"] == user
    assert "Last proven" in client.get("/proof", params={"mailbox": path}).text
    assert "no drill has taken" in client.get("/proof", params={"mailbox": f"{path}x"}).text
    assert client.get("/api/v1/proof/mailbox", params={"path": f"{path}x"}).status_code == 404
    assert client.get("/api/v1/proof/mailbox", params={"path": "/primary"}).status_code == 400
    assert client.get("/api/v1/proof/mailbox").status_code == 400


def test_a_mailbox_that_is_proven_in_parts_and_ends_drills(tmp_path: Path) -> None:
    catalogs.make(tmp_path, catalogs.SMALL)
    scope, user = next(catalogs.users(catalogs.SMALL))
    group = catalogs.group_name(scope)
    proofs = Proofs(tmp_path)
    drill = proofs.begin(1, catalogs.NEWEST)
    proof = Proof(
        partition="primary",
        group=group,
        user=user,
        drill=drill.id,
        tried=catalogs.NEWEST,
        outcome="proven",
        run=RunId("20261129T020000Z-0000"),
        place="vault",
        parts=5,
        parts_proven=3,
    )
    proofs.note(proof, [PartProof(folder="INBOX")])
    for _ in range(2):
        proofs.begin_trial(proof.mailbox, drill.id, proof.run, catalogs.NEWEST)
        proofs.bury()
    client = operator(make_site(tmp_path, clock=MORNING))
    page = client.get("/proof", params={"mailbox": f"/primary/{group}/{user}"}).text
    assert "3 of 5 restored whole" in page
    assert "in a row a drill was killed" in page


def test_before_the_first_drill_there_is_a_page_too(tmp_path: Path) -> None:
    assert "No drill has run yet" in operator(make_site(tmp_path)).get("/proof").text
