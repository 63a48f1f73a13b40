"""Who is let in, by which way; and what every answer says to a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mailhaul.coordinator.people.roles import Role
from mailhaul.coordinator.web.app import make_app, routes
from mailhaul.coordinator.web.headers import CONTENT_POLICY
from mailhaul.coordinator.web.routes import API, Page, Resource, Route, address
from mailhaul.coordinator.web.settings import ProxyConfig
from mailhaul.coordinator.web.site import Site
from mailhaul.coordinator.web.ways import Ways
from mailhaul.tests.pages import (
    PASSWORD,
    SettableClock,
    form_token,
    log_in,
    logged_in,
    make_site,
    operator,
    visitor,
)

GUARDED = [route for route in routes() if route.allows is not None]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


def name_of(route: Route) -> str:
    return f"{route.method} {address(route)}"


def filled(route: Route) -> str:
    """An address in which every named part is something that there is not."""
    parts = [
        ("1" if "int" in part else "nothing") if part.startswith("{") else part
        for part in address(route).split("/")
    ]
    return "/".join(parts)


@pytest.mark.parametrize("route", GUARDED, ids=name_of)
def test_nobody_sees_anything_without_a_log_in(site: Site, route: Route) -> None:
    answer = visitor(site).request(route.method, filled(route))
    if address(route).startswith(API):
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
    else:
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/log-in")


@pytest.mark.parametrize("role", ["viewer", "helpdesk"])
def test_what_is_not_for_a_role_is_refused_and_on_record(site: Site, role: Role) -> None:
    client = logged_in(site, "anna", role, *(["staff"] if role == "helpdesk" else []))
    not_theirs = [route for route in GUARDED if role not in (route.allows or ())]
    for route in not_theirs:
        answer = client.request(route.method, filled(route))
        assert answer.status_code == 403, name_of(route)
    refused = [act for act in site.audit.acts() if act["outcome"] == "refused"]
    assert [(act["who"], act["role"]) for act in refused] == [("anna", role)] * len(not_theirs)


@pytest.mark.parametrize("route", [one for one in routes() if one.method != "GET"], ids=name_of)
def test_whatever_changes_something_wants_the_token_of_a_form(site: Site, route: Route) -> None:
    answer = operator(site).post(filled(route), **({"json": {}} if isinstance(route, Resource) else {}))  # type: ignore[arg-type]
    assert answer.status_code in (400, 403), answer.text
    assert not [act for act in site.audit.acts() if act["outcome"] == "begun"]


def test_every_answer_has_the_headers(site: Site) -> None:
    client = operator(site)
    for path in ("/now", "/nothing", "/api/v1/me", "/api/v1/nothing", "/static/site.css"):
        headers = client.get(path).headers
        assert headers["content-security-policy"] == CONTENT_POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert ("no-store" in headers["cache-control"]) == (not path.startswith("/static"))


def test_what_there_is_not_is_a_page_and_below_the_api_a_document(site: Site) -> None:
    client = operator(site)
    page = client.get("/nothing")
    assert (page.status_code, "<h1>Not here</h1>" in page.text) == (404, True)
    assert client.get("/api/v1/nothing").json()["error"]["code"] == "not-found"
    assert client.post("/now").status_code == 405
    assert client.post("/api/v1/now").json()["error"]["code"] == "method-not-allowed"
    assert client.get("/static/../app.py").status_code == 404


def test_another_name_for_this_host_is_not_taken(site: Site) -> None:
    client = operator(site)
    for host in ("evil.example", "localhost.evil.example", "", "[::2]", "localhost@evil.example:80"):
        assert client.get("/now", headers={"host": host}).status_code == 403, host
    for host in ("localhost:8080", "127.0.0.1:1", "[::1]:9"):
        assert client.get("/now", headers={"host": host}).status_code == 200, host


def test_the_page_of_another_site_changes_nothing(site: Site) -> None:
    client = logged_in(site, "anna", "operator")
    token = form_token(client.get("/now").text)
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://localhost:444"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        answer = client.post("/log-out", data={"form_token": token}, headers=headers)
        assert answer.status_code == 403, headers
    assert client.get("/now").status_code == 200
    same = {"origin": "https://localhost", "sec-fetch-site": "same-origin"}
    assert client.post("/log-out", data={"form_token": token}, headers=same).status_code == 303
    assert client.get("/now").status_code == 303


def test_a_session_begins_with_a_password_and_ends_with_the_log_out(site: Site) -> None:
    client = logged_in(site, "anna", "viewer")
    cookie = client.cookies["__Host-mailhaul"]
    page = client.get("/now")
    assert "anna" in page.text
    client.post("/log-out", data={"form_token": form_token(page.text)})
    # A copy of the cookie is worth nothing any more, also for the next process.
    for again in (site, make_site(site.staging)):
        copy = visitor(again)
        copy.cookies.set("__Host-mailhaul", cookie)
        assert copy.get("/now").status_code == 303


def test_cookies_are_for_this_site_alone(site: Site) -> None:
    site.accounts.add("anna", "viewer", (), PASSWORD)
    answer = log_in(visitor(site), "anna", PASSWORD, to="//evil.example/")
    assert answer.headers["location"] == "/"
    kept = answer.headers["set-cookie"].lower()
    assert kept.startswith("__host-mailhaul=")
    for word in ("secure", "httponly", "samesite=strict", "path=/"):
        assert word in kept


@pytest.mark.parametrize("change", ["password", "role", "remove"])
def test_a_change_of_the_account_ends_its_sessions(site: Site, change: str) -> None:
    client = logged_in(site, "anna", "operator")
    assert client.get("/now").status_code == 200
    if change == "password":
        site.accounts.set_password("anna", "another long password")
    elif change == "role":
        site.accounts.set_role("anna", "viewer", ())
    else:
        site.accounts.remove("anna")
    assert client.get("/now").status_code == 303


def test_numbers_of_thousands_of_digits_are_none(site: Site) -> None:
    digits = "9" * 5000
    assert visitor(site).get(f"/operations/{digits}").status_code == 404
    for path in ("/operations", "/audit"):
        assert operator(site).get(f"{path}?before={digits}").status_code == 400


def test_sessions_end_by_themselves(tmp_path: Path) -> None:
    clock = SettableClock()
    site = make_site(tmp_path, clock=clock)
    client = logged_in(site, "anna", "viewer")
    for _ in range(40):  # 11 hours and 40 minutes of use
        clock.seconds += 1050
        assert client.get("/now").status_code == 200
    clock.seconds += 1300
    assert client.get("/now").status_code == 303  # after twelve hours
    client = logged_in(site, "anna", "viewer")
    for _ in range(3):  # what the page asks for by itself does not count as use
        clock.seconds += 590
        assert client.get("/now", headers={"hx-request": "true"}).status_code == 200
        # Of events, too, there are new streams as long as the page is open.
        assert "set-cookie" not in client.get("/now", headers={"accept": "text/event-stream"}).headers
    clock.seconds += 60
    assert client.get("/now").status_code == 303


def test_a_forged_cookie_is_none(site: Site) -> None:
    client = logged_in(site, "anna", "viewer")
    payload, _, signature = client.cookies["__Host-mailhaul"].partition(".")
    other = make_site(site.staging / "elsewhere").sessions
    for forged in (
        "",
        ".",
        payload,
        f"{payload}.{signature[:-2]}",
        f"{payload[:-2]}AA.{signature}",
        other.cookie(other.begin("anna", site.accounts.all()[0].mark)),
        "ä.ö",
    ):
        stranger = visitor(site)
        answer = stranger.get("/now", headers={b"cookie": f"__Host-mailhaul={forged}".encode()})
        assert answer.status_code == 303, forged


def test_wrong_passwords_cost_growing_pauses(tmp_path: Path) -> None:
    clock = SettableClock()
    site = make_site(tmp_path, clock=clock)
    site.accounts.add("anna", "viewer", (), PASSWORD)
    client = visitor(site, "198.51.100.1")
    statuses = [log_in(client, name, "wrong").status_code for name in ("anna", "nobody", "anna", "anna")]
    assert statuses == [403, 403, 403, 429]
    assert log_in(client, "anna", PASSWORD).status_code == 429
    assert log_in(visitor(site, "203.0.113.9"), "anna", PASSWORD).status_code == 303
    clock.seconds += 2
    assert log_in(client, "anna", "wrong").status_code == 403
    clock.seconds += 1.5
    assert log_in(client, "anna", PASSWORD).status_code == 429  # two seconds now
    clock.seconds += 1
    assert log_in(client, "anna", PASSWORD).status_code == 303
    assert [act["what"] for act in site.audit.acts() if act["outcome"] == "refused"] == ["log in"] * 7


def test_strangers_do_not_keep_somebody_out_of_a_browser_that_is_known(tmp_path: Path) -> None:
    clock = SettableClock()
    site = make_site(tmp_path, clock=clock)
    hers = logged_in(site, "anna", "viewer")
    kept = hers.cookies["__Host-mailhaul-device"]
    for number in range(40):
        assert log_in(visitor(site, f"2001:db8::{number}"), "anna", "wrong").status_code == 403
        clock.seconds += 901  # as slowly as it takes
    hers.cookies.delete("__Host-mailhaul")
    assert log_in(visitor(site, "203.0.113.9"), "anna", PASSWORD).status_code == 303
    for number in range(40, 80):
        log_in(visitor(site, f"2001:db8::{number}"), "anna", "wrong")
    assert log_in(visitor(site, "203.0.113.9"), "anna", PASSWORD).status_code == 429
    assert log_in(hers, "anna", PASSWORD).status_code == 303
    # It lets nobody in, has a pause of its own, and is worth nothing for another name or password.
    thief = visitor(site, "198.51.100.1")
    thief.cookies.set("__Host-mailhaul-device", kept)
    assert thief.get("/now").status_code == 303
    assert [log_in(thief, "anna", "wrong").status_code for _ in range(4)] == [403, 403, 403, 429]
    hers.cookies.delete("__Host-mailhaul")
    assert log_in(hers, "anna", PASSWORD).status_code == 303
    site.accounts.set_password("anna", "another long password")
    again = visitor(site, "198.51.100.2")
    again.cookies.set("__Host-mailhaul-device", hers.cookies["__Host-mailhaul-device"])
    assert log_in(again, "anna", PASSWORD).status_code == 429


def test_a_proxy_is_believed_where_it_is_known(tmp_path: Path) -> None:
    ways = Ways(proxy=ProxyConfig(header="X-Remote-User", peers=("192.0.2.1",)))
    site = make_site(tmp_path, ways=ways)
    site.accounts.add("anna", "viewer", (), None)
    named = {"x-remote-user": "anna"}
    assert visitor(site, "192.0.2.1").get("/now", headers=named).status_code == 200
    assert visitor(site, "192.0.2.2").get("/now", headers=named).status_code == 303
    proxy = visitor(site, "192.0.2.1")
    for names in ([], [("x-remote-user", "")], [("x-remote-user", "bob")], [("x-remote-user", "anna")] * 2):
        assert proxy.get("/now", headers=names).status_code == 403
    # Nobody has its password: there is none.
    assert log_in(visitor(site), "anna", "").status_code == 403


def test_nobody_logs_in_where_passwords_would_be_read_on_the_way(tmp_path: Path) -> None:
    ways = Ways(proxy=ProxyConfig(header="X-Remote-User", peers=("192.0.2.1",)), loopback_port=8080)
    site = make_site(tmp_path, ways=ways)
    site.accounts.add("anna", "viewer", (), PASSWORD)
    for base, status in (
        ("http://localhost", 403),
        ("http://localhost:8080", 200),
        ("https://localhost", 200),
    ):
        client = TestClient(make_app(site), base_url=base, client=("192.0.2.2", 4), follow_redirects=False)
        assert client.get("/log-in").status_code == status, base


def test_many_refusals_of_strangers_are_counted_and_those_of_others_written_down(tmp_path: Path) -> None:
    clock = SettableClock()
    site = make_site(tmp_path, clock=clock)
    stranger, viewer = visitor(site), logged_in(site, "anna", "viewer")
    for _ in range(70):
        stranger.get("/api/v1/me", headers={"authorization": "Bearer wrong"})
        viewer.get("/operations/new")
    refused = [act["who"] for act in site.audit.acts() if act["outcome"] == "refused"]
    assert (refused.count(""), refused.count("anna")) == (60, 70)
    clock.seconds += 61
    stranger.get("/api/v1/me", headers={"authorization": "Bearer wrong"})
    assert list(site.audit.acts())[-1]["facts"]["left_out_before"] == 10


def test_at_the_socket_only_its_owner_is_known(site: Site) -> None:
    stranger = TestClient(make_app(site), base_url="http://localhost", client=("uid:54321", 0))
    assert stranger.get("/now").status_code == 403
    assert "unix:54321" in [act["where"] for act in site.audit.acts()]


def test_a_token_is_for_the_api_and_needs_no_form(site: Site) -> None:
    site.accounts.add("robot", "viewer", (), None)
    token = site.accounts.make_token("robot")
    client = visitor(site)
    good = {"authorization": f"Bearer {token}"}
    assert client.get("/api/v1/me", headers=good).json()["name"] == "robot"
    assert client.get("/api/v1/me", headers={"authorization": f"Bearer {token}x"}).status_code == 403
    assert token not in (site.staging / ".mailhaul" / "accounts.json").read_text()
    newer = site.accounts.make_token("robot")
    assert client.get("/api/v1/me", headers=good).status_code == 403
    assert client.get("/api/v1/me", headers={"authorization": f"bearer {newer}"}).status_code == 200


def test_an_accident_tells_the_page_a_number_and_nothing_else(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mailhaul.proto.structs import replace

    told: list[tuple[str, str]] = []
    site = replace(site, on_error=lambda error, number: told.append((str(error), number)))
    client = operator(site)

    def fail(*_: object) -> None:
        raise RuntimeError("secret of the staging area")

    monkeypatch.setattr(type(site.operations), "newest", fail)
    page, document = client.get("/now"), client.get("/api/v1/now")
    assert [page.status_code, document.status_code] == [500, 500]
    assert [message for message, _ in told] == ["secret of the staging area"] * 2
    assert told[0][1] in page.text
    assert told[1][1] == document.json()["error"]["facts"]["number"]
    for answer in (page, document):
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text


def test_pages_have_no_script_or_style_within(site: Site) -> None:
    client = operator(site)
    for route in routes():
        if (
            isinstance(route, Page)
            and route.method == "GET"
            and "{" not in route.path
            and "/events" not in route.path
        ):
            text = client.get(route.path).text
            assert "<style" not in text
            assert " style=" not in text
            assert "<script>" not in text
            assert " onclick" not in text


def test_the_audit_log_is_a_page_for_operators(site: Site) -> None:
    logged_in(site, "anna", "viewer").get("/audit")
    client = logged_in(site, "olga", "operator")
    text = client.get("/audit?who=anna").text
    assert text.count(">refused<") == 1
    assert "GET /audit" in text
    acts = client.get("/api/v1/audit?count=2").json()["acts"]
    assert (acts[0]["who"], acts[0]["role"], acts[0]["what"]) == ("olga", "operator", "log in")
    assert client.get("/audit?before=x").status_code == 400
    assert client.get("/api/v1/audit?count=0").status_code == 400
    assert ("cut off" in text, client.get("/api/v1/audit").json()["is_cut"]) == (False, False)
    lines = site.audit.path.read_bytes().splitlines(keepends=True)
    site.audit.path.write_bytes(b"".join(lines[:-1]))
    assert "The end of the audit log was cut off" in client.get("/audit").text
    logged_in(site, "otto", "operator")  # which is on record behind what is lacking
    assert "The end of the audit log was cut off" in client.get("/audit").text
    assert client.get("/api/v1/audit").json()["is_cut"]
    assert "that you look for" in client.get("/audit?on=/nowhere").text
