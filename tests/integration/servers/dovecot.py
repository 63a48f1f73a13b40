"""A private Dovecot: own directory, own loopback ports, a child process that is ended by its pid.

Any user name with the password ``secret`` has an account; the home of ``alice@example.org`` is
``<place>/home/example.org/alice``, its mail in ``Maildir`` there.
"""

from __future__ import annotations

import os
import poplib
import pwd
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from pathlib import Path
from typing import NamedTuple

from .certificates import Certificate
from .imap import PASSWORD, Imap, SeenAccount
from .programs import Programs
from .settings import APART, INBOXES, RARE_LAYOUTS, settings

OWNER = "vmail"
"""The system user that all mail belongs to."""

_COMPLAINT = re.compile(r"Warning:|Error:|Fatal:|Panic:")
_KILLED = re.compile(r"master: Warning: Killed with signal 15")
_START_SECONDS = 10
# Told to end, everything closes at once, but the master waits a second more for nothing.
_STOP_SECONDS = 0.2


class Ports(NamedTuple):
    """The loopback ports of a server."""

    imap: int
    lmtp: int
    pop3: int
    imaps: int = 0


def free_ports() -> Ports:
    """Ports that nobody listens on right now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in Ports._fields]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return Ports(*(probe.getsockname()[1] for probe in probes))


Inside = Callable[[], AbstractContextManager[None]]
"""Where a server runs, and where its clients connect: a block of its own for each."""


class Dovecot:
    """A server below ``place``, a directory with a short name that its users may enter.

    ``doveadm`` is the command that reaches it, as a configuration of mailhaul has it. ``inside`` puts it on
    the loopback of another host than this. With a ``certificate`` it offers TLS, and on ``settings.FAR`` it
    wants that. ``more`` are further lines of its configuration.
    """

    def __init__(
        self,
        programs: Programs,
        place: Path,
        layout: str,
        ports: Ports,
        *,
        inside: Inside = nullcontext,
        certificate: Certificate | None = None,
        more: str = "",
    ) -> None:
        self._inside = inside
        self.place = place
        self.ports = ports
        self._settings = place / "dovecot.conf"
        self.doveadm = (*programs.doveadm, "-c", str(self._settings))
        self._command = (*programs.dovecot, "-F", "-c", str(self._settings))
        self._process: subprocess.Popen[bytes] | None = None
        self._forgiven: list[re.Pattern[str]] = []
        for directory in ("home", "volatile", "control", "index"):
            (place / directory).mkdir()
            shutil.chown(place / directory, OWNER, OWNER)
        self.layout = layout
        # By number: a root of another system has users of its own.
        owner = pwd.getpwnam(OWNER)
        facts = {"place": place, "name": place.name, "uid": owner.pw_uid, "gid": owner.pw_gid}
        facts |= {"password": PASSWORD, **ports._asdict()}
        self._tls = certificate is not None
        if not self._tls:
            facts["imaps"] = 0
        self._settings.write_text(settings(programs.version, layout, facts, certificate) + more)

    @property
    def template(self) -> str:
        """Where the Maildirs lie, as a configuration of mailhaul has it."""
        return f"{self.place}/home/{{domain}}/{{user}}/Maildir"

    @property
    def apart(self) -> dict[str, str]:
        """What lies elsewhere, as a configuration of mailhaul has it."""
        home = f"{self.place}/home/{{domain}}/{{user}}"
        found = APART.get(self.layout, {})
        return {key: path.format(home=home, place=self.place) for key, path in found.items()}

    def home(self, user: str) -> Path:
        name, _, domain = user.partition("@")
        return self.place / "home" / domain / name

    def maildir(self, user: str) -> Path:
        return self.home(user) / "Maildir"

    def start(self) -> None:
        """Returns when the server answers; raises RuntimeError with its log if it ends instead."""
        with self._inside():
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, start_new_session=True)
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError("Dovecot did not start:\n" + "\n".join(self._log()))
            time.sleep(0.02)

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

    def restart(self, more: str) -> None:
        """Start anew with more settings."""
        self.stop()
        with self._settings.open("a") as settings_file:
            settings_file.write(more)
        self.start()

    def complaints(self) -> list[str]:
        """What the server has logged as a warning or worse: a store that it did not find as it should be."""
        told = [line for line in self._log() if _COMPLAINT.search(line) and not _KILLED.search(line)]
        return [line for line in told if not any(one.search(line) for one in self._forgiven)]

    def forgive(self, complaint: re.Pattern[str]) -> None:
        """What the server says so is no complaint: a test does to it what it can't like."""
        self._forgiven.append(complaint)

    def login(self, user: str) -> Imap:
        with self._inside():
            return Imap(self.ports.imap, user)

    def view(self, user: str) -> SeenAccount:
        """All that a client can see of an account."""
        with self.login(user) as client:
            return client.view()

    def pop3_names(self, user: str) -> list[str]:
        """The unique ids (UIDL) of the INBOX, in its order."""
        with self._inside(), closing(poplib.POP3("127.0.0.1", self.ports.pop3, timeout=60)) as client:
            client.user(user)
            client.pass_(PASSWORD)
            return [line.split()[1].decode() for line in client.uidl()[1]]

    def deliver(self, messages: Sequence[bytes], *users: str) -> None:
        """Over LMTP, as a mail server in front of Dovecot does."""
        with self._inside():
            lmtp = smtplib.LMTP("127.0.0.1", self.ports.lmtp, timeout=60)
        with lmtp:
            for message in messages:
                refused = lmtp.sendmail("sender@example.org", users, message)
                # LMTP answers once for each user; smtplib reads the first answer only.
                answers = [lmtp.getreply() for _ in users[1:]]
                assert not refused
                assert all(code == 250 for code, _ in answers), answers

    def drop(self, user: str, names: Sequence[str], messages: Sequence[bytes]) -> None:
        """Put files into ``new/`` of the INBOX, as a delivery agent that knows nothing of Dovecot does."""
        maildir = self.maildir(user) / self._inbox(user)
        for name, message in zip(names, messages, strict=True):
            (maildir / "tmp" / name).write_bytes(message)
            shutil.chown(maildir / "tmp" / name, OWNER, OWNER)
            (maildir / "tmp" / name).rename(maildir / "new" / name)

    def _inbox(self, user: str) -> str:
        """Where the INBOX lies in a mailbox."""
        if "LAYOUT=index" not in RARE_LAYOUTS.get(self.layout, ""):
            return INBOXES.get(self.layout, "")
        command = [*self.doveadm, "mailbox", "status", "-u", user, "guid", "INBOX"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return told.stdout.split("guid=")[1].strip()

    def _answers(self) -> bool:
        with self._inside():
            ports = self.ports if self._tls else self.ports[:-1]
            return all(_answers(port) for port in ports)

    def _log(self) -> list[str]:
        log = self.place / "log"
        return log.read_text(errors="replace").splitlines() if log.exists() else []


def ensure_owner() -> str:
    """Make the user that owns all mail, if there is none; returns why that can't be, or nothing."""
    if os.geteuid() != 0:
        return f"a private Dovecot is started by root, with a user {OWNER}"
    words = ("--system", "--no-create-home", "--user-group", "--shell", "/usr/sbin/nologin", OWNER)
    until = time.monotonic() + _START_SECONDS
    while not _has_owner():
        done = subprocess.run(["useradd", *words], capture_output=True, text=True, timeout=30, check=False)
        # Fails while another process of these tests makes it.
        assert done.returncode == 0 or time.monotonic() < until, done.stderr
        time.sleep(0.1)
    return ""


def _has_owner() -> bool:
    try:
        return bool(pwd.getpwnam(OWNER))
    except KeyError:
        return False


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
