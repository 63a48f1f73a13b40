"""A search that ends early and is gone on with finds what one finds that does not end."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from mailhaul.coordinator.browsing.search import Query
from mailhaul.coordinator.browsing.view import Findings, opened_view
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.records import RunId
from mailhaul.tests.maildirs import Maildir
from mailhaul.tests.stored_mailboxes import JANE, Nights, letter


def _change(jane: Maildir, choose: random.Random, night: int) -> None:
    """New mail, and some that goes, changes its flags, or its folder."""
    for number in range(7):
        folder = choose.choice(("", ".Projects"))
        jane.message(f"{night}{number}.a:2,", letter(f"letter {night}.{number}"), folder=folder)
    there = sorted(path for path in jane.root.rglob("cur/*") if path.is_file())
    for path in choose.sample(there, min(4, len(there))):
        match choose.randrange(3):
            case 0:
                path.unlink()
            case 1:
                path.rename(path.with_name(path.name.partition(":")[0] + ":2,F"))
            case 2:
                path.rename(jane.root / "cur" / path.name)


def test_in_parts_all_is_found_and_nothing_else(tmp_path: Path) -> None:
    choose = random.Random(7)
    nights = Nights(tmp_path)
    jane = nights.mailbox("jane@example.org")
    (jane.folder(".Projects") / "maildirfolder").touch()
    for night in range(5):
        _change(jane, choose, night)
        nights.back_up()
    path = LogicalPath.parse(JANE)

    with opened_view(nights.staging, (), "primary", "jane@example.org") as view:

        def find(before: RunId | None, goes_on: Callable[[], bool], *, deleted: bool) -> Findings:
            return view.find(
                path, Query(subject="letter"), 500, deleted=deleted, before=before, goes_on=goes_on
            )

        for deleted in (False, True):
            whole = find(None, lambda: True, deleted=deleted)
            assert whole.before is None
            assert len(whole.messages) > (1 if deleted else 20)
            parts = [find(None, lambda: False, deleted=deleted)]
            while (before := parts[-1].before) is not None:
                parts.append(find(before, lambda: False, deleted=deleted))
            assert len(parts) == 5
            told = [one for part in parts for one in part.messages]
            assert sorted((one.path, one.last, one.subject) for one in told) == sorted(
                (one.path, one.last, one.subject) for one in whole.messages
            )
            first = {(one.path, one.last): one.first for one in whole.messages}
            assert all(one.first >= first[one.path, one.last] for one in told)
