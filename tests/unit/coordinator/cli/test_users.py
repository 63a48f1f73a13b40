"""``mailhaul users`` and ``mailhaul audit``."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.people.accounts import Accounts
from mailhaul.tests.pages import PASSWORD

Call = Callable[..., Any]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command; what it printed, and as JSON where it is."""

    def run(*words: str | Path, status: int = 0) -> Any:
        assert main([*map(str, words), "--staging", str(tmp_path)]) == status
        printed = capsys.readouterr()
        assert PASSWORD not in printed.out + printed.err
        return json.loads(printed.out) if "--json" in words else printed.out + printed.err

    return run


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text(PASSWORD + "\nsecond line\n")
    return file


def test_an_account_from_its_beginning_to_its_end(call: Call, password: Path, tmp_path: Path) -> None:
    assert "there are no accounts" in call("users")
    assert "anna is a helpdesk now, for staff" in call(
        "users", "add", "anna", "--role", "helpdesk", "--group", "staff", "--password-file", password
    )
    accounts = Accounts(tmp_path)
    assert accounts.log_in("anna", PASSWORD)
    (user,) = call("users", "list", "--json")["users"]
    assert user == {
        "name": "anna",
        "role": "helpdesk",
        "groups": ["staff"],
        "has_password": True,
        "has_token": False,
    }
    call("users", "role", "anna", "viewer")
    password.write_text("another long password")
    call("users", "password", "anna", "--password-file", password)
    assert not accounts.log_in("anna", PASSWORD)
    token = call("users", "token", "anna").strip()
    found = accounts.of_token(token)
    assert found is not None
    assert found.role == "viewer"
    call("users", "token", "anna", "--file", tmp_path / "token")
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert accounts.of_token(token) is None
    call("users", "remove", "anna")
    assert accounts.all() == ()
    acts = call("audit", "--json")["acts"]
    done = [act["what"] for act in acts if act["outcome"] == "done"]
    assert done == ["add user", "change role", "change password", "make token", "make token", "remove user"]
    assert {act["who"].partition(":")[0] for act in acts} == {"cli"}
    assert PASSWORD not in (tmp_path / ".mailhaul" / "audit.jsonl").read_text()


def test_what_can_not_be_is_told(call: Call, password: Path) -> None:
    assert "a helpdesk acts for groups" in call("users", "add", "anna", "--role", "helpdesk", status=2)
    assert "nobody can be asked" in call("users", "add", "anna", "--role", "viewer", status=2)
    call("users", "add", "anna", "--role", "viewer", "--no-password")
    assert "already" in call("users", "add", "anna", "--role", "viewer", "--no-password", status=2)
    assert "no account bob" in call("users", "password", "bob", "--password-file", password, status=1)
    assert "no account bob" in call("users", "remove", "bob", status=1)
    assert "no account bob" in call("users", "token", "bob", status=1)


def test_a_password_that_is_typed(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["short", PASSWORD])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.prompt", lambda *_args, **_named: next(answers))
    assert "better are several words" in call("users", "add", "anna", "--role", "operator")
    assert Accounts(tmp_path).log_in("anna", PASSWORD)


def test_the_log_is_shown_and_checked(call: Call, tmp_path: Path) -> None:
    assert "nothing is on record" in call("audit")
    for name in ("anna", "bert", "carl"):
        call("users", "add", name, "--role", "viewer", "--no-password")
    assert call("audit", "--on", "bert").count("add user") == 2
    assert len(call("audit", "--last", "1", "--json")["acts"]) == 1
    assert "the log is whole" in call("audit", "--check")
    log = tmp_path / ".mailhaul" / "audit.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:2] + lines[3:]))
    told = call("audit", "--check", status=4)
    assert "line 3 does not follow" in told
    assert call("audit", "--check", "--json", status=4)["flaws"][0]["line"] == 3


def test_no_command_but_serve_loads_the_page(tmp_path: Path) -> None:
    call = (
        "import sys; from mailhaul.coordinator.cli.main import main; "
        f"status = max(main([one, '--staging', {str(tmp_path)!r}]) for one in ('users', 'audit')); "
        "print(*sys.modules); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", call], capture_output=True, text=True, timeout=60, check=True
    )
    found = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert not found & {"starlette", "jinja2", "uvicorn", "sse_starlette", "anyio", "pydantic"}
