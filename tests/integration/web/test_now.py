"""*Now* in a real browser: it keeps up with what goes on, and operations are begun and stopped on it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, expect

from mailhaul.coordinator.clock import utc
from mailhaul.coordinator.service.records import Request
from mailhaul.coordinator.serving.files import file_of
from mailhaul.coordinator.serving.progress import OperationProgress, WorkProgress
from mailhaul.coordinator.snapshots import write_snapshot
from mailhaul.coordinator.web.site import Site
from mailhaul.tests.integration.serving import PATIENCE_SECONDS, Served
from mailhaul.tests.integration.web.looking import Shown, Visitor, overflow, violations
from mailhaul.tests.integration.web.near import served_here
from mailhaul.tests.integration.web.test_doors import at_socket, line_with
from mailhaul.tests.pages import PASSWORD, make_site

pytestmark = pytest.mark.xdist_group("browser")

MOMENT = utc(1_796_000_000.0)
PATIENCE_MS = 20_000


class Acting:
    """Operations that nobody carries out: they are as far as a test says."""

    def __init__(self, site: Site) -> None:
        self.site = site
        (site.staging / ".mailhaul" / "operations").mkdir(parents=True, exist_ok=True)
        backup = Request(kind="backup", arguments=("/primary",), asked_by="schedule:", entry="backup")
        self.backup = site.operations.add(backup, MOMENT).id
        site.operations.begin(self.backup, 1, MOMENT)
        sweep = Request(kind="sweep", asked_by="cli:root", reason="the disk fills up")
        self.sweep = site.operations.add(sweep, MOMENT).id
        site.operations.wait_for(self.sweep, f"the backup {self.backup} of /primary")
        ended = site.operations.add(
            Request(kind="verify", arguments=("--data",), asked_by="page:anna"), MOMENT
        )
        site.operations.begin(ended.id, 1, MOMENT)
        site.operations.end(
            ended.id, "partial", utc(1_796_000_431.0), exit_status=3, error="2 archives skipped"
        )
        self.at(0.31)

    def at(self, share: float) -> None:
        """The backup is so far."""
        works = tuple(
            WorkProgress(
                label=f"primary/{group}/{shard}",
                host=f"store0{1 + shard % 2}",
                messages=int(9000 * done),
                size_bytes=int(2e9 * done),
                expected_messages=9000,
                expected_bytes=int(2e9),
            )
            for shard, (group, done) in enumerate(
                (("staff", share), ("guests", share * 0.7), ("sales", min(1.0, share * 1.6)))
            )
        )
        write_snapshot(
            file_of(self.site.staging, self.backup, "json"),
            OperationProgress(
                operation=self.backup,
                written=MOMENT,
                messages=int(90_000 * share),
                size_bytes=int(20e9 * share),
                expected_messages=90_000,
                expected_bytes=int(20e9),
                messages_per_second=412.0,
                bytes_per_second=88e6,
                seconds_left=20e9 * (1 - share) / 88e6,
                works=works,
                going=3,
                lines=("mailhaul: 3 hosts, 12 units",),
            ),
        )


@pytest.fixture
def acting(tmp_path: Path) -> Acting:
    return Acting(make_site(tmp_path))


@pytest.fixture
def looker(browser: Browser, acting: Acting, root: Path) -> Iterator[Visitor]:
    """Somebody with an account, and a browser in which they have logged in."""
    with served_here(acting.site) as base:
        shown = Shown(Served(acting.site.staging), base)
        visitor = Visitor(browser, shown, root / "build" / "screenshots")
        with visitor.page("/log-in", known=False) as page:
            page.get_by_label("Name").fill("anna")
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Log in").click()
            page.wait_for_url("**/now")
            shown.cookies = [dict(cookie) for cookie in page.context.cookies()]
        yield visitor
        visitor.close()


def test_it_keeps_up_with_what_goes_on(looker: Visitor, acting: Acting, axe: str) -> None:
    with looker.page("/now") as page:
        whole = page.get_by_label("All of it")
        expect(whole).to_have_attribute("value", "0.3100")
        expect(page.get_by_text("the backup 1 of /primary")).to_be_visible()
        assert violations(page, axe) == []
        looker.picture(page, "now-busy-light")
        acting.at(0.74)
        expect(whole).to_have_attribute("value", "0.7400", timeout=PATIENCE_MS)
        acting.site.operations.withdraw(acting.sweep, MOMENT)
        expect(page.get_by_text("Nothing waits.")).to_be_visible(timeout=PATIENCE_MS)
    for name, scheme, phone in (("now-busy-dark", "dark", False), ("now-busy-phone", "light", True)):
        with looker.page("/now", scheme=scheme, phone=phone) as page:  # type: ignore[arg-type]
            assert violations(page, axe) == []
            assert overflow(page) <= 0
            looker.picture(page, name)


def test_it_does_so_where_events_are_held_back(looker: Visitor, acting: Acting) -> None:
    with looker.page("/log-in") as page:
        page.route("**/now/events", lambda route: route.abort())
        page.clock.install()
        page.goto("/now")
        acting.at(0.55)
        page.clock.run_for(16_000)
        expect(page.get_by_label("All of it")).to_have_attribute("value", "0.5500", timeout=PATIENCE_MS)
        looker.troubles.clear()  # that events do not come is said on the console


def test_an_operation_is_stopped_by_keyboard(looker: Visitor, acting: Acting, axe: str) -> None:
    with looker.page("/now") as page:
        page.get_by_role("link", name=f"Stop operation {acting.backup}").focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/stop")
        assert violations(page, axe) == []
        looker.picture(page, "operation-stop-light")
        page.get_by_role("button", name="Stop it").click()  # no reason: the browser asks for it
        assert page.url.endswith("/stop")
        page.get_by_label("Why is it to stop?").fill("users complain")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/operations/{acting.backup}")
        expect(page.get_by_text("stopping")).to_be_visible()
        assert violations(page, axe) == []
        looker.picture(page, "operation-light")
    assert acting.site.operations.get(acting.backup).state == "stopping"
    (begun,) = [act for act in acting.site.audit.acts() if act["what"] == "stop operation"][:1]
    assert (begun["who"], begun["why"]) == ("anna", "users complain")


def test_an_operation_is_begun_and_carried_out(visitor: Visitor) -> None:
    with visitor.page("/now") as page:
        page.get_by_role("link", name="New operation").click()
        page.get_by_label("Of what?").fill("/primary/staff")
        page.get_by_label("Other options").fill("--full")
        page.get_by_role("button", name="Show the command").click()
        expect(page.get_by_text("mailhaul backup --full /primary/staff")).to_be_visible()
        visitor.picture(page, "operation-new-light")
        page.get_by_label("Why?").fill("before the upgrade")
        page.get_by_role("button", name="Begin").click()
        expect(page.locator(".badge.good")).to_have_text("done", timeout=60_000)
        visitor.picture(page, "operation-done-light")
    acts = visitor.shown.served.run("audit", "--check")["acts"]
    assert "before the upgrade" in [act["why"] for act in acts]


def test_who_looks_on_does_not_keep_the_service_from_ending(tmp_path: Path) -> None:
    served = Served(tmp_path)
    process = served.start()
    try:
        line_with(process, "the page is at")
        with at_socket(served) as client, client.stream("GET", "/api/v1/now/events") as answer:
            lines = answer.iter_lines()
            assert "event: now" in [next(lines), next(lines)]
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
            with suppress(httpx.RemoteProtocolError):  # of the last event there may be a part
                list(lines)
    finally:
        process.kill()
        process.communicate()
