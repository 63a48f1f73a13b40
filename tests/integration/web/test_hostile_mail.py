"""Hostile mail on the page, in a real browser: nothing runs, nothing is fetched, nothing breaks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Dialog, Page, Route

from mailhaul.coordinator.web.pages.message import HTML_POLICY
from mailhaul.tests.integration.serving import Served
from mailhaul.tests.integration.web import hostile_mail
from mailhaul.tests.integration.web.looking import Shown, Visitor, overflow, violations
from mailhaul.tests.integration.web.shown import being_served
from mailhaul.tests.maildirs import Maildir
from mailhaul.tests.pages import form_token

pytestmark = pytest.mark.xdist_group("browser")

USER = "jane@example.org"
INBOX = f"/primary/user/{USER}/INBOX"


class Home:
    """Where hostile mail wants to reach its author: counts who connects."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.connections = 0
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                if connection.recv(4) == b"end\n":
                    return
                self.connections += 1

    def close(self) -> None:
        with socket.create_connection(self._socket.getsockname()) as last:
            last.sendall(b"end\n")
        self._thread.join()
        self._socket.close()


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    home = Home()
    yield home
    home.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, home: Home) -> Iterator[Shown]:
    """A mailbox full of it, served."""
    served = Served(tmp_path_factory.mktemp("hostile"))
    jane = Maildir(served.store / USER)
    mails = [
        *(hostile_mail.html_mail(document, home.address) for document in hostile_mail.DOCUMENTS),
        *(hostile_mail.evil_header(subject, home.address) for subject in hostile_mail.EVIL_SUBJECTS),
        hostile_mail.evil_attachments(),
        hostile_mail.many_parts(100_000),
    ]
    for number, mail in enumerate(mails, 1):
        jane.message(f"{number}.M{number}P1.host:2,S", mail)
    jane.uidlist(*(f"{number} :{number}.M{number}P1.host" for number in range(1, len(mails) + 1)))
    served.run("backup")
    with being_served(served) as shown:
        yield shown


@contextmanager
def inside(
    browser: Browser, hostile: Shown, root: Path, address: str, **how: Any
) -> Iterator[tuple[Visitor, Page]]:
    """A page of the mailbox, for an operator who has said why; no dialog may come up."""
    visitor = Visitor(browser, hostile, root / "build" / "screenshots")
    with visitor.page("/mailboxes", **how) as page:
        page.on("dialog", lambda dialog: _fail(visitor, dialog))
        token = form_token(page.content())
        form: dict[str, str | float | bool] = {
            "form_token": token,
            "path": INBOX,
            "reason": "looking at hostile mail",
        }
        headers = {"origin": hostile.base}
        assert page.request.post("/mailboxes/look", form=form, headers=headers).ok
        page.goto(address)
        yield visitor, page
    visitor.close()


def _fail(visitor: Visitor, dialog: Dialog) -> None:
    visitor.troubles.append(f"a dialog: {dialog.message}")
    dialog.dismiss()


def listed(page: Page) -> list[dict[str, Any]]:
    """The messages of the mailbox."""
    query = urlencode({"path": INBOX, "reason": "test"})
    answer = page.request.get(f"/api/v1/mailboxes/messages?{query}").json()
    return list(answer["messages"])


def test_nothing_runs_and_nothing_is_fetched(
    browser: Browser, hostile: Shown, home: Home, root: Path
) -> None:
    with inside(browser, hostile, root, f"/mailboxes/folder?path={INBOX}") as (_, page):
        messages = listed(page)
        count = len(hostile_mail.DOCUMENTS) + len(hostile_mail.EVIL_SUBJECTS) + 2
        assert len(messages) == count
        assert page.locator("tbody tr").count() == count
        for message in messages:
            address = "/mailboxes/message?" + urlencode({"path": message["path"]})
            page.goto(address)
            assert page.locator("h1").count() == 1
            title = page.title()
            if not page.get_by_role("link", name="As HTML").count():
                continue
            page.get_by_role("link", name="As HTML").click()
            page.wait_for_load_state()
            (frame,) = page.frames[1:]
            frame.locator("body").wait_for(state="attached")
            assert frame.locator("a[href], form, script, iframe, link, [onclick], [onerror]").count() == 0
            assert page.title() == title
            page.mouse.click(*_middle(page))
            assert page.url.endswith("as=html")
    assert home.connections == 0


