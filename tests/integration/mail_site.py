"""A site as runbooks know it: two mail hosts with a Dovecot each, an MX in front of them, a staging host that
backs them up over a Ray cluster and sweeps to a tape and to object storage. Runbooks can be carried out.

``store01`` has the partitions ``primary`` (example.org) and ``second`` (example.net) on a disk each,
``store02`` the partition ``third``. Alice and Bob have what accounts can have, Jane the folder ``Projects``,
the others generated mail.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from mailhaul.proto.structs import replace

from .accounts import fill
from .installation import STAGING, Installation, Share
from .network import Host, Network, open_network
from .ray_cluster import RayCluster, open_cluster
from .runbooks import Step
from .servers.dovecot import OWNER, Dovecot, Ports
from .servers.imap import SeenAccount
from .servers.mbsync import Mbsync
from .servers.object_storage import S3Server, end, started, wait_for
from .servers.programs import Programs

ALICE, JANE, BOB = "alice@example.org", "jane@example.org", "bob@example.com"
PARTITIONS = {"example.org": "primary", "example.net": "second", "example.com": "third"}
HOSTS = {"example.org": "store01", "example.net": "store01", "example.com": "store02"}
RUN = "20261117T031500Z-4f3a"
"""What a run is called in the runbooks."""

# Each host has all ports to itself, so these are the ones that the runbooks close.
_PORTS = Ports(imap=143, lmtp=24, pop3=110)
_S3_PORT = 9000
_MAILHAUL = Path(sys.executable).with_name("mailhaul")
_STEP_SECONDS = 180

_DESTINATIONS = """
[[destination]]
name = "drive"
kind = "tape"
file = {tapes}
record = "256 KiB"

[[destination]]
name = "vault"
kind = "s3"
endpoint = "http://127.0.0.1:{port}"
bucket = {bucket}
credentials = {credentials}

