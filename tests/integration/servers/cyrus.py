"""A private Cyrus IMAP: own directory, own loopback port, a child process that is ended by its pid.

The users have the password ``secret``; the administrator ``cyrus`` may act for each of them.
"""

from __future__ import annotations

import imaplib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from .imap import PASSWORD, Imap, SeenAccount

ADMIN = "cyrus"

_START_SECONDS = 20
_STOP_SECONDS = 3

_IMAPD = """\
configdirectory: {place}/conf
defaultpartition: default
partition-default: {place}/spool
admins: cyrus
servername: localhost
altnamespace: yes
unixhierarchysep: yes
virtdomains: off
username_tolower: no
hashimapspool: yes
duplicatesuppression: no
allowplaintext: yes
sasl_mech_list: PLAIN LOGIN
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {place}/sasldb2
idlesocket: {place}/socket/idle
notifysocket: {place}/socket/notify
proc_path: {place}/run/proc
mboxname_lockpath: {place}/run/lock
autocreate_quota: -1
conversations: no
"""

_MASTER = """\
START {{
  recover cmd="/usr/sbin/cyrus ctl_cyrusdb -C {place}/imapd.conf -r"
}}
SERVICES {{
  imap cmd="{imapd} -C {place}/imapd.conf -U 30" listen="127.0.0.1:{port}" prefork=0 maxchild=20
}}
EVENTS {{
}}
"""


class Cyrus:
    """A server below ``place``, a directory with a short name that its user may enter; ``imapd`` is the
    program that serves."""

    def __init__(self, imapd: Path, place: Path, users: Sequence[str]) -> None:
        self.place = place
        self.port = _free_port()
        self._users = users
        self._process: subprocess.Popen[bytes] | None = None
        facts = {"place": place, "imapd": imapd, "port": self.port}
        (place / "imapd.conf").write_text(_IMAPD.format_map(facts))
        (place / "cyrus.conf").write_text(_MASTER.format_map(facts))
        owner = pwd.getpwnam(ADMIN)
        for name in (
            "conf/db",
            "conf/proc",
            "conf/log",
            "conf/msg",
            "spool",
            "socket",
            "run/proc",
            "run/lock",
        ):
            (place / name).mkdir(parents=True)
        for user in (ADMIN, *users):
            words = ["saslpasswd2", "-p", "-c", "-f", str(place / "sasldb2"), "-u", "localhost", user]
            subprocess.run(words, input=PASSWORD.encode(), timeout=30, check=True)
        for path in place.rglob("*"):
            os.chown(path, owner.pw_uid, owner.pw_gid)

    def start(self) -> None:
        """Returns when the server answers and the users have mailboxes."""
        conf, master = str(self.place / "imapd.conf"), str(self.place / "cyrus.conf")
        command = ["/usr/sbin/cyrmaster", "-C", conf, "-M", master, "-p", str(self.place / "pid"), "-D"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError("Cyrus did not start")
            time.sleep(0.05)
        with imaplib.IMAP4("127.0.0.1", self.port, timeout=_START_SECONDS) as admin:
            admin.login(ADMIN, PASSWORD)
            for user in self._users:
                kind, answer = admin.create(f'"user/{user}"')
                assert kind == "OK", answer

    def stop(self) -> None:
        """Ends the server and what it started. Repeatable."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def login(self, user: str) -> Imap:
        return Imap(self.port, user)

    def view(self, user: str) -> SeenAccount:
        """All that a client can see of an account."""
        with self.login(user) as client:
            return client.view()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(2)
            if probe.connect_ex(("127.0.0.1", self.port)):
                return False
            try:
                return probe.recv(1) == b"*"
            except OSError:
                return False


def missing(root: Path) -> str:
    """Why there is no Cyrus below ``root``, the checkout; nothing if there is one."""
    if os.geteuid() != 0:
        return "a private Cyrus is started by root"
    if not program(root).is_file():
        return excuse(root) or "no Cyrus: make servers makes it"
    if not (shutil.which("saslpasswd2", path="/usr/sbin:/usr/bin") and Path("/usr/sbin/cyrmaster").is_file()):
        return "cyrus-common and sasl2-bin are not installed (make servers installs them)"
    return ""


def excuse(root: Path) -> str:
    """Why it can't be had here, if that is on record."""
    told = root / "build" / "cyrus.missing"
    return told.read_text().strip() if told.is_file() else ""


def program(root: Path) -> Path:
    return root / "build" / "cyrus" / "usr" / "lib" / "cyrus" / "bin" / "imapd"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
