"""What stands first on each volume."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from pathlib import Path

import pytest

from mailhaul.proto.keys.sealed_files import open_sealed_file, seal_file
from mailhaul.proto.structs import replace
from mailhaul.worker.destinations.tape.file_drive import FileDrive, TapeEnd
from mailhaul.worker.destinations.tape.front import front_files
from mailhaul.worker.keepsake.readme import reader

from ....sealed import OF_A_HOST, STRUCTURE
from ....tapes import RECORD, Tapes

ARCHIVES = {"p/a.mha": 100_000}
MORE = {"p/b.mha": 700_000, "p/c.mha": 700_000}
TABLE = b"# mailhaul: the archives\narchive\tp/a.mha\n"


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """A staging area with tables of several moments."""
    folder = tmp_path / "staging" / "_catalog"
    folder.mkdir(parents=True)
    for name in ("20261121T220000Z-4f3a.9", "20261121T220000Z-4f3a.2", "20261120T220000Z-9999.11"):
        text = TABLE if name.endswith(".9") else b"an older one\n"
        (folder / f"{name}.names.tsv.gz").write_bytes(gzip.compress(text))
    (folder / "20261122T220000Z-4f3a.0.sqlite.gz").touch()
    return folder.parent


def front_of(volume: Path) -> list[bytes]:
    """What ``mt asf N`` and ``dd`` give for the files behind the label, up to the first record that tells."""
    drive = FileDrive(str(volume), TapeEnd(capacity_bytes=1 << 40))
    files = [b""]
    drive.locate(2)
    while isinstance(record := drive.read_record(), bytes) or files[-1]:
        if not isinstance(record, bytes):
            files.append(b"")
        elif record.startswith(b"mailhaul-tape"):
            break
        else:
            assert len(record) == RECORD
            files[-1] += record
    drive.close()
    return files[:-1]


def test_each_volume_has_a_reader_and_the_newest_table(staging: Path, tmp_path: Path) -> None:
    tapes = Tapes(tmp_path / "site", TapeEnd(capacity_bytes=1 << 20, warning_bytes=1 << 15))
    tapes.settings = replace(tapes.settings, beside=str(staging))
    tapes.put(ARCHIVES | MORE)
    assert len(tapes.volumes()) > 1
    for volume in tapes.volumes():
        text, program, table = front_of(volume)
        assert program.rstrip(b"\n") == reader().rstrip(b"\n")
        packed = tmp_path / "names.tsv.gz"
        packed.write_bytes(table)
        # Nothing of the zeros behind it.
        assert gzip.decompress(table) == TABLE
        assert subprocess.run(["gunzip", "-c", packed], capture_output=True, check=True).stdout == TABLE
        for word in (b"mailhaul-restore-0.1.0.py,\n", b"20261121T220000Z-4f3a.9.names.tsv.gz,\n", b"asf 3"):
            assert word in text
    (tmp_path / "reader.py").write_bytes(program)
    asked = subprocess.run([sys.executable, "-I", tmp_path / "reader.py", "--help"], capture_output=True)
    assert b"usage" in asked.stdout
    # Whoever knows nothing of the volumes walks over them.
    tapes.forget()
    assert all(stock.known for stock in tapes.take_stock())
    tapes.check(ARCHIVES | MORE)


def test_where_archives_are_encrypted_the_table_is_sealed(tmp_path: Path) -> None:
    folder = tmp_path / "staging" / "_catalog"
    folder.mkdir(parents=True)
    name = "20261121T220000Z-4f3a.9.names.tsv.gz.sealed"
    (folder / name).write_bytes(b"".join(seal_file(name, [gzip.compress(TABLE)], STRUCTURE)))
    tapes = Tapes(tmp_path / "site")
    tapes.settings = replace(tapes.settings, beside=str(folder.parent))
    tapes.put(ARCHIVES)
    text, program, table = front_of(tapes.volumes()[0])
    assert f"{name},\n".encode() in text
    assert b"gunzip > names.tsv" in text
    assert TABLE not in table
    assert table.endswith(b"\0"), "filled up to a record"
    (tmp_path / "names.tsv.gz.sealed").write_bytes(table)
    opened = b"".join(open_sealed_file(io.BytesIO(table), OF_A_HOST, name))
    assert gzip.decompress(opened) == TABLE
    # As the text says, with the reader; of the key only that it is one.
    (tmp_path / "reader.py").write_bytes(program)
    command: list[str | Path] = [sys.executable, "-I", tmp_path / "reader.py", tmp_path]
    command += ["--open", tmp_path / "names.tsv.gz.sealed"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (asked.returncode, asked.stdout) == (1, "")
    assert "it is sealed; give an archive of the same staging area" in asked.stderr


def test_the_text_tells_of_nothing_that_is_not_there(staging: Path, tmp_path: Path) -> None:
    tapes = Tapes(tmp_path / "site")
    for settings in (
        tapes.settings,
        replace(tapes.settings, beside=str(staging), capacity_bytes=1 << 20),  # so short that it has no room
    ):
        ((name, text),) = front_files(settings)
        assert name == "README.txt"
        assert b"this text,\nand then" in text
        assert b"asf" not in text
    for table in (staging / "_catalog").iterdir():
        table.unlink()
    files = dict(front_files(replace(tapes.settings, beside=str(staging))))
    assert list(files) == ["README.txt", "mailhaul-restore-0.1.0.py"]
    assert b"asf 2" in files["README.txt"]
    assert b"asf 3" not in files["README.txt"]
