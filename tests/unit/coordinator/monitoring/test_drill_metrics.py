"""What Prometheus is told of drills: nothing before the first, then shares, ages, failures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client import generate_latest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.monitoring.drill_metrics import DrillCollector
from mailhaul.coordinator.monitoring.exposition import make_registry
from mailhaul.coordinator.service.proofs import Outcome, Proof, Proofs
from mailhaul.tests.catalogs import commit, run_id, unit

NOW = datetime(2026, 12, 31, 2, 0, tzinfo=UTC)


def told(staging: Path) -> dict[str, float]:
    text = generate_latest(make_registry(DrillCollector(staging, NOW.timestamp))).decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_proofs_are_told(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, write=True) as catalog:
        commit(catalog, 0, unit(0, users=("ann", "bob", "cid", "dan")))
    assert told(tmp_path) == {}
    proofs = Proofs(tmp_path)
    drill = proofs.begin(1, NOW - timedelta(minutes=10))
    assert told(tmp_path) == {}, "the first drill goes on"

    def note(user: str, outcome: Outcome, when: datetime) -> None:
        proven = when if outcome == "proven" else None
        proof = Proof(
            partition="primary",
            group="user",
            user=user,
            drill=drill.id,
            tried=when,
            outcome=outcome,
            proven=proven,
            run=run_id(0),
            place="vault",
        )
        proofs.note(proof)

    note("ann", "proven", NOW - timedelta(days=40))
    note("bob", "proven", NOW - timedelta(days=2))
    note("cid", "failed", NOW)
    proofs.end(drill.id, "done", NOW - timedelta(minutes=4))
    of = 'group="user",partition="primary"'
    assert told(tmp_path) == {
        f"mailhaul_proven_mailboxes{{{of}}}": 1,
        f"mailhaul_never_proven_mailboxes{{{of}}}": 2,
        f"mailhaul_mailboxes_not_whole{{{of}}}": 1,
        f"mailhaul_oldest_proof_timestamp_seconds{{{of}}}": (NOW - timedelta(days=40)).timestamp(),
        "mailhaul_drill_failures_total": 1,
        'mailhaul_last_drill_mailboxes{outcome="proven"}': 2,
        'mailhaul_last_drill_mailboxes{outcome="failed"}': 1,
        'mailhaul_last_drill_mailboxes{outcome="untried"}': 0,
        "mailhaul_last_drill_started_timestamp_seconds": (NOW - timedelta(minutes=10)).timestamp(),
        "mailhaul_last_drill_duration_seconds": 360,
    }
