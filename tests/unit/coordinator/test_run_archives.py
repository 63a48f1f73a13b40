"""The archives of runs: whole to their last byte, or told and written anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.rebuilding import rebuild_catalog
from mailhaul.coordinator.run_archives import damaged_run_archives, renew_run_archives, seal_run_archives
from mailhaul.tests.staged_chains import StagedChain


@pytest.fixture
def chain(tmp_path: Path) -> StagedChain:
    made = StagedChain(tmp_path / "staging")
    made.run({"anna": {"INBOX": (b"Subject: a\n\nmail\n",)}})
    with Catalog.open(made.staging) as catalog:
        seal_run_archives(made.staging, catalog)
    return made


@pytest.mark.parametrize("cut", [1, 20, 104, 300])
def test_one_that_is_cut_anywhere_is_told_and_written_anew(chain: StagedChain, cut: int) -> None:
    """Without its last bytes it tells all of the run, and is not what was written all the same."""
    (file,) = chain.staging.glob("_runs/*/*.mhr")
    whole = file.read_bytes()
    with Catalog.open(chain.staging) as catalog:
        assert list(damaged_run_archives(chain.staging, catalog)) == []
        file.write_bytes(whole[:-cut])
        assert [archive.path for archive in damaged_run_archives(chain.staging, catalog)] == [
            str(file.relative_to(chain.staging))
        ]
        renew_run_archives(chain.staging, catalog)
        assert list(damaged_run_archives(chain.staging, catalog)) == []


def test_a_rebuild_takes_what_one_without_its_end_still_tells(chain: StagedChain) -> None:
    (file,) = chain.staging.glob("_runs/*/*.mhr")
    file.write_bytes(file.read_bytes()[:-20])
    (told,) = rebuild_catalog(chain.staging, every_archive=True).damaged
    assert told.path == str(file)
    assert "it told how the run ended, but is not whole" in told.detail
    with Catalog.open(chain.staging) as catalog:
        assert [run.state for run in catalog.runs()] == ["done"]
        renew_run_archives(chain.staging, catalog)
    assert rebuild_catalog(chain.staging, every_archive=True).damaged == ()
