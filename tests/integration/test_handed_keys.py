"""Encrypted mail restored from the page's API by ``serve`` into a live Dovecot: with a key that is handed in,
of which nothing is left anywhere; and with one of the configuration."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mailhaul.coordinator.people.audit import AuditLog
from mailhaul.proto.keys.making import make_recipient
from mailhaul.proto.keys.recipients import write_recipient
from mailhaul.proto.keys.records import Kem
from mailhaul.proto.keys.secret_files import ScryptCost, read_secret

from .servers.dovecot import Dovecot
from .serving import Served, wait_until
from .test_operation_files import carried_out

USER = "jane@example.org"
JANE = f"/primary/user/{USER}"
PASSPHRASE = "a staple of nine batteries"
CONFIG = """\
[staging]
path = {staging}
keys = {keys}
reserve = "1 MiB"
same_device = true

[encryption]
recipients = [{public}]

[[partition]]
name = "primary"
format = "maildir"
path = {store}
doveadm = {doveadm}

[log]
file = {log}
"""


class Page:
    """The API of ``serve`` at its Unix socket, for who runs it."""

    def __init__(self, served: Served) -> None:
        socket = served.staging / ".mailhaul" / "serve.sock"
        wait_until(socket.exists)
        transport = httpx2.HTTPTransport(uds=str(socket), retries=5)
        self._client = httpx2.Client(transport=transport, base_url="http://localhost", timeout=60)
        self.close = self._client.close
        self._token = {"X-Form-Token": self.get("me")["form_token"]}

    def get(self, what: str, **asked: str) -> Any:
        answer = self._client.get(f"/api/v1/{what}", params=asked)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, what: str, status: int = 200, **asked: object) -> Any:
        answer = self._client.post(f"/api/v1/{what}", json=asked, headers=self._token)
        assert answer.status_code == status, answer.text
        return answer.json()

    def plan(self, run: str) -> Any:
        wish: dict[str, Any] = {
            "kind": "restore",
            "paths": [f"{JANE}/Projects"],
            "at": run,
            "reason": "ticket 12",
        }
        return self.post("mailboxes/plan", **wish)

    def restore(self, run: str, looking: Callable[[], object] = lambda: None) -> Any:
        """Restore the folder, and look at all processes until it is done."""
        number = self.post("mailboxes/restore", number=self.plan(run)["number"], reason="ticket 12")["id"]

        def ended() -> Any:
            looking()
            operation = self.get("mailboxes/operation", id=str(number))
            return operation if operation["state"] in ("done", "partial", "failed", "stopped") else None

        return wait_until(ended)


class Site:
    """A live Dovecot, an encrypted backup of it, and a private key on somebody's stick."""

    def __init__(self, place: Path, server: Dovecot) -> None:
        self.server = server
        self.served = Served(place)
        self.stick = place / "stick"
        self.stick.mkdir()
        made = make_recipient(self.stick, "ops", Kem.HYBRID, [PASSPHRASE], cost=ScryptCost(n=2, r=1))
        self.recipient = made.id.hex()
        self.key = self.stick / "ops.secret"
        self.private = read_secret(self.key).open(PASSPHRASE).private
        public = write_recipient(place, made)
        words = {
            "staging": self.served.staging, "keys": place / "keys", "public": public,
            "store": server.template, "doveadm": server.doveadm, "log": place / "serve.log",
        }  # fmt: skip
        quoted = {
            name: json.dumps(value if name == "doveadm" else str(value)) for name, value in words.items()
        }
        self.served.config.write_text(CONFIG.format(**quoted))

    def fill(self) -> None:
        """INBOX, and a folder with flags and keywords."""
        letters = [f"From: joe@example.net\r\nSubject: letter {n}\r\n\r\nText {n}\r\n" for n in range(4)]
        mail = [letter.encode() for letter in letters]
        self.server.deliver(mail[:1], USER)
        with self.server.login(USER) as client:
            client.make_folder("Projects")
            client.save("Projects", mail[1], ("\\Seen", "\\Flagged"))
            client.save("Projects", mail[2], ("$Forwarded", "urgent"))
            client.save("Projects", mail[3], ())

    def lose_folder(self) -> None:
        with self.server.login(USER) as client:
            client.delete_folder("Projects")

    def secrets(self) -> tuple[bytes, ...]:
        """All ways in which the key may stand somewhere."""
        halves = (self.private, self.private[:32], self.private[-32:])
        told = [way for half in halves for way in (half, half.hex().encode())]
        # Of base64 what does not depend on what stands before it.
        told += [base64.b64encode(self.private[at:])[:40] for at in range(3)]
        return (*told, PASSPHRASE.encode())

    def refuse_leaks(self) -> list[list[bytes]]:
        """No file below the place, but the stick, holds anything of the key; nor how a process was called.
        Returns the words of all processes."""
        called = []
        for file in self.served.place.rglob("*"):
            if file.is_file() and self.stick not in file.parents:
                self._refuse(file)
        for process in Path("/proc").glob("[0-9]*"):
            for what in ("cmdline", "environ"):
                with suppress(OSError):
                    called.append(self._refuse(process / what).split(b"\0"))
        return called

    def _refuse(self, file: Path) -> bytes:
        data = file.read_bytes()
        for secret in self.secrets():
            assert secret not in data, file
        return data

    @contextmanager
    def page(self) -> Iterator[Page]:
        with self.served.serving():
            with closing(Page(self.served)) as page:
                yield page


