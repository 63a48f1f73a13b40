"""Alarms, holds and notices on the page: what is seen, and that operators alone change it, for a reason."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.bench.macro import catalogs
from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.holds import Hold, add_holds, read_holds, release
from mailhaul.coordinator.notices.raising import raise_notice
from mailhaul.coordinator.notices.records import Notice
from mailhaul.coordinator.overview.alarms import alarm_list, hold_list, known_holds
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.coordinator.web.pages.alarms import sought_of
from mailhaul.groups.paths import LogicalPath
from mailhaul.tests.pages import api_token, form_token, logged_in, make_site, operator

NOW = datetime(2026, 11, 29, 9, 0, tzinfo=UTC)
USER = next(user for _, user in catalogs.users(catalogs.SMALL))


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """Ten nights."""
    catalogs.make(tmp_path, catalogs.Shape(mailboxes=100, groups=2, nights=20, staged=5))
    return tmp_path


def acts(staging: Path) -> list[tuple[str, str, str]]:
    """What the audit log has of changes."""
    found = make_site(staging).audit.acts()
    return [(one["what"], one["why"], one["outcome"]) for one in found if one["why"]]


def test_a_hold_is_released_for_a_reason_and_on_record(staging: Path) -> None:
    client = operator(make_site(staging))
    page = client.get(f"/alarms?held={USER}").text
    path = f"/primary/user/{USER}"
    assert f'name="what" value="{path}"' in page
    form = {"form_token": form_token(page), "what": path}
    assert client.post("/alarms/release", data=form).status_code == 400
    assert read_holds(staging).holds_user("primary", "user", USER)
    answer = client.post("/alarms/release", data={**form, "reason": "was emptied on purpose"})
    assert answer.status_code == 303
    assert not read_holds(staging).holds_user("primary", "user", USER)
    assert acts(staging) == [
        ("release hold", "was emptied on purpose", "begun"),
        ("release hold", "was emptied on purpose", "done"),
    ]
    assert client.post("/alarms/release", data={**form, "reason": "again"}).status_code == 404
    assert acts(staging)[-1][2] == "failed"


def test_viewers_see_and_do_not_change(staging: Path) -> None:
    client = logged_in(make_site(staging), "vera", "viewer")
    page = client.get("/alarms").text
    assert "mailbox-emptied" in page
    assert "/alarms/release" not in page
    for address, body in (
        ("/api/v1/holds/release", {"what": f"/primary/user/{USER}", "reason": "x"}),
        ("/api/v1/holds", {"what": "latest", "reason": "x"}),
        ("/api/v1/notices/acknowledge", {"cause": "x", "reason": "x"}),
    ):
        assert client.post(address, json=body, headers=api_token(client)).status_code == 403
    assert read_holds(staging).holds_user("primary", "user", USER)


def test_what_is_not_known_is_not_held(staging: Path) -> None:
    client = operator(make_site(staging))
    token = api_token(client)

    def hold(what: str) -> int:
        return client.post(
            "/api/v1/holds", json={"what": what, "reason": "case 7"}, headers=token
        ).status_code

    assert hold("/primary/user/nobody@example.org") == 404
    assert hold("/primary/group-01/x/INBOX") == 404
    assert hold("20200101T000000Z-0000") == 404
    assert hold("/primary/group-02") == 200
    assert Hold(path="/primary/group-02", reason="case 7", since=NOW).path in {
        one.path for one in read_holds(staging).all
    }


def test_a_notice_is_acknowledged(staging: Path) -> None:
    raise_notice(staging, Notice(event="alarm", cause="alarm:1", subject="<b>Something</b> is gone"), NOW)
    client = operator(make_site(staging))
    page = client.get("/alarms").text
    assert "&lt;b&gt;Something&lt;/b&gt; is gone" in page
    form = {"form_token": form_token(page), "cause": "alarm:1", "reason": "Anna looks after it"}
    assert client.post("/alarms/acknowledge", data=form).status_code == 303
    (standing,) = NoticeRecord(staging).lasting()
    assert standing.acknowledged_by == "local:root" or standing.acknowledged_by.startswith("local:")
    assert client.get("/api/v1/notices").json()["notices"][0]["acknowledged"]
    assert client.post("/alarms/acknowledge", data={**form, "cause": "other"}).status_code == 404


def test_pages_of_holds_have_each_once_and_what_is_known_follows_the_file(staging: Path) -> None:
    add_holds(
        staging,
        (Hold(path=f"/primary/user/u{number}", reason="many", since=NOW) for number in range(120)),
    )
    found: list[Hold] = []
    behind = 0
    while True:
        page = hold_list(staging, "MANY", behind)
        found += page.holds
        if page.behind is None:
            break
        behind = page.behind
    assert page.total == len(found) == len({hold.path for hold in found}) == 120
    assert found[0].path == "/primary/user/u119"
    release(staging, LogicalPath.parse("/primary/user/u5"))
    assert hold_list(staging, "many").total == 119
    assert known_holds(staging).all == read_holds(staging).all


def test_alarms_say_whether_their_mailbox_is_held(staging: Path) -> None:
    with Catalog.open(staging) as catalog:
        (run,) = alarm_list(catalog, staging).runs
        (alarm,) = run.alarms
        assert not alarm.held
        add_holds(staging, (Hold(path=alarm.path, since=NOW),))
        assert alarm_list(catalog, staging).runs[0].alarms[0].held
        assert alarm_list(catalog, staging, run.run).runs == ()
        shown = alarm_list(catalog, staging, most=0)
    assert (shown.runs[0].count, shown.runs[0].alarms) == (1, ())


def test_the_hold_of_an_alarm_is_found_from_it(staging: Path) -> None:
    with Catalog.open(staging) as catalog:
        ((alarm,),) = (run.alarms for run in alarm_list(catalog, staging).runs)
    user = alarm.path.rpartition("/")[2]
    add_holds(staging, (Hold(path=f"/primary/user/{user}", reason="run", since=NOW),))
    page = operator(make_site(staging)).get("/alarms").text
    link = re.search(r'href="(/alarms\?held=[^"#]*)#holds">held</a>', page)
    assert link
    assert f'name="what" value="/primary/user/{user}"' in operator(make_site(staging)).get(link[1]).text
    assert sought_of("/primary/staff/jane@example.org/INBOX") == "jane@example.org"
    assert sought_of("/primary") == "/primary"


@pytest.mark.parametrize("address", ["/alarms?behind=x", "/alarms?before=x", "/api/v1/holds?behind=-1"])
def test_what_makes_no_sense_is_said(staging: Path, address: str) -> None:
    assert operator(make_site(staging)).get(address).status_code == 400


def test_before_the_first_run_there_is_a_page_too(tmp_path: Path) -> None:
    page = operator(make_site(tmp_path)).get("/alarms").text
    assert "Nothing is held." in page
    assert "No run has raised an alarm." in page
