"""Logical paths: reading, printing, matching."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailhaul.groups.paths import LogicalPath, message_path, printable
from mailhaul.proto.errors import UsageError
from mailhaul.proto.structs import replace

FILE_NAMES = st.binary(min_size=1).map(lambda name: name.decode("utf-8", "surrogateescape"))
TEXTS = st.one_of(
    st.text(min_size=1),
    FILE_NAMES,
    st.text("/.;%UID=NAME0123456789\n\x7f", min_size=1),
    st.integers(0, 10**12).map(str),
)


@st.composite
def logical_paths(draw: st.DrawFn) -> LogicalPath:
    kind = draw(st.integers(0, 6))
    partition, group, user, folder = (draw(TEXTS) if level < kind else None for level in range(4))
    path = LogicalPath(partition, group, user, folder)
    if kind == 5:
        return replace(path, uid=draw(st.integers(1, 2**32 - 1)), explicit=draw(st.booleans()))
    if kind == 6:
        return replace(path, name=draw(st.binary(min_size=1)))
    return path


class TestParse:
    @pytest.mark.parametrize(
        ("text", "path"),
        [
            ("/", LogicalPath()),
            ("/primary", LogicalPath("primary")),
            ("/primary/", LogicalPath("primary")),
            ("/primary/groupA", LogicalPath("primary", "groupA")),
            ("/primary/user/jane", LogicalPath("primary", "user", "jane")),
            ("/primary/user/example.org%2Fjane/", LogicalPath("primary", "user", "example.org/jane")),
            ("/primary/user/jane/INBOX", LogicalPath("primary", "user", "jane", "INBOX")),
            ("/p/g/u/INBOX/12", LogicalPath("p", "g", "u", "INBOX", 12)),
            ("/p/g/u/INBOX/;UID=12", LogicalPath("p", "g", "u", "INBOX", 12, explicit=True)),
            ("/p/g/u/INBOX/;uid=12", LogicalPath("p", "g", "u", "INBOX", 12, explicit=True)),
            ("/p/g/u/INBOX/;NAME=1700.M1%3A2", LogicalPath("p", "g", "u", "INBOX", name=b"1700.M1:2")),
            ("/p/g/u/INBOX/;NAME=%FF%2f", LogicalPath("p", "g", "u", "INBOX", name=b"\xff/")),
            ("/p/g/u/Archive/2024/", LogicalPath("p", "g", "u", "Archive/2024")),
            ("/p/g/u/Archive/2024/7", LogicalPath("p", "g", "u", "Archive/2024", 7)),
            ("/p/g/u/Archive/%32024", LogicalPath("p", "g", "u", "Archive/2024")),
            ("/p/g/u/Archive/007", LogicalPath("p", "g", "u", "Archive/007")),
            ("/p/g/u/Archive/12345678901", LogicalPath("p", "g", "u", "Archive/12345678901")),
            ("/p/g/u/Archive/٣", LogicalPath("p", "g", "u", "Archive/٣")),
            ("/p/g/u/2024", LogicalPath("p", "g", "u", "2024")),
            ("/p/g/%2E%2e", LogicalPath("p", "g", "..")),
            ("/p/g/;UID=1", LogicalPath("p", "g", ";UID=1")),
        ],
    )
    def test_reads_each_form(self, text: str, path: LogicalPath) -> None:
        assert LogicalPath.parse(text) == path

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "starts with '/'"),
            ("primary/user", "starts with '/'"),
            ("//", "empty"),
            ("/p//u", "empty"),
            ("/p/g/u/a//b", "empty"),
            ("/p/g/u/INBOX//", "empty"),
            ("/p/../u", "can't be '..'"),
            ("/p/g/u/./b", "can't be '.'"),
            ("/p/g/50%", "%25"),
            ("/p/g/u/a%zz", "%25"),
            ("/p/g/u/;UID=5", "after a folder"),
            ("/p/g/u/INBOX/;UID=5/", "stand last"),
            ("/p/g/u/INBOX/;UID=5/6", "stand last"),
            ("/p/g/u/INBOX/;UID=5/;UID=6", "stand last"),
            ("/p/g/u/INBOX/;UID=", "whole number"),
            ("/p/g/u/INBOX/;UID=0", "whole number"),
            ("/p/g/u/INBOX/;UID=+5", "whole number"),
            ("/p/g/u/INBOX/;NAME=", "name of a message"),
        ],
    )
    def test_refuses_with_a_reason(self, text: str, reason: str) -> None:
        with pytest.raises(UsageError) as caught:
            LogicalPath.parse(text)
        assert reason in caught.value.message

    def test_shows_a_refused_path_without_control_characters(self) -> None:
        with pytest.raises(UsageError) as caught:
            LogicalPath.parse("x\x1b[2J\n")
        assert caught.value.message.isprintable()


class TestPrint:
    @given(logical_paths())
    @example(LogicalPath("p", "g", "u", "Archive/2024"))
    @example(LogicalPath("p", "g", "u", "a//b/"))
    @example(LogicalPath("p", "g", "u", "/"))
    @example(LogicalPath("p", "g", "u", ";UID=1/;NAME=x"))
    @example(LogicalPath("p", "g", "u", "a\0b/../."))
    def test_parse_reads_back_what_is_printed(self, path: LogicalPath) -> None:
        text = str(path)
        assert LogicalPath.parse(text) == path
        assert text.isprintable()

    @given(logical_paths())
    def test_printing_is_canonical(self, path: LogicalPath) -> None:
        assert str(LogicalPath.parse(str(path))) == str(path)

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            (LogicalPath(), "/"),
            (LogicalPath("p", "g", "example.org/jane"), "/p/g/example.org%2Fjane"),
            (LogicalPath("p", "g", "jane@example.org"), "/p/g/jane@example.org"),
            (LogicalPath("p", "g", "a%b\nc"), "/p/g/a%25b%0Ac"),
            (LogicalPath("p", "g", "caf\udce9"), "/p/g/caf%E9"),
            (LogicalPath("p", "g", "café"), "/p/g/café"),
            (LogicalPath("p", "g", "a\u202eb"), "/p/g/a%E2%80%AEb"),
            (LogicalPath("p", "g", ".."), "/p/g/%2E%2E"),
            (LogicalPath("p", "g", "u", "Archive/2024 Q1"), "/p/g/u/Archive/2024 Q1"),
            (LogicalPath("p", "g", "u", "Archive/2024"), "/p/g/u/Archive/2024/"),
            (LogicalPath("p", "g", "u", "2024"), "/p/g/u/2024"),
        ],
    )
    def test_canonical_form(self, path: LogicalPath, text: str) -> None:
        assert str(path) == text

    def test_a_lone_surrogate_is_shown_all_the_same(self) -> None:
        assert str(LogicalPath("p", "g", "\ud800")) == "/p/g/%ED%A0%80"

    def test_message_paths(self) -> None:
        assert message_path("p", "g", "u", "INBOX", 7) == "/p/g/u/INBOX/7"
        assert message_path("p", "g", "u", "INBOX", 7, ambiguous=True) == "/p/g/u/INBOX/;UID=7"
        assert message_path("p", "g", "u", "INBOX", b"1.M\xff/") == "/p/g/u/INBOX/;NAME=1.M%FF%2F"

    def test_other_files_are_shown_with_plain_slashes(self) -> None:
        assert printable(b"sieve/caf\xe9 100%\x1b.sieve") == "sieve/caf%E9 100%25%1B.sieve"


class TestConstructor:
    @pytest.mark.parametrize(
        "levels",
        [
            {"group": "g"},
            {"partition": "p", "user": "u"},
            {"partition": ""},
            {"partition": "p", "group": "g", "user": "u", "folder": ""},
            {"partition": "p", "group": "g", "user": "u", "uid": 1},
            {"partition": "p", "group": "g", "user": "u", "folder": "f", "uid": 0},
            {"partition": "p", "group": "g", "user": "u", "folder": "f", "uid": -1},
            {"partition": "p", "group": "g", "user": "u", "folder": "f", "name": b""},
            {"partition": "p", "group": "g", "user": "u", "folder": "f", "uid": 1, "name": b"x"},
            {"partition": "p", "explicit": True},
        ],
    )
    def test_refuses_what_no_text_can_say(self, levels: dict[str, str]) -> None:
        with pytest.raises(UsageError):
            LogicalPath(**levels)  # type: ignore[arg-type]


class TestResolve:
    PATH = LogicalPath.parse("/p/g/u/Archive/2024")

    def test_prefers_the_folder_of_that_name(self) -> None:
        assert self.PATH.resolve({"Archive", "Archive/2024"}) == LogicalPath("p", "g", "u", "Archive/2024")

    def test_a_folder_below_proves_it_too(self) -> None:
        assert self.PATH.resolve(["Archive/2024/Q1"]).folder == "Archive/2024"

    def test_otherwise_it_is_a_message(self) -> None:
        assert self.PATH.resolve({"Archive", "Archive/20240"}) == self.PATH

    @pytest.mark.parametrize("text", ["/p/g/u/Archive/;UID=2024", "/p/g/u/Archive/2024/", "/p/g/u", "/"])
    def test_leaves_what_is_certain(self, text: str) -> None:
        path = LogicalPath.parse(text)
        assert path.resolve({"Archive", "Archive/2024"}) == path


class TestSelection:
    def test_everything(self) -> None:
        path = LogicalPath()
        assert path.selects_partition("p")
        assert path.selects_group("g")
        assert path.selects_user("u")
        assert path.selects_folder("f")
        assert path.selects_message(0, b"x")

    def test_one_of_each_level(self) -> None:
        path = LogicalPath.parse("/p/g/u/Archive")
        assert path.selects_partition("p")
        assert not path.selects_partition("q")
        assert path.selects_group("g")
        assert not path.selects_group("user")
        assert path.selects_user("u")
        assert not path.selects_user("v")
        assert [name for name in ("Archive", "Archive/2024", "Archived") if path.selects_folder(name)] == [
            "Archive",
            "Archive/2024",
        ]

    def test_the_group_user_holds_everybody(self) -> None:
        assert LogicalPath.parse("/p/user").selects_group("groupA")

    def test_messages(self) -> None:
        by_uid, by_name = LogicalPath.parse("/p/g/u/f/5"), LogicalPath.parse("/p/g/u/f/;NAME=x")
        assert by_uid.selects_message(5, b"x")
        assert not by_uid.selects_message(6, b"x")
        assert by_name.selects_message(5, b"x")
        assert not by_name.selects_message(5, b"y")
        assert by_uid.selects_folder("f")
        assert not by_uid.selects_folder("f/below")

    @pytest.mark.parametrize(
        ("outer", "inner"),
        [
            ("/", "/"),
            ("/p", "/p/g/u"),
            ("/p/user", "/p/groupA/u"),
            ("/p/user", "/p"),
            ("/p/user/u", "/p/groupA/u/f/1"),
            ("/p/g/u/Archive", "/p/g/u/Archive/2024/9"),
            ("/p/g/u/f/9", "/p/g/u/f/;UID=9"),
            ("/p/g/u/f/;NAME=x", "/p/g/u/f/;NAME=x"),
        ],
    )
    def test_covers(self, outer: str, inner: str) -> None:
        assert LogicalPath.parse(outer).covers(LogicalPath.parse(inner))

    @pytest.mark.parametrize(
        ("outer", "inner"),
        [
            ("/p", "/"),
            ("/p", "/q"),
            ("/p/g", "/p/user"),
            ("/p/user/u", "/p/user"),
            ("/p/g/u", "/p/g/v"),
            ("/p/g/u/f", "/p/g/u"),
            ("/p/g/u/f", "/p/g/u/fg"),
            ("/p/g/u/f/9", "/p/g/u/f/"),
            ("/p/g/u/f/9", "/p/g/u/f/8"),
            ("/p/g/u/f/9", "/p/g/u/f/x/9"),
        ],
    )
    def test_does_not_cover(self, outer: str, inner: str) -> None:
        assert not LogicalPath.parse(outer).covers(LogicalPath.parse(inner))

    @given(logical_paths())
    def test_every_path_covers_itself_and_is_covered_by_everything(self, path: LogicalPath) -> None:
        assert path.covers(path)
        assert LogicalPath().covers(path)
