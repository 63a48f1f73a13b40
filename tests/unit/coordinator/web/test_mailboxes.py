"""*Mailboxes*: who sees what of whose mail, with which reason; and what is brought back."""

from __future__ import annotations

import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient

from mailhaul.coordinator.readers import exclusive
from mailhaul.coordinator.web import plans
from mailhaul.coordinator.web.pages import mailboxes, message
from mailhaul.coordinator.web.site import Site
from mailhaul.tests.pages import api_token, form_token, logged_in, operator
from mailhaul.tests.stored_mailboxes import BOSS, JANE, Nights, letter, three_nights


@pytest.fixture(scope="module")
def backups(tmp_path_factory: pytest.TempPathFactory) -> tuple[Nights, list[str]]:
    return three_nights(tmp_path_factory.mktemp("nights"))


@pytest.fixture
def site(backups: tuple[Nights, list[str]]) -> Site:
    nights, _ = backups
    (nights.staging / ".mailhaul" / "audit.jsonl").unlink(missing_ok=True)
    return nights.site()


def look(client: TestClient, path: str = JANE, reason: str = "she called") -> str:
    """Say why, and see the mailbox."""
    page = client.get("/mailboxes", params={"text": "x"}).text
    answer = client.post(
        "/mailboxes/look", data={"form_token": form_token(page), "path": path, "reason": reason}
    )
    assert answer.status_code == 303, answer.text
    return client.get(answer.headers["location"]).text


def links(page: str, beginning: str) -> list[str]:
    return [
        one for one in map(html.unescape, re.findall(r'href="([^"]+)"', page)) if one.startswith(beginning)
    ]


def acts(site: Site, outcome: str = "done") -> list[tuple[str, str, str, str]]:
    return [
        (act["who"], act["what"], act["on"], act["why"])
        for act in site.audit.acts()
        if act["outcome"] == outcome and act["what"] != "log in"
    ]


def test_users_are_searched(site: Site) -> None:
    client = operator(site)
    assert "jane@example.org" in client.get("/mailboxes?text=JANE").text
    found = client.get("/api/v1/mailboxes?text=example").json()
    assert [(mailbox["user"], mailbox["group"]) for mailbox in found["mailboxes"]] == [
        ("boss@example.org", "user"),
        ("jane@example.org", "staff"),
    ]
    assert client.get("/api/v1/mailboxes?text=nobody").json() == {"mailboxes": [], "more": False}
    assert "Nobody" in client.get("/mailboxes?text=%3Cscript%3E").text
    assert "<script>" not in client.get("/mailboxes?text=%3Cscript%3Ealert").text.partition("<main")[2]


def test_nothing_is_shown_before_a_reason_is_given(site: Site) -> None:
    client = operator(site)
    for page in ("mailbox", "folder", "find", "message", "message/html", "message/raw", "restore", "plan"):
        answer = client.get(f"/mailboxes/{page}?path={JANE}/INBOX/1&at=20261117T031500Z-4f3a&number=1")
        assert "Why do you look into it?" in answer.text, page
        assert "Projects" not in answer.text
    assert acts(site) == []
    assert client.get(f"/api/v1/mailboxes/mailbox?path={JANE}&reason=").status_code == 400


def test_a_mailbox_is_seen_through_time_with_the_reason_on_record(
    site: Site, backups: tuple[Nights, list[str]]
) -> None:
    _, runs = backups
    client = operator(site)
    page = look(client)
    assert "Folders that are gone" in page
    assert links(page, "/mailboxes/restore?path=")[0].endswith(f"Projects&at={runs[0]}")
    assert acts(site) == [("local:root", "look into mailbox", JANE, "she called")]
    told = client.get(f"/api/v1/mailboxes/mailbox?path={JANE}&reason=why").json()
    assert (told["group"], told["at"], told["newest"]) == ("staff", runs[2], runs[2])
    assert [folder["name"] for folder in told["folders"]] == ["INBOX"]
    (gone,) = told["gone"]["folders"]
    assert (gone["name"], gone["last"], gone["messages"]) == ("Projects", runs[0], 2)
    assert [(one["came"], one["went"]) for one in told["history"]] == [(4, 0), (0, 2), (0, 1)]
    for at, status in (("zzz", 400), ("20200101T000000Z-0000", 404)):
        assert client.get(f"/mailboxes/mailbox?path={JANE}&at={at}").status_code == status
    earlier = client.get(f"/api/v1/mailboxes/mailbox?path={JANE}&reason=why&at={runs[0]}").json()
    assert [one["name"] for one in earlier["folders"]] == ["INBOX", "Projects"]


