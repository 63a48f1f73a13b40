"""Places that must not be each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhaul.coordinator.places import (
    on_same_device,
    refuse_other_store,
    refuse_staging_in_store,
    refuse_target,
)
from mailhaul.proto.errors import UsageError
from mailhaul.proto.records import Partition


def store(path: Path | str, hosts: tuple[str, ...] = ("localhost",)) -> Partition:
    return Partition(name="primary", format="maildir", path=str(path), hosts=hosts)


@pytest.mark.parametrize(
    ("path", "staging", "inside"),
    [
        ("mail", "mail/backup", True),
        ("mail", "mail", True),
        ("mail", "mail2", False),
        ("mail", "link/backup", True),
        ("mail/{user}/Maildir", "mail/backup", False),
        ("mail/{user}/Maildir", "mail/jane/Maildir/backup", True),
        ("mail/{domain}/{user}", "mail/example.org/jane", True),
        ("backup/mail", "backup", True),  # the other way round
        ("mail", "elsewhere", False),
    ],
)
def test_a_staging_area_inside_a_store(tmp_path: Path, path: str, staging: str, inside: bool) -> None:
    (tmp_path / "mail").mkdir()
    (tmp_path / "link").symlink_to("mail")
    refuse_staging_in_store([store(tmp_path / path, hosts=("elsewhere",))], tmp_path / staging)
    if not inside:
        refuse_staging_in_store([store(tmp_path / path)], tmp_path / staging)
        return
    with pytest.raises(UsageError, match="lies inside"):
        refuse_staging_in_store([store(tmp_path / path)], tmp_path / staging)


def test_a_staging_area_on_the_device_of_the_mail(tmp_path: Path) -> None:
    """Neither needs to be there yet; and a bind mount, or a link, is no other device."""
    (tmp_path / "link").symlink_to("mail")
    stores = [store(tmp_path / "mail"), store(tmp_path / "link" / "{user}", hosts=("elsewhere",))]
    assert on_same_device(stores, tmp_path / "not" / "yet") == ("primary",)
    assert on_same_device([store(Path("/proc"))], tmp_path) == ()
    assert on_same_device(stores, Path("/proc/self")) == ()


def test_two_stores_under_one_name(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    (tmp_path / "link").symlink_to("mail")
    known = [store(tmp_path / "mail")]
    refuse_other_store([store(tmp_path / "mail")], known)
    refuse_other_store([store(tmp_path / "link")], known)  # the same by another name
    refuse_other_store([store(tmp_path / "other")], [])
    for other in ("other", "mail/{user}"):
        with pytest.raises(UsageError, match="was backed up from"):
            refuse_other_store([store(tmp_path / other)], known)


def test_targets(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    (tmp_path / "staging").mkdir()
    (tmp_path / "link").symlink_to("mail")
    stores = [store(tmp_path / "mail")]
    refuse_target(store(tmp_path / "mail"), tmp_path / "staging", stores)
    refuse_target(store(tmp_path / "new"), tmp_path / "staging", stores)
    with pytest.raises(UsageError, match="inside the staging area"):
        refuse_target(store(tmp_path / "staging" / "x" / "{user}"), tmp_path / "staging", stores)
    with pytest.raises(UsageError, match="by another name"):
        refuse_target(store(tmp_path / "link" / "{user}"), tmp_path / "staging", stores)
