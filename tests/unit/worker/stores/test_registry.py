"""Which adapter belongs to which partition."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhaul.proto.errors import ConfigError, StoreError
from mailhaul.proto.records import Partition
from mailhaul.proto.structs import replace
from mailhaul.worker.stores.registry import open_store, open_target

from ....maildirs import Maildir, copy_mail


def test_a_store_and_a_target(tmp_path: Path) -> None:
    Maildir(tmp_path / "old" / "jane" / "Maildir").message("1.host")
    old = Partition(name="p", format="maildir", path=f"{tmp_path}/old")
    assert copy_mail(open_store(old), open_target(replace(old, path=f"{tmp_path}/new/{{user}}"))) == []
    assert (tmp_path / "new" / "jane" / "cur" / "1.host").exists()


@pytest.mark.parametrize("change", [{"format": "mdbox"}, {"path": "/srv/{user}/{host}"}])
def test_partitions_that_cannot_be(change: dict[str, str]) -> None:
    partition = replace(Partition(name="p", format="maildir", path="/srv"), **change)  # type: ignore[arg-type]
    for make in (open_store, open_target):
        with pytest.raises(ConfigError):
            make(partition)


def test_nothing_is_looked_at_before_it_is_asked_for(tmp_path: Path) -> None:
    partition = Partition(name="p", format="maildir", path=f"{tmp_path}/missing")
    store = open_store(partition)
    open_target(partition)
    assert not (tmp_path / "missing").exists()
    with pytest.raises(StoreError):
        store.users()
