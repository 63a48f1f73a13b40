"""What people call for most: a folder is gone. Found on the page, back in the live server in five clicks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator

from mailhaul.coordinator.people.audit import AuditLog
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.serving import Served
from mailhaul.tests.integration.web.looking import Visitor
from mailhaul.tests.integration.web.shown import being_served

pytestmark = pytest.mark.xdist_group("browser")

USER = "jane@example.org"
CONFIG = """\
[staging]
path = {staging}
reserve = "1 MiB"
same_device = true

[[partition]]
name = "primary"
format = "maildir"
path = {store}
doveadm = {doveadm}
"""


def _fill(server: Dovecot) -> None:
    """INBOX, and a folder with a folder below it, flags and keywords."""
    letters = [f"From: joe@example.net\nSubject: letter {n}\n\nText {n}\n".encode() for n in range(6)]
    server.deliver([letter.replace(b"\n", b"\r\n") for letter in letters[:2]], USER)
    with server.login(USER) as client:
        client.make_folder("Projects")
        client.make_folder("Projects/2026")
        client.save("Projects", letters[2], ("\\Seen", "\\Flagged"))
        client.save("Projects", letters[3], ("$Forwarded", "urgent"))
        client.save("Projects", letters[4], ())
        client.save("Projects/2026", letters[5], ("\\Answered",))


def test_a_deleted_folder_is_back_in_five_clicks(
    start_dovecot: Callable[..., Dovecot], browser: Browser, tmp_path: Path, root: Path
) -> None:
    server = start_dovecot("maildir++")
    served = Served(tmp_path)
    served.config.write_text(
        CONFIG.format(
            staging=json.dumps(str(served.staging)),
            store=json.dumps(server.template),
            doveadm=json.dumps(server.doveadm),
        )
    )
    _fill(server)
    before = server.view(USER)
    served.run("backup")
    with server.login(USER) as client:
        client.delete_folder("Projects/2026")
        client.delete_folder("Projects")
    served.run("backup", status=(0, 3))
    assert set(server.view(USER).folders) == {"INBOX"}
    with being_served(served) as shown:
        visitor = Visitor(browser, shown, root / "build" / "screenshots")
        clicks = 0

        def click(what: Locator) -> None:
            nonlocal clicks
            clicks += 1
            what.click()

        with visitor.page("/") as page:
            click(page.get_by_role("link", name="Mailboxes", exact=True))
            page.get_by_label("User").fill("jane")
            click(page.get_by_role("button", name="Search"))
            page.get_by_label("Why do you look into a mailbox?").fill("she deleted Projects, ticket 4711")
            visitor.picture(page, "folder-1-search")
            click(page.get_by_role("button", name=USER))
            visitor.picture(page, "folder-2-mailbox")
            click(page.get_by_role("link", name="Restore Projects", exact=True))
            button = page.get_by_role("button", name="Restore 4 messages")
            button.wait_for()
            visitor.picture(page, "folder-3-plan")
            click(button)
            page.get_by_text("Done, at").wait_for(timeout=60_000)
            visitor.picture(page, "folder-4-done")
        assert clicks == 5
        visitor.close()
    after = server.view(USER)
    assert {name: folder.messages for name, folder in after.folders.items()} == {
        name: folder.messages for name, folder in before.folders.items()
    }
    assert [after.folders[name].uidvalidity for name in before.folders] == [
        folder.uidvalidity for folder in before.folders.values()
    ]
    folder = f"/primary/user/{USER}/Projects"
    acts = [
        (act["what"], act["outcome"], act["on"], act["why"])
        for act in AuditLog(served.staging).acts()
        if act["on"].startswith("/primary")
    ]
    why = "she deleted Projects, ticket 4711"
    assert acts == [
        ("look into mailbox", "done", f"/primary/user/{USER}", why),
        ("plan restore", "done", folder, why),
        ("restore", "begun", folder, why),
        ("restore", "done", folder, why),
    ]
