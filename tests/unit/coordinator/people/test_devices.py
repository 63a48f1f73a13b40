"""A browser is known by a cookie for the account that has logged in there, and for no other."""

from __future__ import annotations

from pathlib import Path

from mailhaul.coordinator.people.accounts import Accounts
from mailhaul.coordinator.people.devices import GOOD_SECONDS, Devices
from mailhaul.coordinator.people.sessions import Sessions
from mailhaul.coordinator.people.signing import Signer
from mailhaul.tests.pages import CHEAP, PASSWORD, SettableClock


def test_it_is_known_for_one_account_until_that_is_changed(tmp_path: Path) -> None:
    clock = SettableClock()
    signer = Signer.of(tmp_path)
    devices, accounts = Devices(signer, clock), Accounts(tmp_path, CHEAP)
    anna, bob = (accounts.add(name, "viewer", (), PASSWORD) for name in ("anna", "bob"))
    cookie = devices.cookie(anna)
    known = devices.id_of(cookie, anna)
    assert known
    assert devices.id_of(devices.cookie(anna), anna) not in ("", known)
    assert devices.id_of(cookie, bob) == devices.id_of(cookie, None) == ""
    accounts.set_password("anna", "another long password")
    assert devices.id_of(cookie, accounts.get("anna")) == ""
    clock.seconds += GOOD_SECONDS + 1
    assert devices.id_of(cookie, anna) == ""


def test_what_was_signed_for_something_else_or_elsewhere_is_no_device(tmp_path: Path) -> None:
    clock = SettableClock()
    signer = Signer.of(tmp_path)
    devices, sessions = Devices(signer, clock), Sessions(tmp_path, signer, clock)
    anna = Accounts(tmp_path, CHEAP).add("anna", "viewer", (), PASSWORD)
    cookie = devices.cookie(anna)
    elsewhere = Devices(Signer.of(tmp_path / "elsewhere"), clock).cookie(anna)
    session = sessions.cookie(sessions.begin("anna", anna.mark))
    for forged in ("", ".", elsewhere, session, cookie[:-2], f"{cookie}x", "ä.ö"):
        assert devices.id_of(forged, anna) == "", forged
    assert sessions.read(cookie) is None
    assert Devices(Signer.of(tmp_path), clock).id_of(cookie, anna)  # for the next process, too
