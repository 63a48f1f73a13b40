"""Operations on the page and over the API: seen by viewers, begun and stopped by operators."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.coordinator.governing.state import GovernorState, state_file, states_directory
from mailhaul.coordinator.scheduling.settings import ScheduleConfig
from mailhaul.coordinator.scheduling.timings import parse
from mailhaul.coordinator.scheduling.zones import zone_named
from mailhaul.coordinator.service.records import Request
from mailhaul.coordinator.serving.files import file_of, open_stderr
from mailhaul.coordinator.serving.progress import OperationProgress, WorkProgress
from mailhaul.coordinator.snapshots import write_snapshot
from mailhaul.coordinator.web.presence import Now, present
from mailhaul.coordinator.web.site import Site
from mailhaul.coordinator.web.watch import Watch
from mailhaul.proto.structs import replace
from mailhaul.tests.pages import api_token, form_token, logged_in, make_site, operator

NOW = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
HOSTILE = "</pre><script>alert(1)</script>\x1b[31m"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


def under_way(site: Site) -> int:
    """An operation on two hosts, half done."""
    request = Request(kind="backup", arguments=("/primary/staff",), asked_by="schedule:", entry="backup")
    number = site.operations.add(request, NOW).id
    site.operations.begin(number, 1, NOW)
    works = tuple(
        WorkProgress(
            label=f"primary/staff/{shard} {HOSTILE}",
            host=f"store0{shard % 2}",
            messages=50,
            size_bytes=5_000_000,
            expected_messages=100,
            expected_bytes=10_000_000,
            waiting="room in the staging area" if shard == 3 else "",
        )
        for shard in range(4)
    )
    write_snapshot(
        file_of(site.staging, number, "json"),
        OperationProgress(
            operation=number,
            written=NOW,
            messages=200,
            size_bytes=20_000_000,
            expected_messages=400,
            expected_bytes=40_000_000,
            messages_per_second=10.0,
            bytes_per_second=1_000_000.0,
            seconds_left=20.0,
            works=works,
            going=4,
            lines=(HOSTILE,),
        ),
    )
    return number


@pytest.fixture
def running(site: Site) -> int:
    (site.staging / ".mailhaul" / "operations").mkdir(parents=True)
    return under_way(site)


def test_what_runs_is_shown_with_its_bars(site: Site, running: int) -> None:
    client = operator(site)
    for path in ("/now", "/now/part", f"/operations/{running}"):
        text = client.get(path).text
        assert "backup /primary/staff" in text
        assert 'value="0.5000"' in text
        assert "50 % of 40.0 MB" in text
        assert "1.0 MB/s, 10 messages/s" in text
        assert "20 s left" in text
        assert "store01" in text
        assert "room in the staging area" in text
        assert "the schedule (backup)" in text
        assert "<script>alert" not in text
        assert "\x1b" not in text
    document = client.get("/api/v1/now").json()
    (one,) = document["under_way"]
    assert one["progress"]["works"][0]["host"] == "store00"
    assert client.get(f"/api/v1/operations/{running}").json() == one


def test_an_operation_is_begun_with_a_reason_and_on_record(site: Site) -> None:
    client = logged_in(site, "anna", "operator")
    shown = client.get("/operations/new?kind=backup&on=/primary/staff&words=--full")
    assert "mailhaul backup --full /primary/staff" in shown.text
    sent = {
        "form_token": form_token(shown.text),
        "kind": "backup",
        "on": "/primary/staff",
        "words": "--full",
    }
    assert client.post("/operations", data=sent).status_code == 400  # why?
    answer = client.post("/operations", data={**sent, "reason": "before the upgrade"})
    assert answer.headers["location"] == "/operations/1"
    operation = site.operations.get(1)
    assert operation.request == Request(
        kind="backup",
        arguments=("--full", "/primary/staff"),
        asked_by="page:anna",
        reason="before the upgrade",
    )
    acts = [act for act in site.audit.acts() if act["what"] == "add operation"]
    assert [act["outcome"] for act in acts] == ["begun", "done"]
    assert [acts[0]["who"], acts[0]["why"]] == ["anna", "before the upgrade"]
    assert "before the upgrade" in client.get("/operations/1").text


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("backup", "--store maildir:/etc"),
        ("backup", "--no-such-option"),
        ("backup", "'a quote"),
        ("restore", "/primary --to maildir:/tmp/x"),
        ("serve", ""),
    ],
)
def test_what_an_operation_may_not_be_given_is_said(site: Site, kind: str, words: str) -> None:
    client = operator(site)
    shown = client.get("/operations/new", params={"kind": kind, "words": words})
    assert (shown.status_code, 'role="alert"' in shown.text) == (400, True)
    token = api_token(client)
    sent = {"form_token": token["X-Form-Token"], "kind": kind, "words": words, "reason": "x"}
    assert client.post("/operations", data=sent).status_code == 400
    body = {"kind": kind, "arguments": words.split(), "reason": "x"}
    assert client.post("/api/v1/operations", json=body, headers=token).status_code == 400
    assert site.operations.newest(9) == ()


def test_an_operation_is_stopped(site: Site, running: int) -> None:
    client = operator(site)
    waiting = site.operations.add(Request(kind="purge", asked_by="cli:root"), NOW).id
    page = client.get(f"/operations/{waiting}/stop")
    sent = {"form_token": form_token(page.text), "reason": "not today"}
    assert (
        client.post(f"/operations/{waiting}/stop", data=sent).headers["location"] == f"/operations/{waiting}"
    )
    assert site.operations.get(waiting).state == "stopped"
    assert client.post(f"/operations/{waiting}/stop", data=sent).status_code == 400
    assert client.get(f"/operations/{waiting}/stop").status_code == 400
    assert client.get("/operations/99/stop").status_code == 404
    told = [(act["what"], act["on"], act["why"], act["outcome"]) for act in site.audit.acts()]
    on = f"operation {waiting}"
    assert told == [
        ("stop operation", on, "not today", "begun"),
        ("stop operation", on, "not today", "done"),
    ]


def test_a_viewer_looks_and_a_helpdesk_does_not(site: Site, running: int) -> None:
    viewer, helpdesk = logged_in(site, "vera", "viewer"), logged_in(site, "hal", "helpdesk", "staff")
    assert "/stop" not in viewer.get("/now").text
    assert "/operations/new" not in viewer.get("/operations").text
    assert viewer.get(f"/operations/{running}").status_code == 200
    assert viewer.get(f"/operations/{running}/stop").status_code == 403
    for path in ("/now", "/now/part", "/now/events", "/operations", f"/operations/{running}"):
        assert helpdesk.get(path).status_code == 403
    token = api_token(viewer)
    body = {"kind": "backup", "reason": "x"}
    assert viewer.post("/api/v1/operations", json=body, headers=token).status_code == 403
    assert (
        viewer.post(f"/api/v1/operations/{running}/stop", json={"reason": "x"}, headers=token).status_code
        == 403
    )
    assert site.operations.get(running).state == "running"


def test_all_operations_in_pages(site: Site) -> None:
    for _ in range(120):
        site.operations.add(Request(kind="sweep", asked_by="schedule:"), NOW)
    client = operator(site)
    seen, path = 0, "/operations"
    while path:
        text = client.get(path).text
        seen += text.count('<th scope="row">')
        path = text.partition('href="/operations?before=')[2].partition('"')[0]
        path = f"/operations?before={path}" if path else ""
    assert seen == 120
    assert client.get("/operations?before=x").status_code == 400
    assert len(client.get("/api/v1/operations?count=7&before=100").json()["operations"]) == 7
    assert client.get("/api/v1/operations?count=0").status_code == 400


def test_what_an_operation_said_is_shown_as_text(site: Site, running: int) -> None:
    fd = open_stderr(site.staging, running)
    with open(fd, "w") as file:
        file.write(f"one\n{HOSTILE}\n")
    text = operator(site).get(f"/operations/{running}").text
    assert "&lt;script&gt;alert(1)" in text
    assert "%1B" in text


class TestWatch:
    def test_all_hear_of_a_change_and_one_looks(self, site: Site) -> None:
        looks = 0
        errors: list[Exception] = []

        def look() -> Now:
            nonlocal looks
            looks += 1
            return present(site)

        async def watched() -> list[list[str]]:
            watch = Watch(look, errors.append, seconds=0.01)
            task = asyncio.create_task(watch.run())
            heard: list[list[str]] = [[], [], []]

            async def listen(into: list[str]) -> None:
                async for event in watch.stream():
                    into.append(event["data"])  # noqa: PERF401 (others read it meanwhile)

            listeners = [asyncio.create_task(listen(into)) for into in heard]
            async with asyncio.timeout(30):
                while not all(heard):
                    await asyncio.sleep(0.01)
                site.operations.add(Request(kind="sweep", asked_by="schedule:"), NOW)
                while not all(one[-1].count("sweep") for one in heard):
                    await asyncio.sleep(0.01)
                watch.close()
                await asyncio.gather(*listeners)
            task.cancel()
            return heard

        heard = asyncio.run(watched())
        assert heard[0][-1] == heard[1][-1] == heard[2][-1]
        assert looks >= 2
        assert errors == []

    def test_nobody_looks_where_nobody_looks_on_and_errors_are_told_once(self) -> None:
        told: list[Exception] = []
        looks = 0

        def look() -> Now:
            nonlocal looks
            looks += 1
            raise RuntimeError("broken")

        async def watched() -> None:
            watch = Watch(look, told.append, seconds=0.01)
            task = asyncio.create_task(watch.run())
            await asyncio.sleep(0.05)
            assert looks == 0
            stream = watch.stream()
            waiting = asyncio.ensure_future(anext(stream))
            async with asyncio.timeout(30):
                while looks < 3:
                    await asyncio.sleep(0.01)
            watch.close()
            with pytest.raises(StopAsyncIteration):
                await waiting
            task.cancel()

        asyncio.run(watched())
        assert [str(error) for error in told] == ["broken"]


def test_what_the_schedule_does_next_and_how_users_are_minded(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    times = ScheduleConfig(zone="Europe/Berlin", backup=(parse("02:00"),))
    site = replace(site, config=replace(site.config, schedule=times), zone=zone_named("Europe/Berlin"))
    state = GovernorState(
        host="store01",
        pid=1,
        since=site.now(),
        written=site.now(),
        target_seconds=0.25,
        window_seconds=60,
        p95_seconds=0.31,
        level=0.4,
        why="users wait",
    )
    states_directory(site.staging).mkdir(parents=True)
    write_snapshot(state_file(site.staging, "store01"), state)
    client = operator(site)
    text = client.get("/now").text
    assert "2027-01-16 01:00" in text
    assert "Sat 2027-01-16 02:00 +01:00" in text
    assert "40 % of full speed" in text
    assert "310 ms" in text
    ahead = client.get("/api/v1/schedule?count=3").json()
    assert (ahead["zone"], len(ahead["next"]), ahead["next"][0]["kind"]) == ("Europe/Berlin", 3, "backup")
    assert client.get("/api/v1/schedule?count=0").status_code == 400
