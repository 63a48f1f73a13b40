"""Private keys on the page: those of the configuration, and what is handed in for a session."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mailhaul.coordinator.cli.identities import configured_identity
from mailhaul.coordinator.serving.private_keys import PrivateKeys
from mailhaul.coordinator.web.site import Site
from mailhaul.proto.keys.secret_files import ScryptCost, read_secret, write_secret
from mailhaul.proto.structs import replace
from mailhaul.tests.pages import PASSWORD as LOG_IN
from mailhaul.tests.pages import SettableClock, api_token, form_token, log_in, logged_in, operator, visitor
from mailhaul.tests.stored_mailboxes import JANE, Nights, three_nights

PASSPHRASE = "staple of the ninth battery"


@pytest.fixture(scope="module")
def backups(tmp_path_factory: pytest.TempPathFactory) -> tuple[Nights, list[str]]:
    nights, runs = three_nights(tmp_path_factory.mktemp("nights"), encrypted=True)
    secret = read_secret(nights.place / "ops.secret").open(None)
    write_secret(nights.place / "closed.secret", secret, PASSPHRASE, ScryptCost(n=2, r=1))
    (nights.place / "pass").write_text(PASSPHRASE + "\n")
    return nights, runs


@pytest.fixture
def site(backups: tuple[Nights, list[str]]) -> Site:
    nights, _ = backups
    (nights.staging / ".mailhaul" / "audit.jsonl").unlink(missing_ok=True)
    return nights.site()


def with_configured_key(nights: Nights, site: Site, name: str = "closed.secret") -> Site:
    """The site of somebody who trusts this host with a key."""
    files, passphrases = (nights.place / name,), (nights.place / "pass",)
    opened = PrivateKeys(site.clock, lambda: configured_identity(files, passphrases), files, passphrases)
    return replace(site, keys=opened)


def hand_in(client: TestClient, file: Path, passphrase: str = PASSPHRASE, **more: str) -> str:
    """By the form; where it leads to, or what it says."""
    token = form_token(client.get("/key").text)
    fields = {"form_token": token, "passphrase": passphrase, "reason": "ticket 12", "to": "/nights", **more}
    answer = client.post("/key", data=fields, files={"file": (file.name, file.read_bytes())})
    return answer.headers.get("location") or answer.text


def subjects(client: TestClient, run: str) -> list[str]:
    asked = {"path": f"{JANE}/Projects", "at": run, "reason": "why"}
    told = client.get("/api/v1/mailboxes/messages", params=asked).json()
    return sorted(message["subject"] for message in told["messages"])


def acts(site: Site) -> list[tuple[str, str, str, str]]:
    return [
        (act["what"], act["outcome"], act["on"], act["why"])
        for act in site.audit.acts()
        if "key" in act["what"]
    ]


def test_without_a_key_it_is_said_what_is_missing(site: Site, backups: tuple[Nights, list[str]]) -> None:
    _, runs = backups
    client = operator(site)
    assert subjects(client, runs[0]) == ["", ""]
    assert client.get("/api/v1/key").json() == {"handed": [], "configured": [], "problem": ""}
    found = client.get("/api/v1/mailboxes/find", params={"path": JANE, "reason": "why", "subject": "second"})
    assert (found.status_code, found.json()["error"]["code"]) == (409, "encrypted")
    page = client.get("/mailboxes", params={"text": "x"}).text
    client.post("/mailboxes/look", data={"form_token": form_token(page), "path": JANE, "reason": "why"})
    page = client.get(f"/mailboxes/find?path={JANE}&go=yes&subject=second").text
    assert "encrypted, for ops" in page
    assert 'href="/key?to=/mailboxes/find%3Fpath%3D' in page
    for kind, at in (("restore", {"at": runs[0]}), ("undelete", {})):
        wish = {"kind": kind, "paths": [JANE], "reason": "why", **at}
        plan = client.post("/api/v1/mailboxes/plan", json=wish, headers=api_token(client)).json()
        assert (plan["number"], plan["is_locked"]) == ("", True), plan
        assert "for ops" in plan["problem"]


@pytest.mark.parametrize("way", ["configured", "handed"])
def test_with_a_key_mail_is_listed_found_shown_and_planned(
    site: Site, backups: tuple[Nights, list[str]], way: str
) -> None:
    nights, runs = backups
    if way == "configured":
        site = with_configured_key(nights, site)
    client = operator(site)
    if way == "handed":
        assert hand_in(client, nights.place / "closed.secret") == "/nights"
    (recipient,) = client.get("/api/v1/key").json()[way]
    assert recipient["name"] == "ops"
    assert subjects(client, runs[0]) == ["another plan", "the plan"]
    found = client.get(
        "/api/v1/mailboxes/find", params={"path": JANE, "reason": "why", "subject": "second"}
    ).json()
    (message,) = found["messages"]
    asked = {"path": message["path"], "at": message["last"], "reason": "why"}
    shown = client.get("/api/v1/mailboxes/message", params=asked).json()
    assert (shown["subject"], shown["text"].strip()) == ("second", "hello")
    for kind, at in (("restore", {"at": runs[0]}), ("undelete", {})):
        wish = {"kind": kind, "paths": [JANE], "reason": "why", **at}
        plan = client.post("/api/v1/mailboxes/plan", json=wish, headers=api_token(client)).json()
        assert (plan["problem"], plan["is_locked"]) == ("", False), plan
        asked_for = {"number": plan["number"], "reason": "why"}
        done = client.post("/api/v1/mailboxes/restore", json=asked_for, headers=api_token(client)).json()
        lent = site.keys.lent(done["id"])
        assert bool(lent) == (way == "handed")
        assert PASSPHRASE not in lent.decode()
        assert "--identity" not in json.dumps(done)


def test_a_helpdesk_sees_no_body_with_a_key_either(site: Site, backups: tuple[Nights, list[str]]) -> None:
    nights, runs = backups
    client = logged_in(with_configured_key(nights, site), "bob", "helpdesk", "staff")
    assert subjects(client, runs[0]) == ["another plan", "the plan"]
    asked = {"path": f"{JANE}/INBOX/1", "at": runs[0], "reason": "why"}
    for what in ("message", "message/raw"):
        assert client.get(f"/api/v1/mailboxes/{what}", params=asked).status_code == 403
    wish = {"kind": "restore", "paths": [f"{JANE}/Projects"], "at": runs[0], "reason": "why"}
    plan = client.post("/api/v1/mailboxes/plan", json=wish, headers=api_token(client)).json()
    assert plan["number"]


def test_a_key_is_for_one_session_and_on_record(site: Site, backups: tuple[Nights, list[str]]) -> None:
    nights, runs = backups
    client = logged_in(site, "anna", "operator")
    again = visitor(site)
    log_in(again, "anna", LOG_IN)
    assert hand_in(client, nights.place / "closed.secret") == "/nights"
    assert subjects(client, runs[0]) == ["another plan", "the plan"]
    assert subjects(again, runs[0]) == ["", ""]
    page = client.get("/nights").text
    assert 'href="/key"' in page
    client.post("/log-out", data={"form_token": form_token(page)})
    log_in(client, "anna", LOG_IN)
    assert subjects(client, runs[0]) == ["", ""]
    recipient = read_secret(nights.place / "ops.secret").recipient.hex()
    on = f"ops ({recipient[:8]})"
    assert acts(site) == [
        ("hand in key", "begun", on, "ticket 12"),
        ("hand in key", "done", on, "ticket 12"),
    ]
    hand_in(client, nights.place / "closed.secret")
    client.post("/key/forget", data={"form_token": form_token(client.get("/key").text)})
    assert subjects(client, runs[0]) == ["", ""]
    assert acts(site)[-1][:3] == ("forget key", "done", on)


def test_half_an_hour_without_use_is_the_end_of_it(site: Site, backups: tuple[Nights, list[str]]) -> None:
    nights, runs = backups
    clock = site.clock
    assert isinstance(clock, SettableClock)
    client = operator(site)
    hand_in(client, nights.place / "closed.secret")
    for _ in range(3):
        clock.seconds += 29 * 60
        assert subjects(client, runs[0]) == ["another plan", "the plan"]
    clock.seconds += 20 * 60
    assert client.get("/api/v1/key").json()["handed"]  # which does not use it
    clock.seconds += 11 * 60
    assert client.get("/api/v1/key").json()["handed"] == []
    assert subjects(client, runs[0]) == ["", ""]


def test_what_opens_nothing_is_refused_and_nothing_secret_is_on_record(
    site: Site, backups: tuple[Nights, list[str]], tmp_path: Path
) -> None:
    nights, _ = backups
    client = operator(site)
    closed = nights.place / "closed.secret"
    assert "the passphrase is wrong" in hand_in(client, closed, "no idea of it")
    assert "a passphrase is needed" in hand_in(client, closed, "")
    program = tmp_path / "card.json"
    program.write_text(json.dumps({"mailhaul_command": 1, "command": ["/bin/touch", f"{tmp_path}/ran"]}))
    assert "it names a program" in hand_in(client, program)
    costly = tmp_path / "costly.secret"
    document = json.loads(closed.read_bytes())
    costly.write_text(json.dumps({**document, "scrypt": {**document["scrypt"], "n": 1 << 19, "r": 8}}))
    assert "more work than is done here" in hand_in(client, costly)
    assert "is a public key" in hand_in(client, nights.place / "ops.pub")
    (tmp_path / "empty").touch()
    assert "choose the file" in hand_in(client, tmp_path / "empty")
    assert client.get("/api/v1/key").json()["handed"] == []
    assert {outcome for _, outcome, _, _ in acts(site)} == {"refused"}
    log = (nights.staging / ".mailhaul" / "audit.jsonl").read_text()
    assert "no idea of it" not in log
    assert PASSPHRASE not in log
    assert not (tmp_path / "ran").exists()


def test_a_key_is_typed_from_paper(site: Site, backups: tuple[Nights, list[str]]) -> None:
    nights, runs = backups
    words = ("keys", "recipient", "paper", str(nights.place / "ops.secret"))
    paper = subprocess.run((sys.executable, "-P", "-m", "mailhaul", *words), capture_output=True, check=True)
    client = operator(site)
    token = form_token(client.get("/key").text)
    fields = {"form_token": token, "typed": paper.stdout.decode(), "reason": "why", "to": "/nights"}
    assert client.post("/key", data=fields).headers["location"] == "/nights"
    assert subjects(client, runs[0]) == ["another plan", "the plan"]


def test_a_configured_key_that_can_not_be_opened_is_said_and_what_is_in_clear_is_shown(
    site: Site, backups: tuple[Nights, list[str]]
) -> None:
    nights, runs = backups
    client = operator(with_configured_key(nights, site, "gone.secret"))
    assert "gone.secret: can't be read" in client.get("/api/v1/key").json()["problem"]
    assert "gone.secret" in client.get("/key").text
    assert subjects(client, runs[0]) == ["", ""]
