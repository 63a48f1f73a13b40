"""Programs as a place: what they say is not believed, what goes wrong with them is told in their words."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mailhaul.proto.errors import AccessError, DamagedError, ExistsError, PlaceError, PlaceUnavailableError
from mailhaul.proto.structs import replace
from mailhaul.tests.contract.putting import Pattern
from mailhaul.worker.destinations.command import CommandPlace
from mailhaul.worker.destinations.settings import CommandDestination

NAME = "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.mha"
SIZE = 300_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "kept"
    path.mkdir()
    return path


def sh(script: str, *words: str) -> tuple[str, ...]:
    return ("sh", "-c", script, "program", *words)


def settings(root: Path, **changes: object) -> CommandDestination:
    path = f"{root}/{{name}}"
    given = CommandDestination(
        name="elsewhere",
        put=sh('mkdir -p "${1%/*}" && cat > "$1"', path),
        get=("cat", path),
        stat=sh('if [ -e "$1" ]; then stat -c %s "$1"; fi', path),
        list=("find", str(root), "-type", "f", "-printf", "%s %P\\n"),
        remove=("rm", path),
        limit_seconds=20.0,
    )
    return replace(given, **changes)  # type: ignore[arg-type]


def place(root: Path, **changes: object) -> CommandPlace:
    return CommandPlace(settings(root, **changes))


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_file_has_a_seal_beside_it(root: Path) -> None:
    copy = place(root).put(NAME, Pattern(SIZE))
    assert files(root) == [NAME, f"{NAME}.b3"]
    assert (root / f"{NAME}.b3").read_text() == f"{SIZE:020} {copy.checksum.hex()}\n"
    assert place(root).stat(NAME) == copy
    place(root).remove(NAME)
    assert files(root) == []


@pytest.mark.parametrize("missing", ["stat", "list"])
def test_one_of_stat_and_list_is_enough(root: Path, missing: str) -> None:
    kept = place(root, **{missing: ()})
    copy = kept.put(NAME, Pattern(SIZE))
    assert kept.stat(NAME) == copy
    assert kept.stat("other") is None
    if missing == "list":
        with pytest.raises(PlaceError, match="no program that lists"):
            list(kept.list())


def test_without_a_seal_it_is_none(root: Path) -> None:
    kept = place(root)
    kept.put(NAME, Pattern(SIZE))
    for seal in (b"", b"0" * 85, b"0" * 86, b"%020d %s\n" % (SIZE + 1, b"0" * 64)):
        (root / f"{NAME}.b3").write_bytes(seal)
        assert kept.stat(NAME) is None
    (root / f"{NAME}.b3").unlink()
    assert list(kept.list()) == []
    (root / NAME).write_bytes(b"half of something else")
    kept.put(NAME, Pattern(SIZE))
    assert (root / NAME).read_bytes() == Pattern(SIZE).read_at(0, SIZE)


@pytest.mark.parametrize(
    "script",
    ['head -c 1000 > "$1"; cat > /dev/null', 'cat > /dev/null; : > "$1"', 'cat "$0" - > "$1" 2> /dev/null'],
    ids=["half", "nothing", "something before it"],
)
def test_a_program_that_only_says_that_all_is_well(root: Path, script: str) -> None:
    (root / "primary" / "user").mkdir(parents=True)
    script = script.replace('"$0"', "/etc/hostname")
    kept = place(root, put=sh(script, f"{root}/{{name}}"))
    with pytest.raises(PlaceUnavailableError, match="is not what was put"):
        kept.put(NAME, Pattern(SIZE))
    assert kept.stat(NAME) is None
    assert list(kept.list()) == []
    assert place(root).put(NAME, Pattern(SIZE)).size_bytes == SIZE


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo no room >&2; exit 3", r"exit status 3, and said: no room"),
        ("cat > /dev/null; echo quota; exit 1", r"exit status 1, and said: quota"),
        ("exit 0", r"it ended before it had read all"),
        ("kill -9 $$", r"signal 9"),
        (r"printf 'a\033[31mb\n' >&2; exit 1", r"said: a\?\[31mb$"),
    ],
)
def test_what_a_program_says_is_told(root: Path, script: str, words: str) -> None:
    kept = place(root, put=sh(script))
    with pytest.raises(PlaceUnavailableError, match=rf"^elsewhere: can't put {NAME}: .*{words}"):
        kept.put(NAME, Pattern(5 << 20))
    assert kept.stat(NAME) is None


def test_only_the_end_of_much_is_told(root: Path) -> None:
    kept = place(root, get=sh("seq 1 200000 >&2; exit 1"))
    with pytest.raises(PlaceUnavailableError) as raised:
        kept.put(NAME, Pattern(SIZE))
    assert raised.value.message.endswith("199999\n200000")
    assert len(raised.value.message) < 3000


@pytest.mark.parametrize("what", ["put", "get"])
def test_one_that_hangs_is_ended_with_what_it_started(root: Path, tmp_path: Path, what: str) -> None:
    pid = tmp_path / "pid"
    hangs = sh('sleep 60 & echo $! > "$1"; wait', str(pid))
    begun = time.monotonic()
    with pytest.raises(PlaceUnavailableError, match=r"nothing went through for 2 seconds"):
        place(root, limit_seconds=2, **{what: hangs}).put(NAME, Pattern(5 << 20))
    assert time.monotonic() - begun < 20
    until = time.monotonic() + 10
    while _runs(int(pid.read_text())):
        assert time.monotonic() < until
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_that_is_slow_may_take_its_time(root: Path) -> None:
    (root / "primary" / "user").mkdir(parents=True)
    slow = sh(
        'case "$1" in *.b3) cat;; *) for n in 1 2 3 4; do head -c 75000; sleep 0.4; done;; esac > "$1"',
        f"{root}/{{name}}",
    )
    assert place(root, put=slow, limit_seconds=1.5).put(NAME, Pattern(SIZE)).size_bytes == SIZE


def test_one_that_is_not_there(root: Path) -> None:
    with pytest.raises(PlaceError, match="/no/such: No such file"):
        place(root, put=("/no/such", "{name}")).put(NAME, Pattern(SIZE))
    (root / "plain").write_text("")
    with pytest.raises(AccessError, match="Permission denied"):
        place(root, put=(str(root / "plain"),)).put(NAME, Pattern(SIZE))


def test_no_shell_is_started(root: Path, tmp_path: Path) -> None:
    words = place(root, put=("echo", f"$(touch {tmp_path}/x); touch {tmp_path}/y", "{name}"))
    with pytest.raises(PlaceUnavailableError):
        words.put(NAME, Pattern(5 << 20))
    assert not {"x", "y"} & set(os.listdir(tmp_path))


def test_what_changed_there_is_told(root: Path) -> None:
    kept = place(root)
    kept.put(NAME, Pattern(SIZE))
    (root / NAME).write_bytes(Pattern(SIZE, b"other").read_at(0, SIZE))
    with pytest.raises(ExistsError):
        kept.put(NAME, Pattern(SIZE))
    (root / NAME).write_bytes(b"short")
    assert kept.stat(NAME) is None


def test_one_that_brings_less_than_there_was(root: Path) -> None:
    place(root).put(NAME, Pattern(SIZE))
    path = f"{root}/{{name}}"
    half: Callable[[str], CommandPlace] = lambda end: place(  # noqa: E731
        root, get=sh(f'case "$1" in *.b3) cat "$1";; *) head -c 1000 "$1"; {end};; esac', path)
    )
    with closing(half("exit 0").open(NAME)) as file:
        with pytest.raises(DamagedError, match=f"ends at 1000, not at {SIZE}"):
            file.read_at(500, 1000)
    with closing(half("echo lost >&2; exit 7").open(NAME)) as file:
        with pytest.raises(PlaceUnavailableError, match="exit status 7, and said: lost"):
            file.read_at(500, 1000)
        assert file.read_at(500, 100) == Pattern(SIZE).read_at(500, 100)


@pytest.mark.parametrize("said", ["many", "-1", "1.5"])
def test_a_size_that_is_none(root: Path, said: str) -> None:
    with pytest.raises(PlaceError, match=r"the size of .* was to be printed, not"):
        place(root, stat=("echo", said)).stat(NAME)


def test_nothing_is_removed_without_a_program(root: Path) -> None:
    kept = place(root, remove=())
    kept.put(NAME, Pattern(SIZE))
    with pytest.raises(PlaceError, match="no program that removes"):
        kept.remove(NAME)
    kept.remove("other")
    with pytest.raises(PlaceUnavailableError, match="was not removed"):
        place(root, remove=("true",)).remove(NAME)


def test_seals_are_none_of_the_files(root: Path) -> None:
    kept = place(root)
    with pytest.raises(AccessError):
        kept.put("name.b3", Pattern(SIZE))
    kept.put("name", Pattern(SIZE))
    assert [copy.name for copy in kept.list()] == ["name"]
    assert [copy.name for copy in kept.list("na;me")] == []
