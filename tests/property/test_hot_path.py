"""The two implementations of the hot path give the same, whatever the bytes are, and whatever file it is."""

from __future__ import annotations

import os
import random
import stat
import subprocess
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.tests.conftest import IN_CI
from mailhaul.tests.corpora import corpus
from mailhaul.tests.medleys import PLAIN, WORDS
from mailhaul.worker.packing import entries, reading, scanning

# In CI it is built. Elsewhere, without C, there is nothing to compare.
native = (import_module if IN_CI else pytest.importorskip)("mailhaul.worker.packing._native")


def agree(data: bytes) -> None:
    terms, parts = scanning.scan(data)
    assert native.scan(data) == (tuple(terms), parts), data[:2000]
    ends = [place for part in parts for place in part]
    assert ends == sorted(ends)
    assert not ends or ends[-1] <= len(data)


@given(st.binary(max_size=2000))
def test_of_any_bytes(data: bytes) -> None:
    agree(data)


@given(st.sampled_from([b"", PLAIN]), st.lists(st.sampled_from(WORDS) | st.binary(max_size=3), max_size=80))
def test_of_any_medley_of_what_is_looked_for(head: bytes, words: list[bytes]) -> None:
    agree(head + b"".join(words))


def mutated(mail: bytes, chance: random.Random) -> bytes:
    """A mail with a few places changed: words put in, stretches cut out, repeated, or put elsewhere."""
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, min(len(mail), 4000) if chance.random() < 0.7 else len(mail))
        end = at + chance.choice((0, 1, 1, 2, 40, 3000))
        other = chance.randint(0, len(mail))
        put = chance.choice(
            (chance.choice(WORDS), chance.randbytes(2), mail[at:end] * 3, mail[other : other + 90])
        )
        mail = mail[:at] + put + mail[end:]
    return mail


def test_of_real_mail_and_of_mail_that_was_changed(shared: Path) -> None:
    chance = random.Random(11)
    for mail in corpus(shared, "tricky", "sample"):
        agree(mail)
        for _ in range(5):
            agree(mutated(mail[:60_000], chance))


@pytest.mark.parametrize(
    "data",
    [
        b"Subject: " + b"\n " * 300_000,
        b"X: y\n" * 60_000 + b"To: late\n\nbody" + b"t" * 600,
        b"".join(b"To: %050d@example.org\n" % n for n in range(5000)) + b"\n",
        b"Content-Disposition: a" + b"; name*0" * 20_000 + b"\n\n",
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\nContent-Type: name=" * 20_000,
        b"Content-Type: multipart/mixed; boundary=b\n\n"
        + b"".join(b"--b\nContent-Type: x; name=%d\n\n" % (n % 50) for n in range(12_000)),
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * 30_000,
        b'Content-Type: multipart/mixed; boundary="x"\n\n' + (b"\n--x\n\n" + b"t" * 300) * 11_000,
        b'Content-Type: multipart/mixed; boundary="x"\n\n'
        + b'\n--x\nContent-Type: multipart/mixed; boundary="x"\n\n' * 20_000,
        b"".join(b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(20))
        + b"\n\n"
        + b"t" * 900,
        b"h: x\n\n" + b"text " * 100 + b"\r\n" * 100_000,
    ],
)
def test_of_mail_that_was_made_to_be_slow(data: bytes) -> None:
    agree(data)


