"""Every page in a real browser: for who doesn't see or point, in the dark, on a phone, without JavaScript."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhaul.proto.keys.records import Kem
from mailhaul.proto.keys.secret_files import ScryptCost, Secret, write_secret
from mailhaul.tests.integration.web.looking import PHONE, Visitor, overflow, violations
from mailhaul.tests.integration.web.shown import ADDRESSES
from mailhaul.tests.sealed import PRIVATE, recipient

pytestmark = pytest.mark.xdist_group("browser")


def name_of(address: str) -> str:
    """What the picture of a page is called."""
    return address.strip("/").replace("/", "-").replace("?", "-").replace("=", "-") or "home"


@pytest.mark.parametrize("address", ADDRESSES)
def test_everybody_can_use_it(visitor: Visitor, axe: str, address: str) -> None:
    with visitor.page(address) as page:
        assert violations(page, axe) == []
        visitor.picture(page, f"{name_of(address)}-light")
        page.emulate_media(color_scheme="dark")
        assert violations(page, axe, "color-contrast") == []
        visitor.picture(page, f"{name_of(address)}-dark")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
        assert overflow(page) <= 0
        assert violations(page, axe, "scrollable-region-focusable", "target-size") == []
        visitor.picture(page, f"{name_of(address)}-phone")


def test_all_say_the_same_without_javascript(visitor: Visitor) -> None:
    with visitor.page(ADDRESSES[0], javascript=False) as page:
        for address in ADDRESSES:
            page.goto(address)
            assert page.locator("h1").count() == 1, address
            assert page.title(), address


def test_the_form_to_log_in(visitor: Visitor, axe: str) -> None:
    with visitor.page("/", known=False) as page:
        assert page.url.endswith("/log-in")
        assert violations(page, axe) == []
        visitor.picture(page, "log-in-light")
        page.keyboard.type("nobody")
        page.keyboard.press("Tab")
        page.keyboard.type("no password of anybody")
        page.keyboard.press("Enter")
        page.get_by_role("alert").wait_for()
        assert "no such name with this password" in page.get_by_role("alert").inner_text()
        assert violations(page, axe) == []
    with visitor.page("/log-in", known=False, scheme="dark", phone=True) as page:
        assert overflow(page) <= 0
        visitor.picture(page, "log-in-phone-dark")


@pytest.mark.parametrize("javascript", [True, False])
def test_a_private_key_is_handed_in_as_a_file(visitor: Visitor, tmp_path: Path, *, javascript: bool) -> None:
    key = tmp_path / "ops.secret"
    secret = Secret(name="ops", kem=Kem.X25519, recipient=recipient().id, private=PRIVATE)
    write_secret(key, secret, "correct horse", ScryptCost(n=2, r=1))
    with visitor.page("/key?to=/nights", javascript=javascript) as page:
        page.get_by_label("File with the private key").set_input_files(key)
        page.get_by_label("Passphrase").fill("correct horse")
        page.get_by_label("Why do you hand it in?").fill("ticket 12")
        visitor.picture(page, "key-form")
        page.get_by_role("button", name="Hand in").click()
        page.wait_for_url("**/nights")
        page.get_by_role("link", name="Key: ops").click()
        visitor.picture(page, "key-handed")
        page.get_by_role("button", name="Forget it").click()
        page.wait_for_url("**/key")
        assert page.get_by_role("link", name="Key: ops").count() == 0


def test_by_keyboard_the_page_itself_is_one_step_away(visitor: Visitor) -> None:
    with visitor.page("/now") as page:
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.className") == "skip"
        assert page.get_by_text("Skip to the page").is_visible()
        page.keyboard.press("Enter")
        assert page.evaluate("() => document.activeElement.id") == "main"
