"""Templates of mailbox paths, in both directions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.errors import ConfigError, StoreError
from mailhaul.worker.stores.template import Template, is_template


def make(root: Path, *places: str) -> None:
    for place in places:
        (root / place / "cur").mkdir(parents=True)


def test_what_is_a_template() -> None:
    assert is_template("/srv/{user}")
    assert is_template("/srv/{domain[0]}/{user}/Maildir")
    assert not is_template("/srv/mail")
    assert not is_template("/srv/{users}")


@pytest.mark.parametrize(
    "path", ["/srv/{domain}/x", "/srv/{user[0]}", "/srv/{user}/{foo}", "/srv/{user}}", "/srv/{user}/../x"]
)
def test_a_template_that_is_none(path: str) -> None:
    with pytest.raises(ConfigError):
        Template(path)


@pytest.mark.parametrize(
    ("path", "user", "place", "has_home"),
    [
        ("/srv/{user}", "jane", b"/srv/jane", False),
        ("/srv/{user}/Maildir", "jane", b"/srv/jane/Maildir", True),
        ("/srv/{user}/Maildir", "jane@example.org", b"/srv/jane@example.org/Maildir", True),
        ("/srv/{domain}/{user}", "jane@example.org", b"/srv/example.org/jane", False),
        ("/srv/{domain}/{user}/mail/in/", "a@b@c.d", b"/srv/c.d/a@b/mail/in", True),
        ("/srv/{user[0]}/{user}", "jane", b"/srv/j/jane", False),
        ("/srv/{user[0]}/{user[1]}/{user}", "jane", b"/srv/j/a/jane", False),
        ("/srv/{user[0:2]}/{user}/Maildir", "jane", b"/srv/ja/jane/Maildir", True),
        ("/srv/{domain[0]}/{domain}/{user[0]}/{user}", "jane@ex.org", b"/srv/e/ex.org/j/jane", False),
        ("/srv/{domain[0]}/{user}", "jane@ex.org", b"/srv/e/jane@ex.org", False),
        ("/srv/u-{user}@{domain}", "jane@ex.org", b"/srv/u-jane@ex.org", False),
        ("/srv/{user}", "\udcff", b"/srv/\xff", False),
    ],
)
def test_from_user_to_place(path: str, user: str, place: bytes, has_home: bool) -> None:
    location = Template(path).locate(user)
    assert (location.path, location.has_home, location.place) == (place, has_home, b"")
    assert Template(path).lay_out(user, b"else/where") == location


@pytest.mark.parametrize(
    ("path", "user"),
    [
        ("/srv/{user}", ""), ("/srv/{user}", "."), ("/srv/{user}", ".."), ("/srv/{user}", "a/b"),
        ("/srv/{user}", "../b"), ("/srv/{user}", "a\0b"), ("/srv/{user}", "\ud800"),
        ("/srv/{domain}/{user}", "jane"), ("/srv/{domain}/{user}", "@ex.org"),
        ("/srv/{domain}/{user}", "jane@"), ("/srv/{domain}/{user}", "jane@.."),
        ("/srv/{domain}/{user}", "jane@a/b"), ("/srv/{user[3]}/{user}", "abc"),
        ("/srv/{domain[0]}/{user}", "jane"), ("/srv/{user[0:2]}/{user}", "..a"),
    ],
)  # fmt: skip
def test_users_that_can_have_no_mailbox(path: str, user: str) -> None:
    with pytest.raises(StoreError):
        Template(path).locate(user)


def test_users_are_found_and_sorted(tmp_path: Path) -> None:
    make(tmp_path, "ex.org/jane", "ex.org/bob", "b.net/jane", "b.net/with space")
    (tmp_path / "ex.org" / "nothing").mkdir()
    (tmp_path / "ex.org" / "file").write_text("")
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "lost+found" / ".mailhaul-restore-x" / "cur").mkdir(parents=True)
    make(tmp_path, "ex.org/.mailhaul-restore-1/tree", "ex.org/.mailhaul-restore-2")
    found = list(Template(f"{tmp_path}/{{domain}}/{{user}}").users())
    assert found == ["bob@ex.org", "jane@b.net", "jane@ex.org", "with space@b.net"]


def test_hashed_levels_must_be_those_of_the_user(tmp_path: Path) -> None:
    make(tmp_path, "j/ja/jane", "b/bo/bob", "x/ja/jane", "b/b/b")
    assert list(Template(f"{tmp_path}/{{user[0]}}/{{user[0:2]}}/{{user}}").users()) == ["b", "bob", "jane"]


def test_a_fixed_part_between_and_after(tmp_path: Path) -> None:
    make(tmp_path, "jane/mail/box", "bob/else/box")
    (tmp_path / "carol" / "mail").mkdir(parents=True)
    assert list(Template(f"{tmp_path}/{{user}}/mail/box").users()) == ["jane"]


def test_mailboxes_without_an_inbox_count(tmp_path: Path) -> None:
    make(tmp_path, "jane/.Sent", "bob/Archive")
    (tmp_path / "carol").mkdir()
    (tmp_path / "carol" / "dovecot-uidvalidity").write_text("")
    (tmp_path / "dave" / ".config").mkdir(parents=True)
    assert list(Template(f"{tmp_path}/{{user}}").users()) == ["bob", "carol", "jane"]


def test_links_inside_the_store_are_other_names_and_others_are_told(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "mail", tmp_path / "disk2"
    make(root, "jane")
    make(elsewhere, "bob")
    (root / "alias").symlink_to("jane")
    (root / "bob").symlink_to(elsewhere / "bob")
    (root / "gone").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    assert list(Template(f"{root}/{{user}}").users()) == ["bob", "jane"]


def test_links_above_the_placeholders_are_followed(tmp_path: Path) -> None:
    make(tmp_path / "disk", "jane")
    (tmp_path / "mail").symlink_to("disk")
    template = Template(f"{tmp_path}/mail/{{user}}")
    assert list(template.users()) == ["jane"]
    os.close(template.locate("jane").open())


def test_no_root_no_users(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="can't be listed"):
        Template(f"{tmp_path}/missing/{{user}}").users()


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=2, max_size=12),
    st.sampled_from(["{user}", "{user[0]}/{user}", "{user[0:2]}/x/{user}/Maildir", "u{user}"]),
)
def test_any_user_that_has_a_place_is_found_there(
    tmp_path_factory: pytest.TempPathFactory, user: str, pattern: str
) -> None:
    root = tmp_path_factory.mktemp("template")
    template = Template(f"{root}/{pattern}")
    try:
        location = template.locate(user)
        os.makedirs(location.path + b"/cur")
    except (StoreError, OSError):
        return
    if not any(name.startswith(b".mailhaul-restore-") for name in location.below):
        assert list(template.users()) == [user]
