"""What goes to destinations beside archives: known kinds only, and those that name people sealed."""

from __future__ import annotations

from pathlib import Path

from mailhaul import __version__
from mailhaul.coordinator.sweeping.companions import KINDS, PREFIXES, companions
from mailhaul.proto.keys.sealed_files import seal_file
from mailhaul.worker.keepsake.readme import README, reader_name

from ....sealed import STRUCTURE

STEM = "_catalog/20261121T220000Z-4f3a.0"
SEALED = (f"{STEM}.sqlite.gz.sealed", f"{STEM}.names.tsv.gz.sealed")
CLEAR = (f"{STEM}.sqlite.gz", f"{STEM}.names.tsv.gz")
RUN = "_runs/2026/20261121T220000Z-4f3a.0.mhr"
KEYS = "_keys/01/0123456789abcdef.1.mhk"
OPEN = (RUN, KEYS, README, reader_name(__version__))


def put(staging: Path, *names: str) -> None:
    for name in names:
        path = staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = [b"jane"]
        path.write_bytes(b"".join(seal_file(path.name, content, STRUCTURE) if name in SEALED else content))


def going(staging: Path, *, encrypted: bool) -> set[str]:
    return {companion.name for companion in companions(staging, encrypted=encrypted)}


def test_what_may_be_read_by_anybody_is_listed_with_the_reason() -> None:
    """Whoever adds a kind of file either seals it or adds it here, and to docs/threat-model.md."""
    assert {kind.pattern for kind in KINDS if kind.open} == {
        "_runs/*/*.mhr",
        "_keys/*/*.mhk",
        "_erasures/*.json*",
        README,
        reader_name("*"),
    }


def test_in_clear_all_goes_that_is_known(tmp_path: Path) -> None:
    put(tmp_path, *OPEN, *CLEAR, *SEALED)
    assert going(tmp_path, encrypted=False) == {*OPEN, *CLEAR, *SEALED}


def test_where_archives_are_encrypted_only_what_is_sealed_goes(tmp_path: Path) -> None:
    put(tmp_path, *OPEN, *CLEAR, *SEALED)
    assert going(tmp_path, encrypted=True) == {*OPEN, *SEALED}
    (tmp_path / SEALED[0]).write_bytes(b"a name makes no sealed file")
    assert going(tmp_path, encrypted=True) == {*OPEN, SEALED[1]}


def test_what_is_of_no_kind_goes_nowhere(tmp_path: Path) -> None:
    put(tmp_path, "_catalog/jane.json", "_runs/jane", "_runs/2026/jane.txt", "_people/jane.mhr", "jane.txt")
    put(
        tmp_path,
        ".mailhaul/holds.json",
        "_ready/20261121T220000Z-4f3a.sha256",
        f"_catalog/.{SEALED[0][9:]}.new",
    )
    for encrypted in (False, True):
        assert going(tmp_path, encrypted=encrypted) == set()


def test_all_kinds_are_looked_for_at_destinations() -> None:
    assert all(kind.pattern.startswith(PREFIXES) for kind in KINDS)
