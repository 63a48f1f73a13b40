"""The programs that are compared, each behind the same few questions: how do you back up, restore, ...

Every program gets a repository of its own that is made anew for each repetition, and keeps its
caches below it. Encryption is off where it can be (restic has no such choice), but for the one of ours whose
name ends in "encrypted".
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from .installed import install
from .machine import commit
from .measure import Command
from .report import based
from .stores import ROOT, Sample, Store, size_bytes


class Program(Protocol):
    """A program with its repository below the directory it was made for."""

    def create(self) -> Command | None:
        """Makes the empty repository; not measured. None where nothing has to be made."""

    def backup(self) -> Command:
        """A backup of the store: the first one, or another one after it."""

    def restore(self, target: Path) -> Command:
        """Everything back, below ``target``."""

    def restore_mailbox(self, target: Path, sample: Sample) -> Command:
        """One mailbox back, below ``target``."""

    def restore_message(self, target: Path, sample: Sample) -> Command:
        """One message back, below ``target``."""

    def message(self, sample: Sample) -> Command:
        """One message on standard output."""

    def restored(self, target: Path) -> Path:
        """The directory in ``target`` that the store's root has become."""

    def stored(self) -> tuple[int, int]:
        """Bytes of the repository, and of what lies beside it (caches, copies) and can be made again."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How ours is called. Without ``workers`` it has as many as it takes by itself."""

    codec: str
    workers: int | None
    configured: bool = False
    encrypted: bool = False


class Mailhaul:
    """mailhaul as it is installed, one partition, the predefined group."""

    def __init__(self, place: Path, store: Store, program: Path, variant: Variant) -> None:
        self._place, self._store, self._variant = place, store, variant
        self._program = program
        self._staging = place / "staging"
        self._workers = () if variant.workers is None else ("--workers", str(variant.workers))
        self._configuration = place / "mailhaul.toml"
        self._passphrase = place / "passphrase"

    def _command(self, name: str, *arguments: str) -> Command:
        if self._variant.configured:
            argv = (str(self._program), "--config", str(self._configuration), name, *arguments)
        else:
            argv = (str(self._program), name, "--staging", str(self._staging), *arguments)
        return Command(argv, self._place)

    def create(self) -> Command | None:
        if not self._variant.configured:
            return None
        text = f'[staging]\npath = "{self._staging}"\nkeys = "{self._place / "keys"}"\n'
        text += f'[[partition]]\nformat = "maildir"\npath = "{self._store.root}"\n'
        if not self._variant.encrypted:
            self._configuration.write_text(text)
            return None
        text += f'[encryption]\nrecipients = ["{self._place / "ops.pub"}"]\n'
        self._configuration.write_text(text)
        self._passphrase.write_text("passphrase of a benchmark\n")
        self._passphrase.chmod(0o600)
        words = ("keys", "recipient", "make", "ops", "--dir", str(self._place))
        passphrase = ("--passphrase-file", str(self._passphrase))
        return Command((str(self._program), *words, *passphrase), self._place)

    def backup(self) -> Command:
        store = () if self._variant.configured else ("--store", f"maildir:{self._store.root}")
        return self._command("backup", *store, "--codec", self._variant.codec, *self._workers)

    def restore(self, target: Path) -> Command:
        return self._restored("/", target, *self._workers)

    def restore_mailbox(self, target: Path, sample: Sample) -> Command:
        user = f"/primary/user/{quote(sample.user, safe='')}"
        return self._restored(user, target, *self._workers)

    def restore_message(self, target: Path, sample: Sample) -> Command:
        message = f"/primary/user/{quote(sample.user, safe='')}/INBOX/{sample.uid}"
        return self._restored(message, target)

    def _restored(self, path: str, target: Path, *options: str) -> Command:
        # Without the margin a list of UIDs is as it was, to the byte.
        return self._command(
            "restore", path, "--to", f"maildir:{target}", "--uid-margin", "0", *options, *self._key()
        )

    def message(self, sample: Sample) -> Command:
        path = f"/primary/user/{quote(sample.user, safe='')}/INBOX/{sample.uid}"
        return self._command("show", path, *self._key())

    def _key(self) -> tuple[str, ...]:
        """What a command takes that reads mail."""
        if not self._variant.encrypted:
            return ()
        return ("--identity", str(self._place / "ops.secret"), "--passphrase-file", str(self._passphrase))

    def restored(self, target: Path) -> Path:
        return target

    def stored(self) -> tuple[int, int]:
        archives = sum(file.stat().st_size for file in self.archives())
        return archives, size_bytes(self._staging) - archives

    def archives(self) -> set[Path]:
        """The archives that it wrote so far."""
        return set(self._staging.rglob("*.mha"))


