"""The pages about nights and runs, and their API."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mailhaul.bench.macro import catalogs
from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.documents import plain
from mailhaul.coordinator.overview import runs
from mailhaul.coordinator.overview.runs import listed_runs
from mailhaul.tests.pages import SettableClock, logged_in, make_site, operator

MORNING = SettableClock(catalogs.NEWEST.timestamp() + 6 * 3600)


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty nights."""
    staging = tmp_path_factory.mktemp("small")
    catalogs.make(staging, catalogs.SMALL)
    return staging


@pytest.fixture
def client(staging: Path) -> TestClient:
    """The operator of the host."""
    return operator(make_site(staging, clock=MORNING))


def test_the_calendar_leads_to_each_night_and_that_to_its_runs(client: TestClient) -> None:
    page = client.get("/nights").text
    assert "The last night was good" in page
    assert 'href="/nights/2026-11-20"' in page
    assert 'href="/nights?month=2026-10&amp;days=90#calendar"' in page
    night = client.get("/nights/2026-11-20").text
    assert "not good" in night
    run = catalogs_run("2026-11-20")
    assert f'href="/runs/{run}"' in night
    details = client.get(f"/runs/{run}").text
    assert "the store does not answer" in details


def test_the_units_of_a_run_are_paged(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs.run_units, "__defaults__", (0, 2))
    whole = client.get("/api/v1/runs/latest/units").json()
    address, seen = "/runs/latest", []
    while address:
        page = client.get(address).text
        seen += re.findall(r'<th scope="row" class="path">([^<]+)</th>', page)
        onward = re.search(r'rel="next" href="([^"]+units=[^"#]+)#units"', page)
        address = onward[1] if onward else ""
    assert len(seen) == len(set(seen)) == whole["total"] > 4
    assert f"{whole['total']} of {whole['total']}" in page
    assert "The first units" in page
    assert whole["behind"] == 2
    assert len(client.get("/api/v1/runs/latest/units?behind=2").json()["units"]) == 2
    assert client.get("/api/v1/runs/latest/units?behind=-1").status_code == 400
    assert client.get("/runs/latest?units=-1").status_code == 400


def catalogs_run(day: str) -> str:
    """The id of the run of a night."""
    nights = {f"{night.started:%Y-%m-%d}": night for night in catalogs.nights_of(catalogs.SMALL)}
    return nights[day].run


def test_before_the_first_run_there_is_a_page_too(tmp_path: Path) -> None:
    site = make_site(tmp_path, clock=MORNING)
    assert "Nothing was backed up yet" in operator(site).get("/nights").text


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/nights/2026-02-30", 404),
        ("/nights?month=2026-13", 400),
        ("/nights?month=9999-12", 200),
        ("/nights?days=7", 200),
        ("/nights/0001-01-01", 404),
        ("/nights/9999-12-31", 404),
        ("/runs/20200101T000000Z-0000", 404),
        ("/runs/latest?behind=-1", 400),
        ("/api/v1/nights?first=2020-01-01&last=2026-01-01", 400),
        ("/api/v1/nights?last=0001-01-01", 400),
        ("/api/v1/nights?first=x", 400),
        ("/api/v1/runs?before=x", 400),
        ("/api/v1/runs/latest/skipped?behind=x", 400),
    ],
)
def test_what_makes_no_sense_is_said(client: TestClient, address: str, status: int) -> None:
    assert client.get(address).status_code == status


def test_the_api_has_the_records_of_the_command_line(client: TestClient, staging: Path) -> None:
    with Catalog.open(staging) as catalog:
        expected = plain(listed_runs(catalog, catalog.runs()))
    assert client.get("/api/v1/runs").json() == {"runs": json.loads(json.dumps(expected)), "before": None}
    latest = client.get("/api/v1/runs/latest").json()
    assert latest["run"] == client.get("/api/v1/runs").json()["runs"][0]
    assert client.get("/api/v1/last-night").json()["mailboxes"] == catalogs.SMALL.mailboxes
    assert len(client.get("/api/v1/nights").json()["nights"]) == 90


def test_helpdesks_see_none_of_it(staging: Path) -> None:
    client = logged_in(make_site(staging, clock=MORNING), "hal", "helpdesk", "group-01")
    for address in ("/nights", "/nights/2026-11-20", "/runs/latest", "/api/v1/runs", "/api/v1/last-night"):
        assert client.get(address).status_code == 403


def test_the_status_is_that_of_the_command_line(
    client: TestClient, staging: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--staging", str(staging), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    told = client.get("/api/v1/status").json()
    assert told["runs"] == said["runs"]
    assert told["copies"] == said["copies"]
    assert set(told) == set(said)
