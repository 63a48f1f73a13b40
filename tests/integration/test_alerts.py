"""The alert rules over nights that really happened: what the command wrote for Prometheus after each of them
is shown to promtool as if a day lay between one and the next."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

from ..maildirs import Maildir

MAILHAUL = (sys.executable, "-m", "mailhaul")
# Root without the rights to pass over permissions: what is somebody else's is closed to it.
AS_OTHERS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
NOBODY = 65534
DAY = 24 * 3600
STEP = 600
USERS = ("anna", "ben", "cara")

Night = Mapping[str, float]
"""The value of each series after a run."""


@dataclass
class Nights:
    """A store of three mailboxes, and what each night told of it. The first night begins at 0."""

    place: Path
    rules: Path
    promtool: Path
    told: list[Night] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)

    def mailbox(self, user: str) -> Maildir:
        return Maildir(self.place / "mail" / user / "Maildir")

    def configure(self) -> None:
        (self.place / "mailhaul.toml").write_text(
            f"""
[staging]
path = "staging"

[[partition]]
name = "primary"
format = "maildir"
path = "{self.place}/mail/{{user}}/Maildir"
accept = ["accepted"]

[exclude]
folders = ["Junk*"]

[metrics]
textfile = "mailhaul.prom"
"""
        )

    def close(self, *users: str) -> None:
        for user in users:
            os.chown(self.mailbox(user).root, NOBODY, NOBODY)
            self.mailbox(user).root.chmod(0o700)

    def open(self, *users: str) -> None:
        for user in users:
            os.chown(self.mailbox(user).root, 0, 0)

    def night(self, status: int = 0) -> None:
        if self.ended:
            # Some times are told in whole seconds, and a night here may take less.
            time.sleep(max(0.0, math.floor(self.ended[-1]) + 1 - time.time()))
        done = subprocess.run(
            [*AS_OTHERS, *MAILHAUL, "backup"],
            cwd=self.place,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stderr
        text = (self.place / "mailhaul.prom").read_text()
        # How much room there is is a matter of the disk that the test runs on.
        self.told.append(
            {
                _series(sample.name, sample.labels): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if not sample.name.startswith("mailhaul_staging_")
            }
        )
        self.ended.append(max(value for name, value in self.told[-1].items() if "_timestamp_" in name))

    def firing(self, *hours: float) -> list[set[str]]:
        """The alerts that fire so many hours after the beginning of the first night."""
        series = [
            {"series": name, "values": " ".join(self._values(name))}
            for name in sorted({name for night in self.told for name in night})
        ]
        up = {"series": 'up{job="mailhaul"}', "values": f"1x{len(self.told) * DAY // STEP}"}
        found = []
        for hour in hours:
            # What promtool expects can't be left open: what it got stands in its complaint.
            asked = {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{round(hour * 60)}m",
                "exp_samples": [{"labels": '{alertname="none of them"}', "value": 1}],
            }
            document = {
                "rule_files": [str(self.rules)],
                "evaluation_interval": "5m",
                "tests": [
                    {"interval": f"{STEP}s", "input_series": [*series, up], "promql_expr_test": [asked]}
                ],
            }
            (self.place / "rules.test.yml").write_text(yaml.safe_dump(document))
            done = subprocess.run(
                [self.promtool, "test", "rules", "rules.test.yml"],
                cwd=self.place,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            (got,) = [line for line in (done.stdout + done.stderr).splitlines() if "got:" in line]
            found.append({part.partition('"')[0] for part in got.split('alertname="')[1:]})
        return found

    def _values(self, name: str) -> list[str]:
        steps = DAY // STEP - 1
        return [
            f"{self._value(name, night[name]):.0f}+0x{steps}" if name in night else f"_x{steps + 1}"
            for night in self.told
        ]

    def _value(self, name: str, value: float) -> float:
        """Times are those of the night in which they lie."""
        if "_timestamp_" not in name or not value:
            return value
        nights: Sequence[float] = [end for end in self.ended if end < value]
        return len(nights) * DAY + 1


def _series(name: str, labels: Mapping[str, str]) -> str:
    return f"{name}{{{','.join(f'{key}={json.dumps(value)}' for key, value in labels.items())}}}"


@pytest.fixture
def nights(root: Path, tmp_path: Path, require_tool: Callable[[str], Path]) -> Nights:
    if os.geteuid() != 0:
        pytest.skip("needs root, to take rights away from itself")
    require_tool("setpriv")
    found = Nights(tmp_path, root / "deploy" / "prometheus" / "mailhaul.rules.yml", require_tool("promtool"))
    found.configure()
    for user in USERS:
        for number in range(3):
            found.mailbox(user).message(f"{number}.{user}")
    return found


def test_one_mailbox_that_can_not_be_read(nights: Nights) -> None:
    """In one night, and in many: the first is a warning, the others are more."""
    nights.night()
    nights.close("ben")
    for _ in range(3):
        nights.night(3)
    nights.open("ben")
    nights.night()
    warned = {"MailhaulMailboxesBehind", "MailhaulSkipped"}
    assert nights.firing(12, 24 + 12, 48 + 12, 72 + 12, 96 + 12) == [
        set(),
        warned,
        warned,
        {*warned, "MailhaulMailboxesLongBehind"},
        set(),
    ]


def test_none_can_be_read(nights: Nights) -> None:
    """As with wrong rights: nothing of it counts as stored."""
    nights.night()
    nights.close(*USERS)
    for _ in range(3):
        nights.night(1)
    failed = {"MailhaulRunFailed", "MailhaulUnitsFailed", "MailhaulMailboxesBehind"}
    assert nights.firing(12, 24 + 1, 24 + 12, 72 + 12) == [
        set(),
        failed,
        {*failed, "MailhaulNoGoodBackup"},
        {*failed, "MailhaulNoGoodBackup", "MailhaulMailboxesLongBehind"},
    ]


def test_what_is_left_out_on_purpose_is_no_alert(nights: Nights) -> None:
    for number in range(3):
        nights.mailbox("anna").folder(f".Junk{number}").joinpath("cur", "1.junk").touch()
    (nights.place / "mail" / "accepted").mkdir()
    (nights.place / "mail" / "accepted" / "inbox").write_text("From jane Sat Nov 21\n\nx\n")
    for _ in range(4):
        nights.night()
    assert nights.firing(12, 72 + 12) == [set(), set()]


def test_a_mailbox_that_is_emptied(nights: Nights) -> None:
    nights.night()
    for message in nights.mailbox("cara").root.glob("cur/*"):
        message.unlink()
    nights.night(3)
    nights.night()
    before, then, after = nights.firing(12, 24 + 12, 48 + 12)
    assert (before, then, after) == (set(), {"MailhaulLooksLikeLoss"}, set())