[sweep]
copies = ["drive", "vault"]
look_again = "0s"
keep_staged = "0s"
keep_newest = false
"""


@dataclass
class Mx:
    """The mail server in front: it delivers at once, or keeps mail waiting while it is told to. Stands in for
    a Postfix, with the commands of that which the runbooks call."""

    deliver: Callable[[str, bytes], None]
    configured: bool = False
    deferring: bool = False
    waiting: list[tuple[str, bytes]] = field(default_factory=list)

    def receive(self, user: str, mail: bytes) -> None:
        self.waiting.append((user, mail))
        if not self.deferring:
            self._flush()

    def call(self, *words: str) -> None:
        """As a shell would. An unknown command is a KeyError."""
        {
            ("postconf", "-e", "defer_transports=lmtp"): lambda: setattr(self, "configured", True),
            ("postconf", "-X", "defer_transports"): lambda: setattr(self, "configured", False),
            ("postfix", "reload"): lambda: setattr(self, "deferring", self.configured),
            ("postqueue", "-f"): self._flush,
        }[words]()

    def _flush(self) -> None:
        waiting, self.waiting = self.waiting, []
        for user, mail in waiting:
            self.deliver(user, mail)


class MailSite:
    """``accounts`` are all users; ``stored`` says how each account looked when it was backed up and swept.

    With the configuration ``near`` commands reach the disks themselves, without workers on the hosts: that is
    quicker, where nothing depends on these.
    """

    config: Path
    near: Path
    accounts: tuple[str, ...]
    run: str
    stored: dict[str, SeenAccount]

    def __init__(self, network: Network, cluster: RayCluster, programs: Programs, place: Path) -> None:
        self.network = network
        self.cluster = cluster
        self.here = Installation(network, cluster, place)
        self.mx = Mx(lambda user, mail: self.server(user).deliver([mail], user))
        self._programs = programs
        self._place = place
        self.servers: dict[str, Dovecot] = {}
        self.mbsyncs: dict[str, Mbsync] = {}
        self._storage: subprocess.Popen[bytes] | None = None

    def begin(self, mails: Sequence[bytes], maker: Path) -> None:
        """Start the servers, fill the accounts, make the destinations ready."""
        for name in sorted(set(HOSTS.values())):
            # Not below the site's place: sockets have short names.
            place = Path(mkdtemp(prefix="mh-"))
            place.chmod(0o755)
            self.install(name, place)
            self.servers[name].start()
        self._fill(mails, maker)
        self._configure()
        self.accounts = self._accounts()
        for name in ("drive", "vault"):
            self.here.run(self.config, "destination check", name)
        self.here.start_receiver(self.config)

    def close(self) -> None:
        """Stop all that was started. Repeatable."""
        self.here.kill_receiver()
        for server in self.servers.values():
            server.stop()
            shutil.rmtree(server.place)
        self.servers.clear()
        if self._storage is not None:
            end(self._storage)

    def install(self, name: str, place: Path) -> None:
        """A Dovecot on a host, not started, with empty disks."""
        host = self.network[name]
        more = f"listen = 127.0.0.1, {host.address}\n"
        server = Dovecot(self._programs, place, "maildir++", _PORTS, inside=host.inside, more=more)
        for domain, whose in HOSTS.items():
            if whose == name:
                self.new_disk(server, domain)
                (server.place / "home" / domain).symlink_to(self.disk(server, domain) / domain)
        self.servers[name] = server

    @staticmethod
    def disk(server: Dovecot, domain: str) -> Path:
        """Where the disk of a partition is mounted."""
        return server.place / f"disk-{PARTITIONS[domain]}"

    def new_disk(self, server: Dovecot, domain: str) -> None:
        """An empty one, at the place of what was there."""
        disk = self.disk(server, domain)
        shutil.rmtree(disk, ignore_errors=True)
        disk.mkdir()
        shutil.chown(disk, OWNER, OWNER)

    def server(self, user: str) -> Dovecot:
        return self.servers[HOSTS[_domain(user)]]

    def users(self, *domains: str) -> list[str]:
        return [user for user in self.accounts if _domain(user) in domains]

    def view(self, user: str) -> SeenAccount:
        return self.server(user).view(user)

    def night(self) -> None:
        """Back everything up, and sweep it to both destinations."""
        self.run = self.here.run(self.config, "backup")["run"]
        self.stored = {user: self.view(user) for user in self.accounts}
        swept = self.here.run(self.config, "sweep")
        assert [destination["stopped"] for destination in swept["destinations"]] == [None, None]
        assert not list(self.here.staging.glob("*/*/*.mha")), "all has left"

    def carry_out(
        self,
        steps: Sequence[Step],
        *hosts: str,
        before_restore: Callable[[], None] = lambda: None,
        near: bool = False,
    ) -> list[str]:
        """Do what a runbook says, on these mail hosts where it says so; what each ``mailhaul`` printed.
        ``before_restore`` happens before the first command that writes mail."""
        told, began = [], False
        for step in steps:
            words = tuple(step.line.partition("#")[0].split())
            if not began and words[:2] == ("mailhaul", "restore") and "--dry-run" not in words:
                before_restore()
                began = True
            if words[0] == "mailhaul":
                told.append(self._called(self.network[STAGING], step, near=near))
            elif words[0] in ("postconf", "postfix", "postqueue"):
                self.mx.call(*words)
            elif words[0] == "systemctl":
                self._service(hosts, words[1], words[2])
            else:
                for host in hosts:
                    self._called(self.network[host], step)
        return told

    def _service(self, hosts: Sequence[str], verb: str, unit: str) -> None:
        """What systemd would do. Anything but these is a KeyError."""
        if unit == "dovecot":
            for host in hosts:
                {"start": self.servers[host].start, "stop": self.servers[host].stop}[verb]()
        elif unit == "mailhaul-ray-node":
            for host in hosts:
                {"start": self.cluster.start_node}[verb](host)
            self.cluster.await_hosts(*self.network.hosts)
        else:
            {("start", "mailhaul-receive"): self.here.start_receiver}[verb, unit](self.config)

    def _called(self, host: Host, step: Step, *, near: bool = False) -> str:
        """One line, as the shell of a host takes it. Paths and the run are what they are here."""
        line = step.line.replace(RUN, self.run)
        if host.name in self.servers:
            line = line.replace("/srv/mail", str(self.disk(self.servers[host.name], "example.org")))
        config = self.near if near else self.config
        env = {"PATH": self._path(host), "MAILHAUL_CONFIG": str(config)}
        done = host.run("sh", "-c", line, env=env, timeout_seconds=_STEP_SECONDS)
        assert done.returncode == step.status, (line, done.returncode, done.stdout, done.stderr)
        return str(done.stdout)

    def _path(self, host: Host) -> str:
        """With the commands of this host first, which know its configuration."""
        programs = self._place / f"bin-{host.name}"
        if not programs.exists():
            programs.mkdir()
            known: dict[str, Sequence[str | Path]] = {
                "mailhaul": (_MAILHAUL, "--config", '"$MAILHAUL_CONFIG"')
            }
            if host.name in self.servers:
                known["doveadm"] = self.servers[host.name].doveadm
            for name, words in known.items():
                program = programs / name
                program.write_text(f'#!/bin/sh\nexec {" ".join(map(str, words))} "$@"\n')
                program.chmod(0o755)
        return f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"

    def _fill(self, mails: Sequence[bytes], maker: Path) -> None:
        generated = self._place / "generated"
        command = (sys.executable, maker, generated, "--messages", "200", "--users", "4", "--seed", "5")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
        store = self.servers["store01"]
        for domain in ("example.org", "example.net"):
            shutil.move(generated / domain, self.disk(store, domain) / domain)
            subprocess.run(
                ["chown", "-R", f"{OWNER}:{OWNER}", self.disk(store, domain)], check=True, timeout=60
            )
        far = self.disk(self.servers["store02"], "example.com") / "example.com"
        far.mkdir()
        shutil.chown(far, OWNER, OWNER)
        fill(store, ALICE, mails)
        fill(self.servers["store02"], BOB, mails[::-1])
        with store.login(JANE) as client:
            client.make_folder("Projects")
            for number in range(1, 10):
                subject = "Offer for Monday" if number == 7 else f"Number {number}"
                head = (
                    f"From: joe@example.com\r\nSubject: {subject}\r\nMessage-ID: <{number}@example.com>\r\n"
                )
                mail = f"{head}\r\n{number}\r\n".encode()
                client.save("Projects", mail, ("\\Seen", "$Forwarded") if number == 7 else ())

    def _accounts(self) -> tuple[str, ...]:
        return tuple(
            f"{home.name}@{domain}"
            for domain, host in HOSTS.items()
            for home in sorted((self.disk(self.servers[host], domain) / domain).iterdir())
        )

    def _configure(self) -> None:
        shares = [
            Share(
                name=PARTITIONS[domain],
                path=f"{self.disk(self.servers[host], domain)}/{{domain}}/{{user}}/Maildir",
                hosts=(host,),
                doveadm=self.servers[host].doveadm,
            )
            for domain, host in HOSTS.items()
        ]
        key = self._place / "vault.env"
        key.touch(mode=0o600)
        server = self._object_storage()
        key.write_text(f"AWS_ACCESS_KEY_ID={server.key}\nAWS_SECRET_ACCESS_KEY={server.secret}\n")
        with self.here.host.inside():
            bucket = server.new_bucket()
        destinations = _DESTINATIONS.format(
            tapes=json.dumps(str(self._place / "tapes")),
            port=server.port,
            bucket=json.dumps(bucket),
            credentials=json.dumps(str(key)),
        )
        self.config = self.here.configure(shares)
        self.near = self.here.configure_local([replace(share, hosts=()) for share in shares], "staging")
        for config in (self.config, self.near):
            config.write_text(config.read_text() + destinations)

    def _object_storage(self) -> S3Server:
        """On the staging host, whose loopback is its own."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(_S3_PORT)]
        with self.here.host.inside():
            self._storage = started(command)
            wait_for(_S3_PORT, self._storage)
        return S3Server(name="vault", port=_S3_PORT, key="key", secret="secret", locks=True)


@contextmanager
def open_site(
    require_tool: Callable[[str], Path], programs: Programs, place: Path, mails: Sequence[bytes], maker: Path
) -> Iterator[MailSite]:
    """A site with these mails and what ``maker`` makes, not backed up yet."""
    with ExitStack() as stack:
        network = stack.enter_context(open_network(require_tool, STAGING, *sorted(set(HOSTS.values()))))
        cluster = stack.enter_context(open_cluster(network, *network.hosts))
        site = MailSite(network, cluster, programs, place)
        stack.callback(site.close)
        site.begin(mails, maker)
        yield site


def _domain(user: str) -> str:
    return user.rpartition("@")[2]
