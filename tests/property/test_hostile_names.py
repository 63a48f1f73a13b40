"""Archives whose names want to lead out of the target: nothing is ever written outside of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.records import Directory, Folder, Partition, StoredFile
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import (
    ARCHIVE,
    OWNER,
    MemoryOpened,
    MemorySink,
    archive_header,
    in_files,
    message,
)
from mailhaul.worker.choice import Choice
from mailhaul.worker.keepsake import mailhaul_restore
from mailhaul.worker.packing.packer import Packer
from mailhaul.worker.tasks.restore import RestoreTask, run_restore

MAIL = b"Subject: x\n\nbody\n"
HOSTILE = [
    *(
        b"..",
        b"../out",
        b"../../out",
        b"/OUTSIDE/out",
        b"a/../../../out",
        b".",
        b"",
        b"/",
        b"//",
        b"a/",
        b"./x",
    ),
    *(
        b"nul\0",
        b"new\nline",
        b"\xff\xfe",
        b"link",
        b"link/x",
        b"link/out/x",
        b"x" * 300,
        b"cur",
        b"cur/x",
        b"tmp/../x",
    ),
    *(b"..\\out", b"dovecot-uidlist", b"new/1.eml", b".Sub/cur/1", b"..Sub", b".a..b", b"a//b"),
]
names = st.sampled_from(HOSTILE)
texts = names.map(lambda name: name.decode("utf-8", "surrogateescape"))


def hostile_archive(
    outside: bytes,
    user: str,
    place: bytes,
    folder: str,
    path: bytes,
    base: bytes,
    suffix: bytes,
    sub: str,
    files: list[bytes],
) -> bytes:
    sink = MemorySink()
    archive = ArchiveWriter(sink, archive_header())
    size, digest, pieces = Packer(archive).store(MemoryOpened(MAIL))
    plain = message(1, MAIL, pieces, digest)
    for uid, one in enumerate(
        [plain, replace(plain, base=base or b"x"), replace(plain, suffix=suffix), replace(plain, place=sub)],
        1,
    ):
        archive.add_message(replace(one, uid=uid))
    archive.end_folder(
        Folder(
            name=folder or "x", path=path, directories=(Directory(path, OWNER, 0), Directory(base, OWNER, 0))
        )
    )
    link = StoredFile(b"link", False, b"..", OWNER, 0, 0, bytes(16), ())
    archive.add_file(link)
    archive.add_file(replace(link, path=b"link2", target=outside))
    archive.add_file(replace(link, home=True))
    for file in files:
        stored = StoredFile(file, False, None, OWNER, 0, size, blake3(MAIL).digest(length=16), pieces)
        archive.add_file(stored)
        archive.add_file(replace(stored, home=True))
        archive.add_file(replace(stored, target=b"../../out"))
    archive.end_mailbox(user or "x", place, 4, 4 * size, ())
    archive.finish()
    return bytes(sink.data)


def tree(root: Path, without: Path) -> Iterator[tuple[str, int, bytes]]:
    """Everything below a directory but for one place."""
    for path in sorted(root.rglob("*")):
        if path != without and without not in path.parents:
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            yield str(path), path.lstat().st_mode, content


@settings(max_examples=60)
@given(
    user=texts,
    place=names,
    folder=texts,
    path=names,
    base=names,
    suffix=names,
    sub=texts,
    files=st.lists(names, max_size=4),
    template=st.booleans(),
)
@example(
    user="../x", place=b"..", folder="../x", path=b"../x", base=b"../x", suffix=b"/../../x", sub="../x",
    files=[b"link/x", b"link2/out"], template=False,
)  # fmt: skip
def test_nothing_is_written_outside_the_target(
    user: str,
    place: bytes,
    folder: str,
    path: bytes,
    base: bytes,
    suffix: bytes,
    sub: str,
    files: list[bytes],
    template: bool,
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        target = root / "a" / "b" / "target"
        target.mkdir(parents=True)
        (root / "a" / "precious").write_bytes(b"kept")
        archive = root / "archive.mha"
        outside = bytes(root)
        user, folder, sub = (one.replace("/OUTSIDE", str(root)) for one in (user, folder, sub))
        place, path, base, suffix, *files = (
            one.replace(b"/OUTSIDE", outside) for one in (place, path, base, suffix, *files)
        )
        archive.write_bytes(hostile_archive(outside, user, place, folder, path, base, suffix, sub, files))
        before = list(tree(root, target))
        task = RestoreTask(
            archives=in_files({ARCHIVE: archive}),
            choices=(
                Choice(
                    archive=ARCHIVE,
                    user=user or "x",
                    to_user=user or "x",
                    place=place,
                    path=LogicalPath("primary", "user", user or "x"),
                ),
            ),
            target=Partition(
                name="primary",
                format="maildir",
                path=f"{target}/{{user}}/Maildir" if template else str(target),
            ),
            label="test",
        )
        report = run_restore(task, lambda _: None).total()
        assert list(tree(root, target)) == before
        # Every message is accounted for: written, or named as not.
        assert report.restored + report.present + len(report.skipped) + len(report.damaged) > 0
        shutil.rmtree(target)
        layout = ("--layout", "{user}/Maildir") if template else ()
        status = mailhaul_restore.main([str(archive), "--to", str(target), *layout])
        assert status in (mailhaul_restore.EXIT_OK, mailhaul_restore.EXIT_SKIPPED)
        assert list(tree(root, target)) == before


def test_a_harmless_archive_is_restored() -> None:
    """What the test above looks at would be restored if its names were good."""
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory) / "archive.mha"
        archive.write_bytes(
            hostile_archive(b"/", "jane", b"", "INBOX", b"", b"1.x", b":2,S", "cur", [b"subscriptions"])
        )
        task = RestoreTask(
            archives=in_files({ARCHIVE: archive}),
            choices=(
                Choice(
                    archive=ARCHIVE, user="jane", to_user="jane", path=LogicalPath("primary", "user", "jane")
                ),
            ),
            target=Partition(name="primary", format="maildir", path=f"{directory}/target"),
            label="test",
        )
        report = run_restore(task, lambda _: None).total()
        assert (report.restored, report.present) == (2, 2)
        (found,) = (Path(directory) / "target").rglob("1.x:2,S")
        assert found.read_bytes() == MAIL