class Restic:
    """restic, with the compression it chooses by itself (zstd)."""

    def __init__(self, place: Path, store: Store) -> None:
        self._place, self._store, self._repository = place, store, place / "repository"
        self._env = {
            "RESTIC_REPOSITORY": str(self._repository),
            "RESTIC_PASSWORD": "x",
            "RESTIC_CACHE_DIR": str(place / "cache"),
        }

    def _command(self, *arguments: str) -> Command:
        return Command(("restic", "--quiet", *arguments), self._place, self._env)

    def create(self) -> Command | None:
        return self._command("init")

    def backup(self) -> Command:
        return self._command("backup", str(self._store.root))

    def restore(self, target: Path) -> Command:
        return self._command("restore", "latest", "--target", str(target))

    def restore_mailbox(self, target: Path, sample: Sample) -> Command:
        path = self._store.root / sample.mailbox
        return self._command("restore", "latest", "--target", str(target), "--include", str(path))

    def restore_message(self, target: Path, sample: Sample) -> Command:
        path = self._store.root / sample.message
        return self._command("restore", "latest", "--target", str(target), "--include", str(path))

    def message(self, sample: Sample) -> Command:
        return self._command("dump", "latest", str(self._store.root / sample.message))

    def restored(self, target: Path) -> Path:
        return target / self._store.root.relative_to("/")

    def stored(self) -> tuple[int, int]:
        return size_bytes(self._repository), size_bytes(self._place / "cache")