class TestReading:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[int]:
        fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
        yield fd
        os.close(fd)

    def both(self, place: int, name: bytes) -> list[object]:
        """What each of the two gives; of a file that is left open, what can be read from it."""
        given: list[object] = []
        for read_file in (reading.read_file, native.read_file):
            opened = set(os.listdir("/proc/self/fd"))
            try:
                found = read_file(place, name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                found = (type(error), error.errno)
            if isinstance(found, int):
                assert not os.get_inheritable(found)
                is_file = stat.S_ISREG(os.fstat(found).st_mode)
                content = os.read(found, 1 << 20) if is_file else b""
                os.close(found)
                found = ("open", content)
            given.append(found)
            assert set(os.listdir("/proc/self/fd")) == opened, "nothing else stays open"
        return given

    @pytest.mark.parametrize("size", [0, 1, 5000, reading.MOST_BYTES - 1, reading.MOST_BYTES])
    def test_of_an_ordinary_file(self, place: int, tmp_path: Path, size: int) -> None:
        file = tmp_path / "mail"
        file.write_bytes(bytes(size))
        file.chmod(0o640)
        os.utime(file, ns=(1, 1_700_000_000_123_456_789))
        status = file.stat()
        whole = (bytes(size), status.st_mtime_ns, status.st_mode, status.st_uid, status.st_gid, status.st_ino)
        assert self.both(place, b"mail") == [whole, whole]

    @pytest.mark.parametrize("mtime_ns", [-1, -5_000_000_001, 2**62])
    def test_of_a_date_far_away(self, place: int, tmp_path: Path, mtime_ns: int) -> None:
        (tmp_path / "mail").write_bytes(b"x")
        os.utime(tmp_path / "mail", ns=(0, mtime_ns))
        first, second = self.both(place, b"mail")
        assert first == second

    @pytest.mark.parametrize(
        "kind", ["large", "link", "directory", "pipe", "twice", "attribute", "none", "long"]
    )
    def test_of_any_other(self, place: int, tmp_path: Path, kind: str) -> None:
        file, content, name = tmp_path / "mail", b"text", b"mail"
        if kind == "large":
            content = bytes(reading.MOST_BYTES + 1)
        if kind in ("large", "twice", "attribute"):
            file.write_bytes(content)
        if kind == "link":
            file.symlink_to("/etc/passwd")
        elif kind == "directory":
            file.mkdir()
        elif kind == "pipe":
            os.mkfifo(file)
        elif kind == "twice":
            os.link(file, tmp_path / "other")
        elif kind == "attribute":
            try:
                os.setxattr(file, "user.note", b"x")
            except OSError as error:
                pytest.skip(f"no attributes here: {error.strerror}")
        elif kind == "long":
            name = b"n" * 300
        first, second = self.both(place, name)
        assert first == second
        if file.is_file() and not file.is_symlink():
            assert first == ("open", content)

    def test_of_a_name_that_is_none(self, place: int) -> None:
        for read_file in (reading.read_file, native.read_file):
            with pytest.raises(ValueError, match="embedded null"):
                read_file(place, b"a\0b", os.O_RDONLY)


class TestListing:
    def both(self, place: Path) -> list[entries.Entry]:
        """What both say of a directory, sorted."""
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            in_python = sorted(entries.entries_in(fd))
            in_c: list[entries.Entry] = []
            some = native.read_entries(fd, True)
            while some:
                in_c += some
                some = native.read_entries(fd, False)
        finally:
            os.close(fd)
        assert sorted(in_c) == in_python
        return in_python

    def test_of_every_kind(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"x")
        (tmp_path / ".hidden").write_bytes(b"")
        (tmp_path / "...").write_bytes(b"")
        (tmp_path / "directory").mkdir()
        (tmp_path / "link").symlink_to("directory")
        (tmp_path / "dangling").symlink_to("nowhere")
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / os.fsdecode(b"\xff\xfe name:2,S")).write_bytes(b"")
        found = {name: kind for name, kind, _ in self.both(tmp_path)}
        assert found == {
            b"file": entries.FILE,
            b".hidden": entries.FILE,
            b"...": entries.FILE,
            b"directory": entries.DIRECTORY,
            b"link": entries.LINK,
            b"dangling": entries.LINK,
            b"pipe": entries.OTHER,
            b"\xff\xfe name:2,S": entries.FILE,
        }

    @pytest.mark.parametrize("count", [0, 1, 3000])
    def test_of_any_number(self, tmp_path: Path, count: int) -> None:
        for number in range(count):
            (tmp_path / f"{number:0100}").touch()
        found = self.both(tmp_path)
        assert [name for name, _, _ in found] == [b"%0100d" % number for number in range(count)]
        inodes = [(tmp_path / os.fsdecode(name)).stat().st_ino for name, _, _ in found]
        assert [inode for _, _, inode in found] == inodes

    def test_of_what_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        fd = os.open(tmp_path / "file", os.O_RDONLY)
        try:
            with pytest.raises(NotADirectoryError):
                list(entries.entries_in(fd))
            with pytest.raises(NotADirectoryError):
                native.read_entries(fd, True)
        finally:
            os.close(fd)

    def test_where_the_file_system_does_not_keep_the_kinds(
        self, tmp_path: Path, require_tool: Callable[[str], Path]
    ) -> None:
        if os.geteuid() != 0:
            pytest.skip("needs root, to mount a file system")
        image, place = tmp_path / "image", tmp_path / "mounted"
        with image.open("wb") as file:
            file.truncate(8 << 20)
        place.mkdir()
        make = require_tool("mkfs.ext4")
        subprocess.run([make, "-q", "-O", "^has_journal,^filetype", image], check=True, timeout=60)
        done = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"no loop device: {done.stderr.decode().strip()}")
        try:
            (place / "file").touch()
            (place / "directory").mkdir()
            (place / "link").symlink_to("file")
            os.mkfifo(place / "pipe")
            kinds = {name: kind for name, kind, _ in self.both(place)}
        finally:
            subprocess.run(["umount", place], check=True)
        assert kinds == {
            b"file": entries.FILE,
            b"directory": entries.DIRECTORY,
            b"link": entries.LINK,
            b"lost+found": entries.DIRECTORY,
            b"pipe": entries.OTHER,
        }
