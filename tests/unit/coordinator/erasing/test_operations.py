"""An erasure takes names out of the records of the queue, too, and what operations have printed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from mailhaul.coordinator.erasing.traces import unname_records
from mailhaul.coordinator.service.database import place
from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import Kind, Request
from mailhaul.coordinator.serving.files import carrying_out, file_of
from mailhaul.coordinator.serving.given_files import keep
from mailhaul.proto.erased import Erased, ErasedMailbox, digest_of
from mailhaul.proto.records import RunId

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LAST = RunId("20260301T020000Z-0000")
ERASED = Erased([ErasedMailbox(before=LAST, salt=b"s", digest=digest_of(b"s", "primary", "jane"))])


def add(queue: Operations, kind: Kind, *arguments: str, reason: str = "") -> int:
    return queue.add(Request(kind=kind, arguments=arguments, asked_by="page:anna", reason=reason), NOW).id


def test_names_go_from_the_queue_and_from_what_was_printed(tmp_path: Path) -> None:
    queue = Operations(tmp_path)
    done = add(queue, "restore", "/primary/user/jane/INBOX", "--into", "Back", reason="jane asked for it")
    waiting = add(queue, "undelete", "/primary/user/jane")
    other = add(queue, "restore", "/primary/user/john", reason="john asked for it")
    backup = add(queue, "backup", "/primary")
    assert queue.begin(done, 1, NOW)
    queue.end(done, "failed", NOW, error="/primary/user/jane/INBOX: no room")
    by_map = add(queue, "restore", "/primary/user/john", "--map", "/etc/map")
    keep(tmp_path, by_map, {"map_file": b"jane = joan\n"})
    other_map = add(queue, "restore", "/primary/user/john", "--map", "/etc/map")
    keep(tmp_path, other_map, {"map_file": b"john = joe\n"})
    for number, text in ((done, "x"), (other, "john"), (backup, "primary/user/0 of jane")):
        with carrying_out(tmp_path, number):
            file_of(tmp_path, number, "err").write_text(f"{text}\n")
    file_of(tmp_path, other, "out").write_text(json.dumps({"skipped": [{"path": "/primary/user/john/a"}]}))
    file_of(tmp_path, backup, "out").write_text(json.dumps({"skipped": [{"path": "/primary/user/jane/a"}]}))

    unname_records(tmp_path, ERASED, ["primary"], LAST)
    unname_records(tmp_path, ERASED, ["primary"], LAST)

    operation = queue.get(done)
    assert operation.request.arguments == ("/primary/user/(erased)", "--into", "Back")
    assert (operation.request.reason, operation.state) == ("(erased) asked for it", "failed")
    assert "jane" not in operation.error
    assert (queue.get(waiting).state, queue.get(waiting).attempts) == ("stopped", 0)
    assert not queue.begin(waiting, 2, NOW), "it does not begin"
    kept = queue.get(other)
    assert (kept.state, kept.request.reason) == ("waiting", "john asked for it")
    left = {one.name for one in file_of(tmp_path, 1, "x").parent.iterdir() if one.suffix != ".lock"}
    assert left == {f"{other}.err", f"{other}.out", f"{other_map}.given-map_file"}
    assert (queue.get(by_map).state, queue.get(other_map).state) == ("stopped", "waiting")
    for path in place(tmp_path).parent.rglob("*"):
        assert path.is_dir() or b"jane" not in path.read_bytes(), path


def test_where_there_is_no_queue_none_is_made(tmp_path: Path) -> None:
    (tmp_path / ".mailhaul").mkdir()
    unname_records(tmp_path, ERASED, ["primary"], LAST)
    assert not place(tmp_path).exists()
