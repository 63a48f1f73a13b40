"""The mail store that is backed up: found or built, warmed, sampled, and compared with what came back."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Of a setting: the options of the corpus's own maker, the number of messages of the demo's maker.
SETTINGS = {
    "small": (["--partitions", "2", "--mailboxes", "50", "--size", "200M"], 13_500),
    "2g": (["--partitions", "2", "--mailboxes", "200", "--size", "2G", "--attachments"], 140_000),
    "many": (["--partitions", "2", "--mailboxes", "2000", "--messages", "40000"], 40_000),
}
CORPORA = ("enron", "lists", "spamassassin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One mailbox of middle size, and the middle message of its INBOX."""

    user: str
    mailbox: Path
    message: Path
    uid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A built store: ``files`` of its mailboxes, relative to ``root``, and what they weigh."""

    root: Path
    kind: str
    files: tuple[Path, ...]
    messages: int
    size_bytes: int
    sample: Sample

    def differences(self, other: Path, below: Path | None = None) -> list[str]:
        """Files of the store (of one mailbox of it) that are missing below ``other``, or differ. The counter
        of UIDVALIDITYs is not compared: a restore raises it."""
        chosen = (file for file in self.files if below is None or file.is_relative_to(below))
        wanted = [file for file in chosen if not file.name.startswith("dovecot-uidvalidity")]
        return [str(file) for file in wanted if digest(self.root / file) != digest(other / file)]


def find(setting: str, given: Path | None, scratch: Path) -> Store:
    """The store of a setting: the one that is given, one built before below ``scratch``, or a new one."""
    if given is not None:
        return look_at(given, "given")
    corpus = corpus_place()
    kind = "corpus" if (corpus / "corpus" / "enron.tar.xz").exists() else "demo"
    root = scratch / f"store-{setting}-{kind}"
    if not root.exists():
        options, messages = SETTINGS[setting]
        unfinished = scratch / f"store-{setting}-{os.getpid()}.partial"
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        if kind == "corpus":
            argv = corpus_maker(corpus, unfinished, *options)
        else:
            argv = [str(ROOT / "deploy" / "demo" / "make_store.py"), str(unfinished)]
            argv += ["--messages", str(messages), "--users", str(messages // 600)]
        subprocess.run([sys.executable, *argv], check=True, stdout=subprocess.DEVNULL)
        unfinished.rename(root)
    return look_at(root, kind)


def corpus_place() -> Path:
    """The directory with real mail and the maker of stores; it need not exist."""
    return Path(os.environ.get("MAILHAUL_SHARED") or ROOT.parent / "shared").resolve()


def corpus_maker(corpus: Path, out: Path, *options: str, corpora: Sequence[str] = CORPORA) -> list[str]:
    """The script, with its arguments, that makes a store of real mail or lets a day of its life pass."""
    tars = [str(corpus / "corpus" / f"{name}.tar.xz") for name in corpora]
    return [str(corpus / "make_store.py"), "--corpus", *tars, "--out", str(out), *options]


def warm(root: Path) -> None:
    """Read every file below a directory once, so that each program finds the same page cache."""
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            if not os.path.islink(path):
                with open(path, "rb", buffering=0) as file:
                    while file.read(1 << 20):
                        pass


def digest(path: Path) -> bytes | None:
    """What a file holds, None if it is not there.

    A list of UIDs counts as the same with and without the flags that the corpus's maker leaves in the
    names; Dovecot writes none there, and neither does mailhaul.
    """
    if not path.is_file():
        return None
    if path.name == "dovecot-uidlist":
        return hashlib.blake2b(re.sub(rb":2,[^\n]*", b"", path.read_bytes())).digest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def size_bytes(root: Path) -> int:
    """Bytes of all files below a directory, as they tell their size; 0 where there is none."""
    return sum(file.lstat().st_size for file in root.rglob("*") if file.is_file() and not file.is_symlink())


def look_at(root: Path, kind: str) -> Store:
    """What a built store holds."""
    root = root.resolve()
    mailboxes = sorted(path.relative_to(root) for path in root.rglob("Maildir") if (path / "cur").is_dir())
    files: list[Path] = []
    messages = size = 0
    weights = []
    for mailbox in mailboxes:
        mine = [file for file in sorted((root / mailbox).rglob("*")) if file.is_file()]
        weight = sum(file.stat().st_size for file in mine)
        messages += sum(file.parent.name in ("cur", "new") for file in mine)
        files += (file.relative_to(root) for file in mine)
        size += weight
        weights.append((weight, mailbox))
    if not weights:
        raise SystemExit(f"no Maildir below {root}")
    middle = sorted(weights)[len(weights) // 2][1]
    return Store(
        root=root,
        kind=kind,
        files=tuple(files),
        messages=messages,
        size_bytes=size,
        sample=_sample(root, middle),
    )


def _sample(root: Path, mailbox: Path) -> Sample:
    """The message in the middle of INBOX that lies in cur/, and the UID that Dovecot's list gives it."""
    text = (root / mailbox / "dovecot-uidlist").read_text()
    uids = {name: int(uid) for uid, name in re.findall(r"^(\d+) :([^:\n]+)", text, re.MULTILINE)}
    names = sorted(name for name in os.listdir(root / mailbox / "cur") if name.partition(":")[0] in uids)
    name = names[len(names) // 2]
    return Sample(
        user=str(mailbox.parent),
        mailbox=mailbox,
        message=mailbox / "cur" / name,
        uid=uids[name.partition(":")[0]],
    )
