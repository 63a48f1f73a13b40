"""Whose a mailbox is to look after that is in several groups, or was in one."""

from __future__ import annotations

from pathlib import Path

from mailhaul.coordinator.browsing.view import groups_of_mailbox
from mailhaul.coordinator.catalog import Catalog
from mailhaul.tests.catalogs import commit, unit


def test_a_mailbox_in_several_groups_is_for_those_who_look_after_any(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, write=True) as catalog:
        assert groups_of_mailbox(catalog, "primary", "jane") == frozenset()
        commit(catalog, 0, unit(0, "sales", users=("jane",)), unit(0, "staff", users=("jane",)))
        assert groups_of_mailbox(catalog, "primary", "jane") == {"sales", "staff"}
        # One of them is backed up more often.
        commit(catalog, 1, unit(1, "staff", users=("jane",)))
        assert groups_of_mailbox(catalog, "primary", "jane") == {"sales", "staff"}
        assert {group for group in ("sales", "staff", "hr") if catalog.users_like("jane", 9, {group})} == {
            "sales",
            "staff",
        }


def test_one_that_is_gone_is_for_those_who_looked_after_it_last(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, write=True) as catalog:
        commit(catalog, 0, unit(0, "sales", users=("jane",)))
        commit(catalog, 1, unit(1, "sales", departed=("jane",)))
        assert groups_of_mailbox(catalog, "primary", "jane") == {"sales"}
