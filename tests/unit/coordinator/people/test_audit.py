"""The audit log: nothing of it changes unseen."""

from __future__ import annotations

import hashlib
import json
import random
import resource
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.people.audit import Act, AuditLog, check, is_about
from mailhaul.coordinator.service.audit_end import AuditEnd, AuditEnds
from mailhaul.proto.errors import DamagedError, StagingError

WHEN = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def act(number: int, **changes: object) -> Act:
    fields = {"when": WHEN, "who": "anna", "role": "viewer", "where": "192.0.2.7", "what": "look"}
    return Act(**{**fields, "on": f"/primary/staff/user{number}", "outcome": "done", **changes})  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    log = AuditLog(tmp_path)
    for number in range(9):
        log.append(act(number, facts={"number": number}))
    return log


def test_what_is_appended_is_there(log: AuditLog) -> None:
    assert [one["facts"]["number"] for one in log.acts()] == list(range(9))
    assert list(log.flaws()) == []
    check(log)
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_an_empty_log_is_whole(tmp_path: Path) -> None:
    check(AuditLog(tmp_path))
    assert list(AuditLog(tmp_path).acts()) == []


@pytest.mark.parametrize("place", range(8))
def test_a_line_that_is_gone_or_altered_is_seen(log: AuditLog, place: int) -> None:
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join(lines[:place] + lines[place + 1 :]))
    assert [flaw.line for flaw in log.flaws()] == [place + 1, 8]  # and its end is not where it was
    altered = lines[place].replace(b"anna", b"bert")
    log.path.write_bytes(b"".join([*lines[:place], altered, *lines[place + 1 :]]))
    assert [flaw.line for flaw in log.flaws()] == [place + 2]
    log.path.write_bytes(b"".join([*lines[:place], lines[place + 1], lines[place], *lines[place + 2 :]]))
    assert log.path.read_bytes() != b"".join(lines)
    assert list(log.flaws()) != []
    with pytest.raises(DamagedError, match="line"):
        check(log)


def test_it_goes_on_behind_a_line_that_a_crash_cut_off(log: AuditLog) -> None:
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + whole.splitlines()[-1][:-20])
    assert [flaw.line for flaw in log.flaws()] == [10]
    log.append(act(10))
    check(log)  # whoever wrote the next line has seen it so
    torn = log.path.read_bytes()
    log.path.write_bytes(torn.replace(b"user8", b"user9"))
    assert [flaw.line for flaw in log.flaws()] == [11]
    for place in (8, 9):  # the line that was cut off, or that before it, alone
        lines = torn.splitlines(keepends=True)
        lines[place] = lines[place].replace(b"user8", b"user9")
        log.path.write_bytes(b"".join(lines))
        assert [flaw.line for flaw in log.flaws()] == [11]
    log.path.write_bytes(torn + b"torn\ntorn")
    log.append(act(11))
    check(log)
    lines = log.path.read_bytes().splitlines(keepends=True)
    for place in (10, 11, 12):
        log.path.write_bytes(
            b"".join([*lines[:place], lines[place].replace(b"o", b"0"), *lines[place + 1 :]])
        )
        assert [flaw.line for flaw in log.flaws()] == [14], place
    log.path.write_bytes(torn)
    assert [one["on"] for one in log.acts()][-2:] == ["/primary/staff/user8", "/primary/staff/user10"]


@pytest.mark.parametrize("lines", [0, 1, 8])
def test_an_end_that_is_cut_off_is_seen_and_stays_so(log: AuditLog, lines: int) -> None:
    whole = log.path.read_bytes().splitlines(keepends=True)
    ended = log.end()
    assert ended == AuditEnd(len(b"".join(whole)), hashlib.sha256(whole[-1].rstrip(b"\n")).hexdigest())
    assert (log.is_cut, log.stood(ended)) == (False, True)
    log.path.write_bytes(b"".join(whole[:lines]))
    assert [flaw.line for flaw in log.flaws()] == [lines]  # 0: all of it
    assert (log.is_cut, log.stood(ended), log.newest(5, lambda _: True).is_cut) == (True, False, True)
    with pytest.raises(DamagedError, match=r"cut off|is gone"):
        check(log)
    for number in range(20, 40):  # whoever writes on does not hide it
        log.append(act(number))
    (flaw,) = log.flaws()
    assert flaw.line == lines + 1
    assert str(ended) in flaw.problem
    assert (log.is_cut, log.stood(ended)) == (False, False)
    assert [log.was_cut(WHEN + timedelta(seconds=late)) for late in (0, 1)] == [True, False]
    assert log.newest(100, lambda _: True).is_cut


def test_a_log_that_is_gone_is_missed(log: AuditLog) -> None:
    log.path.unlink()
    assert list(map(str, log.flaws())) == ["the log is gone"]
    log.append(act(1))
    assert [flaw.line for flaw in log.flaws()] == [1]


