"""The benchmark of the page, on a small catalog: every page that it asks for is there."""

from __future__ import annotations

import json
from pathlib import Path

from mailhaul.bench.macro import pages


def test_every_page_answers(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    pages.main(["--mailboxes", "200", "--nights", "20", "--rounds", "2", "--json", str(file)])
    told = json.loads(file.read_text())
    assert {page["address"]: page["status"] for page in told["pages"]} == dict.fromkeys(pages.PAGES, 200)
    assert 0 < told["resident_bytes"] <= told["peak_bytes"] < pages.MOST_BYTES
