"""kill -9 of whoever delivers notices, before any of its steps: everybody gets everything, and what comes
twice can be told by its key."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC
from itertools import count
from pathlib import Path

from mailhaul.coordinator.clock import SystemClock, utc
from mailhaul.coordinator.notices import webhook
from mailhaul.coordinator.notices.delivery import Deliverer, deliver_now
from mailhaul.coordinator.notices.raising import over, raise_notice
from mailhaul.coordinator.notices.receivers import channels
from mailhaul.coordinator.notices.records import Notice
from mailhaul.coordinator.notices.settings import ALL, NoticesConfig, WebhookReceiver
from mailhaul.coordinator.service import notices
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.tests.faults.killed import Steps, killed_at
from mailhaul.tests.integration.servers.web_sink import web_sink

STEPS: Steps = ((notices, "writing"), (webhook, "send"))
"""Each begins with one of them: a change of the record, or a letter that goes out."""

CAUSES = ("a", "b", "c")


def test_before_each_step(tmp_path: Path) -> None:
    clock = SystemClock()
    with web_sink() as sink:
        url = tmp_path / "url"
        url.write_text(f"http://127.0.0.1:{sink.port}/x\n")
        url.chmod(0o600)
        config = NoticesConfig(receivers=(WebhookReceiver(name="chat", url_file=url, events=ALL),))

        def work() -> None:
            now = utc(clock.now())
            for cause in CAUSES:
                raise_notice(staging, Notice(event="failed", cause=cause, subject=cause), now)
            over(staging, "a", now)
            ways = channels(config.receivers, "host", {}, clock.now)
            deliver_now(Deliverer(staging, config, "backup01", UTC, clock, ways), staging, 30)

        killed = 0
        for step in count(1):
            staging = tmp_path / str(step)
            sink.requests.clear()
            was_killed = killed_at(step, STEPS, work)
            work()
            got = [json.loads(body) for _, _, _, body in sink.requests]
            assert {(one["cause"], one["kind"]) for one in got} >= {("a", "over"), ("b", "new"), ("c", "new")}
            keys = Counter(one["key"] for one in got)
            assert sum(keys.values()) - len(keys) <= 1, "at most what was on the way came twice"
            assert len({(one["cause"], one["kind"]) for one in got}) == len(keys)
            (standing,) = NoticeRecord(staging).channels()
            assert standing.waiting == 0
            killed += was_killed
            if not was_killed:
                break
        assert killed > 8
