"""A private Amanda with a changer of virtual tapes. It runs as the user of its packages, starts no daemon,
and is known to the system by a name of its own in ``/etc/amanda``, which goes with it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

USER = "backup"
_CONFIGURATIONS = Path("/etc/amanda")
APPLICATIONS = Path("/usr/lib/amanda/application")
_SLOTS = 6
_SECONDS = 300

_CONF = """\
org "test"
dumpuser "backup"
dumpcycle 0
runspercycle 1
tapecycle %(slots)d
runtapes 3
logdir "%(place)s/log"
infofile "%(place)s/info"
indexdir "%(place)s/index"
tapelist "%(place)s/tapelist"
tpchanger "vtapes"
autolabel "MH-$2s" any
labelstr "MH-[0-9]*"
tapetype SMALL
netusage 8000000 Kbps
define changer vtapes {
  tpchanger "chg-disk:%(place)s/vtapes"
  property "num-slot" "%(slots)d"
  property "auto-create-slot" "yes"
}
define tapetype SMALL {
  length 40 mbytes
  part-size 10 mbytes
  part-cache-type none
}
define holdingdisk hold {
  directory "%(place)s/holding"
  use 200 mb
}
holdingdisk hold
define application-tool directories {
  plugin "amgtar"
  property "GNUTAR-LISTDIR" "%(place)s/lists"
}
define dumptype directory {
  auth "local"
  program "APPLICATION"
  application "directories"
  exclude "./.mailhaul"
  compress none
  index yes
  holdingdisk auto
}
%(more)s
"""


class Amanda:
    """A configuration below ``place``. ``disks`` are what is dumped: a directory, and its dump type,
    ``directory`` or one that ``more`` defines."""

    def __init__(
        self, find: Callable[[str], Path], place: Path, disks: Mapping[Path, str], more: str = ""
    ) -> None:
        self.place = place
        self.name = f"mailhaul-{place.parent.name}"
        self._find = find
        for name in ("vtapes", "holding", "log", "info", "index", "lists", "conf", "out"):
            (place / name).mkdir()
        facts = {"place": place, "slots": _SLOTS, "more": more}
        (place / "conf" / "amanda.conf").write_text(_CONF % facts)
        lines = (f"localhost {disk} {kind}\n" for disk, kind in disks.items())
        (place / "conf" / "disklist").write_text("".join(lines))
        (place / "tapelist").touch()
        for path in (place, *place.rglob("*")):
            shutil.chown(path, USER, USER)

    def __enter__(self) -> Amanda:
        (_CONFIGURATIONS / self.name).symlink_to(self.place / "conf")
        return self

    def __exit__(self, *_: object) -> None:
        (_CONFIGURATIONS / self.name).unlink(missing_ok=True)

    def run(self, program: str, *arguments: str, status: int | None = 0) -> bytes:
        """What a program of Amanda writes; ``status`` is how it must end."""
        done = subprocess.run(
            [self._find(program), *arguments],
            user=USER,
            group=USER,
            extra_groups=os.getgrouplist(USER, pwd.getpwnam(USER).pw_gid),
            cwd=self.place / "out",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        told = (program, arguments, done.stdout[-2000:], done.stderr[-2000:], self._log())
        assert status in (None, done.returncode), (done.returncode, told)
        return done.stdout

    def dump(self, status: int = 0) -> str:
        """One run of all disks; returns the report."""
        self.run("amdump", self.name, status=status)
        return self.run("amreport", self.name, status=None).decode(errors="replace")

    def fetch(self, disk: Path) -> bytes:
        """The newest dump of a disk, as it was made."""
        return self.run("amfetchdump", "-a", "-p", self.name, "localhost", f"^{disk}$")

    def _log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self.place.glob("log/log*")))[
            -3000:
        ]