def _middle(page: Page) -> tuple[float, float]:
    box = page.locator("iframe").bounding_box()
    assert box
    return box["x"] + 40, box["y"] + 20


def test_the_policy_alone_holds(browser: Browser, hostile: Shown, home: Home, root: Path) -> None:
    """Should the HTML ever get to the frame as it was written."""
    with inside(browser, hostile, root, f"/mailboxes/folder?path={INBOX}") as (visitor, page):
        path = listed(page)[-1]["path"]
        for document in (hostile_mail.LOADING, hostile_mail.RUNNING, hostile_mail.LEADING_AWAY):
            content = document.replace("HOME", home.address)

            def instead(route: Route, content: str = content) -> None:
                headers = {"Content-Security-Policy": HTML_POLICY, "X-Frame-Options": "SAMEORIGIN"}
                route.fulfill(body=content, content_type="text/html", headers=headers)

            page.route("**/mailboxes/message/html*", instead)
            page.goto("/mailboxes/message?" + urlencode({"path": path, "as": "html"}))
            page.wait_for_timeout(300)
            assert page.title() != "ran"
            page.unroute("**/mailboxes/message/html*")
        visitor.troubles.clear()  # the browser complains, as it should
    assert home.connections == 0


def test_what_is_taken_is_kept_under_a_safe_name_and_never_shown(
    browser: Browser, hostile: Shown, root: Path
) -> None:
    with inside(browser, hostile, root, f"/mailboxes/folder?path={INBOX}") as (_, page):
        (path,) = [one["path"] for one in listed(page) if one["subject"] == "attached"]
        page.goto("/mailboxes/message?" + urlencode({"path": path}))
        links = page.locator("a[download]").all()
        assert len(links) == 1 + 2 * len(hostile_mail.EVIL_NAMES)
        for link in links[1:4]:
            with page.expect_download() as download:
                link.click()
            name = download.value.suggested_filename
            assert not set(name) & set('/\\<>"\r\n\u202e')
        for number in range(1, 1 + 2 * len(hostile_mail.EVIL_NAMES)):
            query = urlencode({"path": path, "number": number})
            headers = page.request.get(f"/mailboxes/message/part?{query}").headers
            assert headers["content-type"] == "application/octet-stream"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["content-disposition"].startswith('attachment; filename="')
            assert "set-cookie" not in headers


def test_the_pages_of_a_mailbox_are_for_everybody(
    browser: Browser, hostile: Shown, axe: str, root: Path
) -> None:
    with inside(browser, hostile, root, f"/mailboxes/folder?path={INBOX}") as (_, page):
        path = listed(page)[-1]["path"]
    message = "/mailboxes/message?" + urlencode({"path": path})
    addresses = {
        "search": "/mailboxes?text=jane",
        "mailbox": f"/mailboxes/mailbox?path={INBOX}",
        "folder": f"/mailboxes/folder?path={INBOX}",
        "find": f"/mailboxes/find?path={INBOX}&subject=hostile&go=yes",
        "message": message,
        "message-html": f"{message}&as=html",
    }
    for scheme, phone in (("light", False), ("dark", True)):
        with inside(browser, hostile, root, "/mailboxes", scheme=scheme, phone=phone) as (visitor, page):
            for name, address in addresses.items():
                page.goto(address)
                assert violations(page, axe) == [], name
                assert overflow(page) <= 0, name
                visitor.picture(page, f"mailboxes-{name}-{scheme}{'-phone' if phone else ''}")
