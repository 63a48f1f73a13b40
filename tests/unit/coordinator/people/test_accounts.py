"""Accounts on record."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mailhaul.coordinator.people import passwords
from mailhaul.coordinator.people.accounts import Accounts
from mailhaul.coordinator.people.passwords import Cost
from mailhaul.proto.errors import DamagedError, NotFoundError, UsageError
from mailhaul.tests.pages import CHEAP, PASSWORD


def test_a_password_is_on_record_as_scrypt_has_it(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path, CHEAP)
    accounts.add("anna", "viewer", (), PASSWORD)
    file = tmp_path / ".mailhaul" / "accounts.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert PASSWORD not in file.read_text()
    other = Accounts(tmp_path, Cost(n=4, r=1, p=1))  # what is on record keeps its own parameters
    found = other.log_in("anna", PASSWORD)
    assert found is not None
    assert (found.name, found.role, found.password and found.password.cost) == ("anna", "viewer", CHEAP)
    assert other.log_in("anna", PASSWORD + "x") is None
    assert other.log_in("Anna", PASSWORD) is None
    assert PASSWORD not in repr(found)


def test_the_parameters_are_as_strong_as_they_are_said_to_be() -> None:
    cost = Cost()
    assert cost.n >= 2**15
    assert cost.r >= 8
    kept = passwords.keep(PASSWORD, cost)
    assert passwords.matches(PASSWORD, kept)
    assert not passwords.matches(PASSWORD.upper(), kept)


def test_a_name_that_there_is_not_costs_as_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = Accounts(tmp_path, CHEAP)
    accounts.add("anna", "viewer", (), PASSWORD)
    accounts.add("proxied", "viewer", (), None)
    costs: list[Cost] = []
    matches = passwords.matches

    def counting(password: str, kept: passwords.Password) -> bool:
        costs.append(kept.cost)
        return matches(password, kept)

    monkeypatch.setattr(passwords, "matches", counting)
    for name in ("anna", "proxied", "nobody"):
        assert accounts.log_in(name, "wrong") is None
        assert accounts.log_in(name, "") is None
    assert costs == [CHEAP] * 6


def test_what_can_not_be_is_refused(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path, CHEAP)
    for name in ("", "-x", "a b", "local:root", "a\nb", "a" * 101, "ä"):
        with pytest.raises(UsageError):
            accounts.add(name, "viewer", (), PASSWORD)
    with pytest.raises(UsageError, match="10 to 1024"):
        accounts.add("anna", "viewer", (), "short")
    with pytest.raises(UsageError, match="helpdesk"):
        accounts.add("anna", "helpdesk", (), PASSWORD)
    with pytest.raises(UsageError, match="helpdesk"):
        accounts.add("anna", "viewer", ("staff",), PASSWORD)
    accounts.add("anna", "viewer", (), PASSWORD)
    with pytest.raises(UsageError, match="already"):
        accounts.add("anna", "viewer", (), PASSWORD)
    with pytest.raises(NotFoundError, match="no account bob"):
        accounts.remove("bob")
    with pytest.raises(NotFoundError, match="no account bob"):
        accounts.set_password("bob", PASSWORD)
    with pytest.raises(NotFoundError, match="no account bob"):
        accounts.set_role("bob", "viewer", ())


def test_another_process_sees_a_change_at_once(tmp_path: Path) -> None:
    ours, theirs = Accounts(tmp_path, CHEAP), Accounts(tmp_path, CHEAP)
    assert ours.all() == ()
    theirs.add("anna", "helpdesk", ("staff", "guests"), PASSWORD)
    before = ours.find("anna")
    assert before is not None
    assert before.groups == ("guests", "staff")
    theirs.set_role("anna", "operator", ())
    after = ours.find("anna")
    assert after is not None
    assert (after.role, after.groups, after.mark != before.mark) == ("operator", (), True)
    theirs.remove("anna")
    assert ours.find("anna") is None


@pytest.mark.parametrize(
    "text", ["", "{}", '{"accounts": [{}]}', '{"accounts": 3}', "[1", '{"accounts": [{"role": "boss"}]}']
)
def test_a_damaged_file_lets_nobody_in(tmp_path: Path, text: str) -> None:
    accounts = Accounts(tmp_path, CHEAP)
    accounts.add("anna", "operator", (), PASSWORD)
    (tmp_path / ".mailhaul" / "accounts.json").write_text(text)
    with pytest.raises(DamagedError, match="mend it by hand"):
        accounts.log_in("anna", PASSWORD)