class Borg:
    """borg without encryption, with its default compression (LZ4)."""

    def __init__(self, place: Path, store: Store) -> None:
        self._place, self._store, self._repository = place, store, place / "repository"
        self._archives = 0
        self._env = {
            "BORG_REPO": str(self._repository),
            "BORG_BASE_DIR": str(place / "base"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }

    def _command(self, *arguments: str, cwd: Path | None = None) -> Command:
        return Command(("borg", *arguments), cwd or self._place, self._env)

    def create(self) -> Command | None:
        return self._command("init", "--encryption", "none")

    def backup(self) -> Command:
        self._archives += 1
        return self._command(
            "create", "--compression", "lz4", f"::{self._archives}", ".", cwd=self._store.root
        )

    def restore(self, target: Path) -> Command:
        return self._command("extract", f"::{self._archives}", cwd=target)

    def restore_mailbox(self, target: Path, sample: Sample) -> Command:
        return self._command("extract", f"::{self._archives}", str(sample.mailbox), cwd=target)

    def restore_message(self, target: Path, sample: Sample) -> Command:
        return self._command("extract", f"::{self._archives}", str(sample.message), cwd=target)

    def message(self, sample: Sample) -> Command:
        return self._command("extract", "--stdout", f"::{self._archives}", str(sample.message))

    def restored(self, target: Path) -> Path:
        return target

    def stored(self) -> tuple[int, int]:
        return size_bytes(self._repository), size_bytes(self._place / "base")


class Tar:
    """``tar | lz4``: no deduplication, no index, nothing made durable. The plain copy as a yardstick."""

    def __init__(self, place: Path, store: Store) -> None:
        self._place, self._store, self._file = place, store, place / "store.tar.lz4"

    def _pipe(self, *programs: tuple[str, ...], cwd: Path) -> Command:
        # Without pipefail a failure of the first program would pass for success.
        text = "set -o pipefail; " + " | ".join(shlex.join(program) for program in programs)
        return Command(("bash", "-c", text), cwd)

    def _extract(self, cwd: Path, *arguments: str) -> Command:
        return self._pipe(
            ("lz4", "-qdc", str(self._file)), ("tar", "--extract", "--file", "-", *arguments), cwd=cwd
        )

    def create(self) -> Command | None:
        return None

    def backup(self) -> Command:
        pack = ("lz4", "-q", "-1", "-", str(self._file))
        # Without links: a mailbox whose files are links into another could not be taken out alone.
        tar = ("tar", "--create", "--hard-dereference", "--file", "-", ".")
        return self._pipe(tar, pack, cwd=self._store.root)

    def restore(self, target: Path) -> Command:
        return self._extract(target)

    def restore_mailbox(self, target: Path, sample: Sample) -> Command:
        return self._extract(target, f"./{sample.mailbox}")

    def restore_message(self, target: Path, sample: Sample) -> Command:
        return self._extract(target, f"./{sample.message}")

    def message(self, sample: Sample) -> Command:
        return self._extract(self._place, "--to-stdout", f"./{sample.message}")

    def restored(self, target: Path) -> Path:
        return target

    def stored(self) -> tuple[int, int]:
        return self._file.stat().st_size, 0


class Maker(Protocol):
    def __call__(self, place: Path, store: Store) -> Program: ...


PURE = "pure Python"
"""Ends the name of ours without what is compiled of it."""

CONFIGURED, ENCRYPTED = ", configured", ", encrypted"
"""End the name of ours with a configuration file, which takes its time to read; with one that also names a
recipient (X25519)."""

OURS = {
    "mailhaul": Variant("lz4", None),
    f"mailhaul{CONFIGURED}": Variant("lz4", None, configured=True),
    f"mailhaul{ENCRYPTED}": Variant("lz4", None, configured=True, encrypted=True),
    "mailhaul lz4 2w": Variant("lz4", 2),
    f"mailhaul lz4 2w{CONFIGURED}": Variant("lz4", 2, configured=True),
    f"mailhaul lz4 2w{ENCRYPTED}": Variant("lz4", 2, configured=True, encrypted=True),
    "mailhaul lz4 1w": Variant("lz4", 1),
    "mailhaul zstd 2w": Variant("zstd", 2),
    "mailhaul zstd 1w": Variant("zstd", 1),
    f"mailhaul lz4 1w, {PURE}": Variant("lz4", 1),
}

# Name -> (how it is made, the commands it needs, the command that tells its version).
PEERS: dict[str, tuple[Maker, tuple[str, ...], tuple[str, ...]]] = {
    "restic": (Restic, ("restic",), ("restic", "version")),
    "borg lz4": (Borg, ("borg",), ("borg", "--version")),
    "tar | lz4": (Tar, ("bash", "tar", "lz4"), ("lz4", "--version")),
}


def makers(wanted: Sequence[str], base: Path | None, place: Path) -> tuple[dict[str, Maker], dict[str, str]]:
    """How each of these programs is made, and what it says of its version; those that are not here are left
    out, with a word on standard error.

    Ours are installed below ``place``, and with ``base``, an earlier state of this repository, each of them
    as it was, too, beside what it has become (but for those without compiled parts or with a configuration).
    """
    how: dict[str, Maker] = {}
    versions: dict[str, str] = {}

    def installed(names: list[str], checkout: Path, where: str, named: Callable[[str], str]) -> None:
        if names:
            program = install(checkout.resolve(), place / where, pure=where == PURE)
        for name in names:
            how[named(name)] = _mailhaul(program, OURS[name])
            versions[named(name)] = f"{_said((str(program), '--version'))}, commit {commit(checkout)}"

    ours = [name for name in wanted if name in OURS]
    compiled = [name for name in ours if PURE not in name]
    installed(compiled, ROOT, "installed", str)
    installed([name for name in ours if PURE in name], ROOT, PURE, str)
    if base is not None:
        compared = [name for name in compiled if not OURS[name].configured]
        installed(compared, base, based("installed"), based)
    for name in wanted:
        if name in OURS:
            continue
        maker, commands, version = PEERS[name]
        if absent := [command for command in commands if not shutil.which(command)]:
            print(f"{name} is left out: {', '.join(absent)} not installed", file=sys.stderr, flush=True)
            continue
        how[name] = maker
        versions[name] = _said(version)
    return how, versions


def _mailhaul(program: Path, variant: Variant) -> Maker:
    return lambda place, store: Mailhaul(place, store, program, variant)


def _said(argv: tuple[str, ...]) -> str:
    """The first line that a command prints."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    return (done.stdout or done.stderr).strip().splitlines()[0]
