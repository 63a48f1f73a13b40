"""A private Bacula: director, storage daemon with volumes that are files, and file daemon on loopback ports.
Its catalog is SQLite. The director and the storage daemon run as the user of their packages, the file daemon
as root, for it reads and gives back what belongs to others.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

USER = "bacula"
_SCHEMA = Path("/usr/share/dbconfig-common/data/bacula-director-sqlite3/install/sqlite3")
_START_SECONDS = 120
_JOB_SECONDS = 300

_DIRECTOR = """\
Director { Name = dir; DirPort = %(dir)d; DirAddress = 127.0.0.1; QueryFile = "/etc/bacula/scripts/query.sql"
  WorkingDirectory = "%(place)s/work"; PidDirectory = "%(place)s/work"; Password = "%(password)s"
  Messages = Told; Maximum Concurrent Jobs = 1 }
Catalog { Name = Here; dbname = "bacula"; dbuser = ""; dbpassword = "" }
Client { Name = fd; Address = 127.0.0.1; FDPort = %(fd)d; Catalog = Here; Password = "%(password)s"
  AutoPrune = no }
Storage { Name = Files; Address = 127.0.0.1; SDPort = %(sd)d; Password = "%(password)s"; Device = Volumes
  Media Type = File }
Pool { Name = Default; Pool Type = Backup; Recycle = no; AutoPrune = no; Maximum Volume Bytes = 100M
  Label Format = "Vol-" }
Messages { Name = Told; console = all, !skipped; append = "%(place)s/log" = all, !skipped }
Job { Name = Restore; Type = Restore; Client = fd; FileSet = Staging; Storage = Files; Messages = Told
  Pool = Default; Where = "/" }
"""
_FILE_SET = """\
FileSet { Name = %(name)s; Include { Options { signature = SHA1 }
%(included)s
 } }
Job { Name = %(name)s; Type = Backup; Level = Incremental; Client = fd; FileSet = %(name)s; Storage = Files
  Messages = Told; Pool = Default; Accurate = yes }
"""
_STORAGE = """\
Storage { Name = sd; SDPort = %(sd)d; SDAddress = 127.0.0.1; WorkingDirectory = "%(place)s/work"
  Pid Directory = "%(place)s/work" }
Director { Name = dir; Password = "%(password)s" }
Device { Name = Volumes; Media Type = File; Archive Device = "%(place)s/volumes"; LabelMedia = yes
  Random Access = yes; AutomaticMount = yes; RemovableMedia = no; AlwaysOpen = no }
Messages { Name = Told; director = dir = all }
"""
_CLIENT = """\
Director { Name = dir; Password = "%(password)s" }
FileDaemon { Name = fd; FDport = %(fd)d; FDAddress = 127.0.0.1; WorkingDirectory = "%(place)s/work"
  Pid Directory = "%(place)s/work"; Plugin Directory = /usr/lib/bacula }
Messages { Name = Told; director = dir = all, !skipped, !restored }
"""
_CONSOLE = 'Director { Name = dir; DIRport = %(dir)d; address = 127.0.0.1; Password = "%(password)s" }\n'


class Bacula:
    """A server below ``place``. ``sets`` are what its jobs include, each under the name of its job: lines of
    a FileSet, ``File = ...`` or ``Plugin = ...``; there has to be one called Staging."""

    def __init__(self, find: Callable[[str], Path], place: Path, sets: Mapping[str, Sequence[str]]) -> None:
        self.place = place
        self._console = find("bconsole")
        self._programs = [find(name) for name in ("bacula-sd", "bacula-fd", "bacula-dir")]
        self._running: list[subprocess.Popen[bytes]] = []
        for name in ("work", "volumes"):
            (place / name).mkdir()
        database = [find("sqlite3"), place / "work" / "bacula.db"]
        schema = b"PRAGMA synchronous = OFF;\n" + _SCHEMA.read_bytes()
        subprocess.run(database, input=schema, check=True, timeout=_JOB_SECONDS, capture_output=True)
        facts: dict[str, object] = {"place": place, "password": os.urandom(8).hex(), **_ports()}
        jobs = "".join(
            _FILE_SET % {"name": name, "included": "\n".join(f"  {line}" for line in lines)}
            for name, lines in sets.items()
        )
        for name, text in (
            ("sd", _STORAGE),
            ("fd", _CLIENT),
            ("dir", _DIRECTOR + jobs),
            ("console", _CONSOLE),
        ):
            (place / f"{name}.conf").write_text(_filled(text, facts))
        for path in (place, *place.rglob("*")):
            shutil.chown(path, USER, USER)

    def start(self) -> None:
        for program in self._programs:
            kind = program.name.removeprefix("bacula-")
            owner = [] if kind == "fd" else ["-u", USER, "-g", USER]
            command = [str(program), "-f", *owner, "-c", str(self.place / f"{kind}.conf")]
            with (self.place / f"{kind}.out").open("wb") as said:
                started = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
                )
            self._running.append(started)
        until = time.monotonic() + _START_SECONDS
        while "Client: " not in self.console("status client=fd") and "fd Version" not in self._said:
            if time.monotonic() > until or any(one.poll() is not None for one in self._running):
                self.stop()
                out = "".join(path.read_text(errors="replace") for path in self.place.glob("*.out"))
                raise RuntimeError(f"Bacula did not start:\n{self._said}\n{out}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Ends what was started. Repeatable."""
        running, self._running = self._running, []
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def console(self, *commands: str) -> str:
        """What the console says to these commands."""
        done = subprocess.run(
            [self._console, "-c", self.place / "console.conf"],
            input="\n".join([*commands, "quit", ""]),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_JOB_SECONDS,
            check=False,
        )
        self._said = done.stdout + done.stderr
        return self._said

    def back_up(self, job: str, level: str = "Full") -> str:
        """Run a job; returns how it ended: ``Backup OK``, or what Bacula says else."""
        return self._ended(self.console(f"run job={job} level={level} yes", "wait", "messages"))

    def restore(self, job: str, *marks: str, where: str = "/") -> str:
        """Bring back the newest backup of a job, or what is marked of it; returns how that ended."""
        chosen = ["all", "done"] if not marks else ["", *marks, "done"]
        command = f"restore client=fd fileset={job} where={where} current select {chosen[0]}".rstrip()
        return self._ended(self.console(command, *chosen[1:], "yes", "wait", "messages"))

    @staticmethod
    def _ended(said: str) -> str:
        found = re.findall(r"Termination: +(.+)", said)
        assert found, said
        return str(found[-1]).strip()


def _filled(text: str, facts: dict[str, object]) -> str:
    return re.sub(r"%\((\w+)\)[sd]", lambda found: str(facts[found[1]]), text)


def _ports() -> dict[str, int]:
    """Ports that nobody listens on right now."""
    with ExitStack() as stack:
        probes = {name: stack.enter_context(socket.socket()) for name in ("dir", "fd", "sd")}
        for probe in probes.values():
            probe.bind(("127.0.0.1", 0))
        return {name: int(probe.getsockname()[1]) for name, probe in probes.items()}