def test_what_a_crash_kept_from_being_noted_is_no_flaw(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise StagingError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(AuditEnds, "note", killed)
        with pytest.raises(StagingError):
            log.append(act(9))
    check(log)
    log.append(act(10))
    check(log)
    assert len(list(log.acts())) == 11


@pytest.mark.parametrize(
    "text", ["", ":", "1:", "x:" + "0" * 64, "1:" + "0" * 63, "1:" + "G" * 64, "-1:" + "0" * 64]
)
def test_what_is_no_end_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="BYTES:HASH"):
        AuditEnd.parse(text)


def test_whatever_stands_in_a_field_is_one_line(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    hostile = 'a\nb\r\u2028"\\\x00\x1b[31m\udc80' + "x" * 100_000
    log.append(
        act(1, who=hostile, why=hostile, on=hostile, facts={"subject": hostile, "list": [hostile] * 9})
    )
    log.append(act(2))
    check(log)
    assert len(log.path.read_bytes().split(b"\n")) == 3
    assert [one["on"] for one in log.acts()][1] == "/primary/staff/user2"


def test_of_what_is_too_long_the_whole_is_known_by_its_number_and_hash(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    paths = [f"/primary/staff/jane/Ordner ä {number}" for number in range(200)]
    with log.acting(act(1, on=" ".join(paths), facts={"arguments": paths, "kind": "restore"})) as found:
        found["operation"] = 12
    begun, done = log.acts()
    assert (begun["outcome"], done["outcome"]) == ("begun", "done")
    whole = json.dumps(paths, ensure_ascii=False, separators=(",", ":"))
    kept = begun["facts"]["arguments"]
    assert whole.startswith(kept["cut"])
    assert (kept["count"], kept["sha256"]) == (200, hashlib.sha256(whole.encode()).hexdigest())
    assert done["facts"] == {**begun["facts"], "operation": 12}
    assert begun["facts"]["kind"] == "restore"
    digest = hashlib.sha256(" ".join(paths).encode()).hexdigest()
    assert begun["on"].endswith(f"… ({len(' '.join(paths)):,} characters, SHA-256 {digest})")
    log.append(act(2, facts={str(number): "x" * 3000 for number in range(9)}))
    assert list(log.acts())[-1]["facts"]["count"] == 9
    check(log)


def test_many_write_at_the_same_time(tmp_path: Path) -> None:
    def write(base: int) -> None:
        for number in range(20):
            AuditLog(tmp_path).append(act(base + number))

    threads = [threading.Thread(target=write, args=(100 * one,)) for one in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(AuditLog(tmp_path))
    assert len(list(AuditLog(tmp_path).acts())) == 80


def test_what_can_not_be_written_down_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".mailhaul" / "audit.jsonl").mkdir(parents=True)
    with pytest.raises(StagingError, match="can't be written"):
        AuditLog(tmp_path).append(act(1))


def test_long_random_histories(tmp_path: Path) -> None:
    choose = random.Random(13)
    log = AuditLog(tmp_path)
    for number in range(60):
        log.append(
            act(
                number,
                why="w" * choose.randrange(3000),
                facts={str(i): "ü" * 50 for i in range(choose.randrange(9))},
            )
        )
    check(log)
    lines = log.path.read_bytes().splitlines()
    assert all(json.loads(line)["before"] for line in lines)


def test_the_newest_come_first_in_pages(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    assert log.newest(5, lambda _: True).acts == ()
    for number in range(300):
        who = "bert" if number % 3 else "anna"
        log.append(act(number, who=who, why="ü" * (number * 7 % 900), facts={"number": number}))
    whole = [one["facts"]["number"] for one in log.acts()]
    for wanted, expected in ((None, whole), ("anna", whole[::3])):
        seen: list[int] = []
        before: int | None = None
        while True:
            page = log.newest(17, lambda one, wanted=wanted: wanted in (None, one["who"]), before)  # type: ignore[misc]
            seen += [one["facts"]["number"] for one in page.acts]
            if page.older is None:
                break
            before = page.older
        assert seen == expected[::-1]
    assert len(log.newest(3, lambda _: True, 2**60).acts) == 3
    middle = log.newest(3, lambda _: True, 1000).acts
    assert [one["facts"]["number"] for one in middle] == sorted(
        (one["facts"]["number"] for one in middle), reverse=True
    )


def test_what_an_act_is_about() -> None:
    one = {"who": "anna", "on": "/primary/staff/jane/INBOX"}
    assert is_about(one, "", "")
    assert is_about(one, "anna", "/primary/staff/jane")
    assert not is_about(one, "bert", "")
    assert not is_about(one, "", "/primary/staff/jan")


def test_a_line_that_the_disk_took_in_part_is_none(log: AuditLog) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.path.stat().st_size + 50, limits[1]))
    try:
        with pytest.raises(StagingError):
            log.append(act(9))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log.append(act(10))
    assert list(log.flaws()) == []
    assert [one["on"][-1] for one in log.acts()][-2:] == ["8", "0"]