def test_messages_are_listed_the_newest_first(site: Site, backups: tuple[Nights, list[str]]) -> None:
    _, runs = backups
    client = operator(site)
    asked = {"path": f"{JANE}/INBOX", "reason": "why", "at": runs[0]}
    told = client.get("/api/v1/mailboxes/messages", params=asked).json()
    assert [(one["uid"], one["subject"]) for one in told["messages"]] == [(2, "second"), (1, "first")]
    assert told["total"] == 2
    rest = client.get("/api/v1/mailboxes/messages", params={**asked, "skip": 1}).json()
    assert [one["uid"] for one in rest["messages"]] == [1]
    look(client)
    page = client.get(f"/mailboxes/folder?path={JANE}/INBOX&at={runs[0]}").text
    assert "second" in page
    assert links(page, "/mailboxes/message?")


def test_a_message_is_shown_and_taken_as_it_was_stored(
    site: Site, backups: tuple[Nights, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, runs = backups
    client = operator(site)
    look(client)
    listed = client.get(f"/mailboxes/folder?path={JANE}/Projects&at={runs[0]}").text
    (one,) = [link for link in links(listed, "/mailboxes/message?") if "7.p" in link]
    page = client.get(one)
    assert "plan of Jane" in page.text
    sent = []

    class Sent(StreamingResponse):
        """What was begun to be sent, when nothing of it was."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            with exclusive(site.staging, patience_seconds=0):  # a purge need not wait for who reads slowly
                sent.append(self)
            super().__init__(*arguments, **named)

    monkeypatch.setattr(message, "StreamingResponse", Sent)
    raw = client.get(one.replace("/message?", "/message/raw?"))
    assert len(sent) == 1
    assert raw.content.endswith(b"\n\nplan of Jane\n")
    assert raw.headers["content-type"] == "application/octet-stream"
    assert raw.headers["content-disposition"].startswith("attachment; ")
    assert [what for _, what, _, _ in acts(site)][-2:] == ["read message", "take message"]


def test_messages_are_found_that_are_not_there_any_more(
    site: Site, backups: tuple[Nights, list[str]]
) -> None:
    _, runs = backups
    asked = {"path": JANE, "reason": "why", "subject": "SECOND", "deleted": "true"}
    told = operator(site).get("/api/v1/mailboxes/find", params=asked).json()
    assert [(one["subject"], one["last"]) for one in told["messages"]] == [("second", runs[1])]
    bad = operator(site).get("/api/v1/mailboxes/find", params={**asked, "since": "yesterday"})
    assert bad.status_code == 400


def test_a_folder_is_planned_then_put_in_the_queue_once(
    site: Site, backups: tuple[Nights, list[str]]
) -> None:
    _, runs = backups
    client = operator(site)
    link = links(look(client), "/mailboxes/restore?path=")[0]
    assert "Looking what that would do" in client.get(link).text
    plan = client.get(link.replace("/restore?", "/plan?"), headers={"HX-Request": "true"}).text
    assert "Restore 2 messages" in plan
    assert "would be made anew" in plan
    assert not site.operations.in_states(("waiting",))
    number = re.search(r'name="plan" value="([^"]+)"', plan)
    assert number
    form = {"form_token": form_token(plan), "plan": number[1]}
    assert client.post("/mailboxes/restore", data=form).status_code == 400  # without a reason
    answer = client.post("/mailboxes/restore", data={**form, "reason": "she called"})
    assert answer.status_code == 303
    (operation,) = site.operations.in_states(("waiting",))
    assert operation.request.kind == "restore"
    assert operation.request.arguments == (f"{JANE}/Projects", f"--at={runs[0]}")
    assert (operation.request.asked_by, operation.request.reason) == ("page:local:root", "she called")
    assert acts(site)[-1] == ("local:root", "restore", f"{JANE}/Projects", "she called")
    assert "It waits" in client.get(answer.headers["location"]).text
    assert client.post("/mailboxes/restore", data={**form, "reason": "again"}).status_code == 404
    site.operations.end(operation.id, "stopped", site.now())


def test_what_was_deleted_is_listed_and_brought_back(site: Site, backups: tuple[Nights, list[str]]) -> None:
    _, runs = backups
    client = operator(site)
    token = api_token(client)
    wish = {"kind": "undelete", "paths": [JANE], "until": runs[2], "reason": "she called"}
    plan = client.post("/api/v1/mailboxes/plan", json=wish, headers=token).json()
    assert sorted(one["subject"] for one in plan["document"]["vanished"]) == [
        "another plan",
        "second",
        "the plan",
    ]
    asked = {"number": plan["number"], "reason": "she called"}
    told = client.post("/api/v1/mailboxes/restore", json=asked, headers=token).json()
    assert told["request"]["arguments"] == [JANE, f"--until={runs[2]}"]
    site.operations.end(told["id"], "stopped", site.now())


def test_an_undelete_is_as_of_the_plan_whatever_runs_come_after(
    site: Site, backups: tuple[Nights, list[str]]
) -> None:
    _, runs = backups
    client = operator(site)
    wish = {"kind": "undelete", "paths": [JANE], "reason": "she called"}
    plan = client.post("/api/v1/mailboxes/plan", json=wish, headers=api_token(client)).json()
    assert plan["arguments"] == [JANE, f"--until={runs[-1]}"]


@pytest.mark.parametrize(
    "wish",
    [
        {"kind": "restore", "paths": [f"{JANE}/INBOX"]},
        {"kind": "restore", "paths": [f"{JANE}/INBOX"], "at": "--to=maildir:/tmp"},
        {"kind": "restore", "paths": ["--to=maildir:/tmp"], "at": "2026-11-30"},
        {"kind": "restore", "paths": ["/"], "at": "2026-11-30"},
        {"kind": "restore", "paths": ["/primary/user"], "at": "2026-11-30"},
        {"kind": "restore", "paths": [f"{JANE}/INBOX", f"{BOSS}/INBOX"], "at": "2026-11-30"},
        {"kind": "restore", "paths": [f"{JANE}/INBOX"], "at": "2026-11-30", "into": "a\nb"},
        {"kind": "restore", "paths": [], "at": "2026-11-30"},
        {"kind": "backup", "paths": [JANE]},
    ],
)
def test_what_is_no_wish_is_refused(site: Site, wish: dict[str, object]) -> None:
    client = operator(site)
    answer = client.post("/api/v1/mailboxes/plan", json={**wish, "reason": "why"}, headers=api_token(client))
    assert answer.status_code == 400, answer.text
    assert not site.operations.in_states(("waiting",))


def test_a_plan_of_what_there_is_not_says_so_and_has_no_button(
    site: Site, backups: tuple[Nights, list[str]]
) -> None:
    _, runs = backups
    client = operator(site)
    look(client)
    page = client.get(f"/mailboxes/plan?path={JANE}/Nothing&at={runs[0]}").text
    assert "no such folder" in page
    assert 'name="plan"' not in page


def test_a_helpdesk_acts_for_its_groups_and_reads_no_mail(
    site: Site, backups: tuple[Nights, list[str]]
) -> None:
    _, runs = backups
    client = logged_in(site, "helen", "helpdesk", "staff")
    assert [
        mailbox["user"] for mailbox in client.get("/api/v1/mailboxes?text=example").json()["mailboxes"]
    ] == ["jane@example.org"]
    page = look(client)
    assert "Projects" in page
    folder = client.get(f"/mailboxes/folder?path={JANE}/Projects&at={runs[0]}").text
    assert "the plan" in folder
    assert not links(folder, "/mailboxes/message")
    for place in ("message", "message/html", "message/raw", "message/part"):
        path = f"{JANE}/INBOX/1"
        assert client.get(f"/mailboxes/{place}?path={path}&number=1").status_code == 403
        if place != "message/html":
            answer = client.get(f"/api/v1/mailboxes/{place}?path={path}&reason=x&number=1")
            assert answer.status_code == 403
    assert len(acts(site, "refused")) == 7
    wish = {"kind": "restore", "paths": [f"{JANE}/Projects"], "at": runs[0], "reason": "she called"}
    token = api_token(client)
    plan = client.post("/api/v1/mailboxes/plan", json=wish, headers=token).json()
    other = logged_in(site, "hugo", "helpdesk", "staff")
    asked = {"number": plan["number"], "reason": "mine now"}
    taken = other.post("/api/v1/mailboxes/restore", json=asked, headers=api_token(other))
    assert taken.status_code == 404  # a plan is carried out by whom it was shown
    done = client.post("/api/v1/mailboxes/restore", json=asked, headers=token).json()
    assert client.get(f"/mailboxes/operation?id={done['id']}").status_code == 200
    assert other.get(f"/mailboxes/operation?id={done['id']}").status_code == 404
    error = f"{JANE}/Encrypted: can't be written"
    site.operations.end(done["id"], "failed", site.now(), error=error)
    assert "key" not in client.get(f"/mailboxes/operation?id={done['id']}").text.partition("<main")[2]


@pytest.mark.parametrize(
    "path", [BOSS, f"{BOSS}/INBOX", BOSS.replace("user", "staff", 1), "/primary/user/no"]
)
def test_a_helpdesk_sees_nothing_of_others_under_no_name(
    site: Site, backups: tuple[Nights, list[str]], path: str
) -> None:
    _, runs = backups
    client = logged_in(site, "helen", "helpdesk", "staff")
    token = form_token(client.get("/mailboxes").text)
    form = {"form_token": token, "path": path, "reason": "curious"}
    answers = [
        client.post("/mailboxes/look", data=form),
        *(
            client.get(f"/mailboxes/{page}?path={path}&at={runs[0]}")
            for page in ("mailbox", "folder", "find", "restore", "plan")
        ),
        *(
            client.get(f"/api/v1/mailboxes/{page}", params={"path": path, "reason": "curious"})
            for page in ("mailbox", "messages", "find")
        ),
        client.post(
            "/api/v1/mailboxes/plan",
            json={"kind": "restore", "paths": [f"{JANE}/INBOX", path], "at": runs[0], "reason": "curious"},
            headers=api_token(client),
        ),
    ]
    assert [answer.status_code for answer in answers] == [403] * len(answers)
    assert len({re.sub(r"20\d\d-\S+", "", answer.text) for answer in answers[1:5]}) == 1
    for answer in answers:
        assert "secret of the boss" not in answer.text
    assert len(acts(site, "refused")) == len(answers)


def test_a_viewer_sees_mail_with_a_reason_and_brings_nothing_back(
    site: Site, backups: tuple[Nights, list[str]]
) -> None:
    _, runs = backups
    client = logged_in(site, "vera", "viewer")
    shown = look(client) + client.get(f"/mailboxes/folder?path={JANE}/Projects&at={runs[0]}").text
    assert "the plan" in shown
    shown += client.get(links(shown, "/mailboxes/message?")[0]).text
    assert "/mailboxes/restore" not in shown
    for place in ("restore", "plan"):
        answer = client.get(f"/mailboxes/{place}?path={JANE}/INBOX&at={runs[0]}")
        assert answer.status_code == 403, place
    wish = {"kind": "restore", "paths": [f"{JANE}/INBOX"], "at": runs[0], "reason": "why"}
    assert client.post("/api/v1/mailboxes/plan", json=wish, headers=api_token(client)).status_code == 403


def test_what_is_encrypted_is_listed_and_its_mail_is_for_who_has_a_private_key(tmp_path: Path) -> None:
    nights = Nights(tmp_path, encrypted=True)
    nights.mailbox("jane@example.org").message("1.a:2,S", letter("first", "locked up"))
    run = nights.back_up()
    site = nights.site()
    client = operator(site)
    look(client)
    page = client.get(f"/mailboxes/folder?path={JANE}/INBOX").text
    assert "is encrypted" in page
    assert "2020-09-13" in page
    (link,) = links(page, "/mailboxes/message?")
    shown = client.get(link)
    assert shown.status_code == 200
    assert "no key that opens it is here" in shown.text
    assert "--identity FILE" in shown.text
    assert "locked up" not in shown.text
    for part in ("html", "raw"):
        assert client.get(link.replace("message?", f"message/{part}?")).status_code == 409
    plan = client.get(f"/mailboxes/plan?path={JANE}/INBOX&at={run}").text
    assert "the mail is encrypted, for ops" in plan
    assert links(plan, "/key?")[0].startswith("/key?to=/mailboxes/restore%3Fpath%3D")
    assert 'name="plan"' not in plan


def test_of_a_restore_of_many_paths_all_are_on_record(
    site: Site, backups: tuple[Nights, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, runs = backups
    monkeypatch.setattr(plans, "_asked", lambda *_: plans.Answer({}))
    client = operator(site)
    token = api_token(client)
    paths = [f"{JANE}/{'long ' * 10}{number}" for number in range(200)]
    wish = {"kind": "restore", "paths": paths, "at": runs[0], "reason": "all of it"}
    plan = client.post("/api/v1/mailboxes/plan", json=wish, headers=token).json()
    asked = {"number": plan["number"], "reason": "all of it"}
    operation = client.post("/api/v1/mailboxes/restore", json=asked, headers=token).json()
    site.operations.withdraw(operation["id"], site.now())
    begun, done = (act for act in site.audit.acts() if act["what"] == "restore")
    arguments = site.operations.get(done["facts"]["operation"]).request.arguments
    assert (arguments[:200], done["facts"]["operation"]) == (tuple(paths), operation["id"])
    kept = begun["facts"]["arguments"]
    whole = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    assert (kept["count"], kept["sha256"]) == (len(arguments), hashlib.sha256(whole.encode()).hexdigest())


def test_a_search_whose_time_is_over_says_so_and_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    client = operator(site)
    look(client)
    asked = {"path": JANE, "reason": "she called", "subject": "plan", "deleted": "true"}
    whole = client.get("/api/v1/mailboxes/find", params=asked).json()
    assert (len(whole["messages"]), whole["before"]) == (2, None)
    monkeypatch.setattr(mailboxes, "_MOST_SECONDS_TO_FIND", -1.0)
    found: list[dict[str, Any]] = []
    before = ""
    while before is not None:
        part = client.get("/api/v1/mailboxes/find", params={**asked, "before": before}).json()
        found += part["messages"]
        before = part["before"]
    assert [one["subject"] for one in found] == [one["subject"] for one in whole["messages"]]
    page = client.get(f"/mailboxes/find?path={JANE}&go=yes&subject=plan&deleted=yes").text
    pages = [page]
    while onward := links(pages[-1], "/mailboxes/find?"):
        assert "There was time to look back to" in pages[-1]
        pages.append(client.get(onward[-1]).text)
    assert len(pages) == 3
    assert ["another plan" in one for one in pages] == [False, False, True]
    assert client.get(f"/mailboxes/find?path={JANE}&go=yes&before=x").status_code == 400
