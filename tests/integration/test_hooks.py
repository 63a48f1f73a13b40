"""Hooks: the programs of a site that are called before and after runs and restores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ..maildirs import Maildir

TELL = """\
import json, os, sys
facts = json.load(sys.stdin)
facts["environment"] = {key: value for key, value in os.environ.items() if key.startswith("MAILHAUL_")}
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(facts) + "\\n")
"""


class Site:
    """A store, a configuration with hooks, and the command in a process of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.staging = place / "staging"
        for user in ("anna", "ben"):
            Maildir(place / "store" / user).message("1.M1P1.host:2,S")
        (place / "tell.py").write_text(TELL)

    def tell(self) -> list[str]:
        """A hook that writes down what it was told."""
        return [sys.executable, str(self.place / "tell.py"), str(self.place / "told")]

    def told(self) -> list[dict[str, Any]]:
        path = self.place / "told"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def configure(self, **hooks: object) -> None:
        def value(given: object) -> str:
            if isinstance(given, dict):
                return "{" + ", ".join(f"{key} = {value(one)}" for key, one in given.items()) + "}"
            return json.dumps(given)

        (self.place / "groups").write_text("early=a.*\nlate=b.*\n")
        lines = "".join(f"{name} = {value(given)}\n" for name, given in hooks.items())
        (self.place / "mailhaul.toml").write_text(
            f'[staging]\npath = "staging"\n[[partition]]\nformat = "maildir"\npath = "{self.place}/store"\n'
            f'[groups]\nfile = "groups"\n[hooks]\n{lines}'
        )

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        command: list[str | Path] = [
            Path(sys.executable).with_name("mailhaul"),
            "--config",
            self.place / "mailhaul.toml",
        ]
        return subprocess.Popen(
            [*command, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.place,
            # What the tests themselves are told by the environment is no fact of a hook.
            env={key: value for key, value in os.environ.items() if not key.startswith("MAILHAUL_")},
        )

    def run(self, *words: str | Path, status: int = 0) -> tuple[str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        assert process.returncode == status, (process.returncode, out, err)
        return out, err

    def document(self, *words: str | Path, status: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", status=status)[0])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def shell(text: str) -> list[str]:
    return ["sh", "-c", text]


def test_hooks_are_told_the_facts(site: Site, tmp_path: Path) -> None:
    names = ("before_run", "after_unit", "after_run", "before_restore", "after_restore")
    site.configure(**dict.fromkeys(names, site.tell()))
    done = site.document("backup")
    told = site.told()
    assert [one["hook"] for one in told] == ["before_run", "after_unit", "after_unit", "after_run"]
    before, *units, after = told
    assert {one["run"] for one in told} == {done["run"]}
    assert before["paths"] == ["/"]
    assert before["environment"] == {
        "MAILHAUL_HOOK": "before_run",
        "MAILHAUL_RUN": done["run"],
        "MAILHAUL_STAGING": str(site.staging),
    }
    assert sorted(unit["file"] for unit in units) == sorted(done["archives"])
    assert {(one["partition"], one["group"], one["state"]) for one in units} == {
        ("primary", "early", "sealed"),
        ("primary", "late", "sealed"),
    }
    assert after["state"] == after["environment"]["MAILHAUL_STATE"] == "done"
    assert sorted(str(site.staging / archive) for archive in after["archives"]) == sorted(done["archives"])
    named = Path(after["manifest"]).read_text()  # it was there when the hook was called
    assert all(one in named for one in after["archives"])

    site.run("restore", "/primary/early", "--to", f"maildir:{tmp_path / 'restored'}")
    before, after = site.told()[4:]
    assert (before["hook"], before["paths"]) == ("before_restore", ["/primary/early"])
    assert (after["hook"], after["restored"], after["state"]) == ("after_restore", 1, "done")

    # Also where there is no staging area.
    site.run("backup", "-f", tmp_path / "a.mha", "/primary/early")
    before, after = site.told()[6:]
    assert (before["hook"], before["file"]) == ("before_run", str(tmp_path / "a.mha"))
    assert (after["hook"], after["state"]) == ("after_run", "done")


def test_a_hook_that_fails_before_stops_the_run(site: Site) -> None:
    site.configure(before_run=shell("echo the snapshot is not there; exit 7"), after_run=site.tell())
    failed = site.document("backup", status=1)["error"]
    assert failed["code"] == "hook"
    assert failed["message"] == "the hook before_run ended with 7: the snapshot is not there"
    assert site.told() == []
    assert not list(site.staging.glob("primary/*/*"))
    record = site.document("runs", "latest")
    assert (record["state"], record["error"]) == ("failed", failed["message"])
    assert [(hook["hook"], hook["output"]) for hook in record["failed_hooks"]] == [
        ("before_run", "the snapshot is not there\n")
    ]
    site.configure()
    site.document("backup")


def test_a_hook_that_fails_after_is_told_and_hides_nothing(site: Site) -> None:
    complains = shell("echo no tape; echo really; exit 1")
    site.configure(after_run=complains, after_unit=complains)
    done = site.document("backup", status=3)
    assert done["state"] == "done"
    assert done["messages"] == 2
    assert [trouble.partition(":")[0] for trouble in done["troubles"]] == [
        "the hook after_unit ended with 1",
        "the hook after_unit ended with 1",
        "the hook after_run ended with 1",
    ]
    out, _ = site.run("runs", "latest")
    assert "after_run (ended with 1) no tape; really" in out
    again, err = site.run("backup", status=3)
    assert "mailhaul: the hook after_run ended with 1: no tape" in err
    assert "done" in again


def test_a_hook_is_not_waited_for_beyond_its_limit(site: Site, tmp_path: Path) -> None:
    child = tmp_path / "child"
    slow = shell(f"sleep 300 & echo $! > {child}; echo waiting; sleep 300")
    site.configure(before_run={"command": slow, "limit": "1s"})
    began = time.monotonic()
    failed = site.document("backup", status=1)["error"]
    assert failed["message"] == "the hook before_run was ended after 1 s: waiting"
    assert time.monotonic() - began < 30
    assert not alive(int(child.read_text()))


def test_what_a_hook_leaves_behind_does_not_hold_anybody(site: Site, tmp_path: Path) -> None:
    child = tmp_path / "child"
    site.configure(before_run=shell(f"sleep 60 & echo $! > {child}"))
    began = time.monotonic()
    site.document("backup")
    assert time.monotonic() - began < 30
    os.kill(int(child.read_text()), signal.SIGKILL)


def test_after_run_is_called_however_the_run_ends(site: Site) -> None:
    site.configure(after_run=site.tell())
    site.document("backup", "/primary/early/nobody", status=1)
    (after,) = site.told()
    assert (after["hook"], after["state"]) == ("after_run", "failed")
    assert "nobody" in after["error"]


def test_ctrl_c_ends_the_hook_too(site: Site, tmp_path: Path) -> None:
    """Also a hook that does not listen."""
    child = tmp_path / "child"
    site.configure(before_run=shell(f"trap '' TERM; echo $$ > {child}; exec sleep 300"))
    process = site.start("backup")
    until = time.monotonic() + 60
    while not (child.exists() and child.read_text().strip()):
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not alive(int(child.read_text()))


def test_a_program_that_there_is_not(site: Site) -> None:
    site.configure(before_run=["/no/such/program"])
    failed = site.document("backup", status=1)["error"]
    assert failed["message"] == "the hook before_run can't be called: No such file or directory"


@pytest.mark.parametrize(
    ("hook", "key"),
    [
        ([], "hooks.before_run"),
        ("sh -c", "hooks.before_run"),
        ({"command": ["a"], "limit": "25:00"}, "limit"),
    ],
)
def test_wrong_settings_are_refused(site: Site, hook: object, key: str) -> None:
    site.configure(before_run=hook)
    failed = site.document("backup", status=2)["error"]
    assert failed["code"] == "config"
    assert key in failed["message"]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
