"""The schedule as its users see it: a process that serves, and the command beside it."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from mailhaul.coordinator.service.handled import HandledMoments
from mailhaul.coordinator.service.records import Handled

from .serving import Served, wait_until

SCHEDULE = """
[schedule]
zone = "Pacific/Chatham"
backup = "02:45"
full = "sun 02:45"
sweep = "0 */6 * * *"
"""


def test_what_was_missed_is_put_in_once_as_serve_starts_and_shown(tmp_path: Path) -> None:
    served = Served(tmp_path, SCHEDULE)
    (served.store / "anna" / "cur").mkdir(parents=True)
    long_ago = datetime.now(UTC) - timedelta(days=20)
    record = Handled(moment=long_ago, full=long_ago)
    HandledMoments(served.staging).begin({"backup": record, "gone": record}, [])

    before = served.run("schedule")
    (missed, *ahead) = before["next"]
    assert before["served"] is False
    assert (missed["kind"], missed["arguments"], missed["missed"]) == ("backup", ["--full"], True)
    assert not any(one["missed"] for one in ahead)
    with served.serving():
        shown = wait_until(lambda: (now := served.run("schedule"))["handled"] and now)
        assert shown["served"] is True
        (last,) = (one for one in shown["handled"] if one["entry"] == "backup")
        assert (last["moment"], last["passed_over"]) == (missed["moment"], "")
        assert {one["entry"] for one in shown["handled"]} == {"backup", "sweep"}
        done = subprocess.run(served.words("schedule"), capture_output=True, text=True, check=True)
        rows = done.stdout.split("entry   at")[1].splitlines()
        assert "none since" not in rows[1]  # what was missed was put in
        assert "none since" in rows[2]  # it has just come into the schedule
    with served.serving():  # nothing is put in for a second time
        pass
    operations = [one["request"] for one in served.run("schedule", "--count", "1")["under_way"]]
    assert [(operation["kind"], operation["arguments"], operation["due"]) for operation in operations] in (
        [],  # it has been carried out
        [("backup", ["--full"], missed["moment"])],
    )


def test_what_comes_next_is_told_in_the_zone(tmp_path: Path) -> None:
    served = Served(tmp_path, SCHEDULE)
    found = served.run("schedule", "--until", "+8d")["next"]
    zone = ZoneInfo("Pacific/Chatham")
    for one in found:
        moment = datetime.fromisoformat(one["moment"])
        local = moment.astimezone(zone)
        assert one["local"] == f"{local:%a %Y-%m-%d %H:%M} {local.isoformat()[-6:]}"
    backups = [one for one in found if one["kind"] == "backup"]
    assert len(backups) == 8
    assert [backup["arguments"] for backup in backups if backup["local"].startswith("Sun")] in (
        [["--full"]], [["--full"], ["--full"]],
    )  # fmt: skip
    assert all("02:45" in one["local"] for one in backups)
    assert len(found) - 8 == 8 * 4
    assert len(served.run("schedule", "--count", "3")["next"]) == 3

    done = subprocess.run(served.words("schedule"), capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("times of Pacific/Chatham\n")
    assert re.search(r"^\w{3} \d{4}-\d\d-\d\d 02:45 [+]1[23]:45 +backup", done.stdout, re.MULTILINE)
    assert re.search(
        r"^backup +02:45, sun 02:45 \(full\) +never +\d{4}-\d\d-\d\d 02:45$", done.stdout, re.MULTILINE
    )
    # What is due every six hours does not hide what comes in the night after the next.
    assert len(re.findall(r" sweep$", done.stdout, re.MULTILINE)) == 2
    assert len(re.findall(r" backup(?: --full)?$", done.stdout, re.MULTILINE)) == 2
    assert "nobody serves this staging area" in done.stderr
    wrong = subprocess.run(
        served.words("schedule", "--until", "soon"), capture_output=True, text=True, check=False
    )
    assert (wrong.returncode, "expected an ISO date or time" in wrong.stderr) == (2, True)


def test_without_a_schedule(tmp_path: Path) -> None:
    served = Served(tmp_path)
    done = subprocess.run(served.words("schedule"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (
        0,
        "there is no schedule: [schedule] of the configuration names no times\n",
    )
