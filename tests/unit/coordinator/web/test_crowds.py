"""No account takes all threads, plans or streams of events: what is too much is answered by a page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from mailhaul.coordinator.people.roles import Who
from mailhaul.coordinator.web import plans
from mailhaul.coordinator.web.crowds import Crowd
from mailhaul.coordinator.web.plans import Answer, Plans, Wish
from mailhaul.coordinator.web.site import Site
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import BusyError
from mailhaul.tests.pages import logged_in, make_site, operator

WISH = Wish(kind="restore", paths=(LogicalPath.parse("/primary/user/jane@example.org/INBOX"),), at="latest")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


@contextmanager
def filled(crowd: Crowd, **inside: int) -> Iterator[None]:
    with ExitStack() as stack:
        for name, count in inside.items():
            for _ in range(count):
                stack.enter_context(crowd.entered(name))
        yield


def test_so_many_of_each_and_so_many_in_all() -> None:
    crowd = Crowd("things", each=2, in_all=3, retry_seconds=7)
    with filled(crowd, anna=2):
        with pytest.raises(BusyError, match="you have 2 things already") as caught:
            crowd.entered("anna").__enter__()
        assert (caught.value.yours, caught.value.facts["retry_seconds"]) == (True, 7)
        with filled(crowd, bob=1), pytest.raises(BusyError, match="there are 3 things already") as caught:
            crowd.entered("carl").__enter__()
        assert not caught.value.yours
    with filled(crowd, anna=2, bob=1):
        pass  # all have left


def stream(client: TestClient, path: str) -> Response:
    return client.get(path, headers={"accept": "text/event-stream"})


def test_a_stream_too_many_is_an_answer_that_says_when_to_come_again(site: Site) -> None:
    with operator(site) as client:
        name = client.get("/api/v1/me").json()["name"]
        crowd = client.app.state.watch.crowd  # type: ignore[attr-defined]
        with filled(crowd, **{name: 8}):
            page = stream(client, "/now/events")
            assert (page.status_code, page.headers["retry-after"]) == (429, "60")
            assert "you have 8 streams of events already" in page.text
            assert "<h1>Too many at once</h1>" in page.text
            document = stream(client, "/api/v1/now/events")
            assert (document.status_code, document.json()["error"]["code"]) == (429, "busy")
        with filled(crowd, **{f"user{number}": 8 for number in range(8)}):
            page = stream(client, "/now/events")
            assert (page.status_code, page.headers["retry-after"]) == (503, "60")
        assert client.get("/now").status_code == 200


def test_one_account_has_four_plans_under_way_and_leaves_room_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = threading.Event()
    begun = threading.Semaphore(0)

    def asked(_wish: Wish, _config: Path | None, *_keys: object) -> Answer:
        begun.release()
        assert go_on.wait(60)
        return Answer({})

    monkeypatch.setattr(plans, "_asked", asked)
    made = Plans()

    def make(name: str, session: str) -> str:
        who = Who(name=name, role="helpdesk", groups=frozenset(("staff",)), where="", session=session)
        return made.make(WISH, who, None, 0.0, lambda: nullcontext(((), ()))).number

    def entered() -> int:
        return made._crowd._inside.total()

    with ThreadPoolExecutor(8) as pool:
        try:
            # Another session of the same account does not make it more.
            hers = [pool.submit(make, "anna", f"session {number % 2}") for number in range(4)]
            assert begun.acquire(timeout=60)
            while entered() < 4:
                assert not go_on.wait(0.01)
            with pytest.raises(BusyError, match="you have 4 plans"):
                make("anna", "session 3")
            his = pool.submit(make, "bob", "session 4")
            while entered() < 5:
                assert not go_on.wait(0.01)
        finally:
            go_on.set()
        assert len({each.result(60) for each in (*hers, his)}) == 5
    assert make("anna", "session 1")


def test_one_account_does_not_take_all_threads(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    begun = threading.Semaphore(0)
    newest = type(site.operations).newest

    def slow(*arguments: object, **named: object) -> object:
        begun.release()
        assert go_on.wait(60)
        return newest(*arguments, **named)  # type: ignore[arg-type]

    anna, bob = logged_in(site, "anna", "viewer"), logged_in(site, "bob", "viewer")
    with anna, bob, ThreadPoolExecutor(13) as pool:
        bob.app = anna.app  # one server
        try:
            with monkeypatch.context() as patch:
                patch.setattr(type(site.operations), "newest", slow)
                waiting = [pool.submit(anna.get, "/operations") for _ in range(12)]
                for _ in waiting:
                    assert begun.acquire(timeout=60)
            page = anna.get("/operations")
            assert (page.status_code, page.headers["retry-after"]) == (429, "2")
            assert "you have 12 requests at a time already" in page.text
            assert bob.get("/operations").status_code == 200
        finally:
            go_on.set()
        assert {each.result(60).status_code for each in waiting} == {200}
        assert anna.get("/operations").status_code == 200