@pytest.fixture
def site(start_dovecot: Callable[..., Dovecot], tmp_path: Path) -> Site:
    return Site(tmp_path, start_dovecot("maildir++"))


def test_an_encrypted_folder_comes_back_with_a_key_that_is_handed_in_and_nowhere_left(site: Site) -> None:
    site.fill()
    before = site.server.view(USER)
    run = str(site.served.run("backup")["run"])
    site.lose_folder()
    key: dict[str, Any] = {"key": site.key.read_text(), "name": "ops.secret", "reason": "ticket 12"}
    with site.page() as page:
        plan = page.plan(run)
        assert (plan["number"], plan["is_locked"]) == ("", True)
        assert "for ops" in plan["problem"]
        page.post("key", status=400, **key, passphrase="another")
        told = page.post("key", **key, passphrase=PASSPHRASE)
        assert told["handed"] == [{"name": "ops", "id": site.recipient}]
        looks = []

        def look() -> None:
            carried_out = any(b"--key" in words for words in site.refuse_leaks())
            looks.append(carried_out)

        done = page.restore(run, look)
        assert (done["state"], done["error"]) == ("done", "")
        assert any(looks), "nobody saw the process that has the key"
        after = site.server.view(USER)
        assert after.folders["Projects"].messages == before.folders["Projects"].messages
        assert after.folders["Projects"].uidvalidity == before.folders["Projects"].uidvalidity
        page.post("key/forget")
        assert page.plan(run)["is_locked"]
        page.post("key", **key, passphrase=PASSPHRASE)
    with site.page() as page:
        assert page.get("key")["handed"] == [], "it does not outlive serve"
        assert page.plan(run)["is_locked"]
    site.refuse_leaks()
    acts = [(act["what"], act["outcome"]) for act in AuditLog(site.served.staging).acts()]
    assert ("hand in key", "refused") in acts
    assert ("forget key", "done") in acts
    handed = [act for act in AuditLog(site.served.staging).acts() if act["what"] == "hand in key"]
    assert handed[-1]["on"] == f"ops ({site.recipient[:8]})"
    assert handed[-1]["who"].startswith("local:")
    (restore,) = [
        act
        for act in AuditLog(site.served.staging).acts()
        if (act["what"], act["outcome"]) == ("restore", "begun")
    ]
    assert restore["facts"]["key"] == f"ops ({site.recipient[:8]})"


def test_operations_of_who_trusts_this_host_with_a_key_do_without_asking(site: Site) -> None:
    site.fill()
    before = site.server.view(USER)
    run = str(site.served.run("backup")["run"])
    site.lose_folder()
    (site.stick / "pass").write_text(PASSPHRASE + "\n")
    (site.stick / "pass").chmod(0o600)
    configured = f'[serve]\nidentities = ["{site.key}"]\npassphrase_files = ["{site.stick}/pass"]\n'
    site.served.config.write_text(site.served.config.read_text() + configured)
    with site.page() as page:
        assert page.get("key")["configured"] == [{"name": "ops", "id": site.recipient}]
        assert page.restore(run)["state"] == "done"
        after = site.server.view(USER)
        assert after.folders["Projects"].messages == before.folders["Projects"].messages
        for kind, arguments in (("verify", ["--data"]), ("drill", [])):
            site.served.add(kind, *arguments)
        words = ("operations", "add", "--json", "drill", "--identity", site.key)
        site.served.run(*words, status=1, json_last=False)  # its passphrase is nowhere
        wait_until(lambda: all(known["ended"] for known in _operations(page)))
        states = [(known["state"], known["error"]) for known in _operations(page)]
        assert states == [("done", "")] * 3
    report = site.served.run("proof")
    assert report["drills"][0]["proven"] == 1, report


def _operations(page: Page) -> list[Any]:
    return [listed["operation"] for listed in page.get("operations")["operations"]]


@pytest.mark.parametrize("names_its_own", [True, False])
def test_an_operation_that_names_its_own_key_takes_no_other(tmp_path: Path, names_its_own: bool) -> None:
    """Those of serve can't be opened."""
    served = Served(tmp_path, f'identities = ["{tmp_path}/nowhere.secret"]\n')
    served.run("keys", "recipient", "make", "ops", "--no-passphrase", "--dir", tmp_path)
    own = ("--identity", str(tmp_path / "ops.secret")) if names_its_own else ()
    number = served.add("verify", *own)
    found = carried_out(served.staging, served.config, number)
    assert found.state == ("done" if names_its_own else "failed"), found
