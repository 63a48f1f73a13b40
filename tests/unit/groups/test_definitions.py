"""backup-groups.conf: its lines, its expressions, its errors."""

from __future__ import annotations

import pickle

import pytest

from mailhaul.groups.definitions import parse_definitions
from mailhaul.proto.errors import ConfigError


def refusal(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_definitions(text, "backup-groups.conf")
    return caught.value


class TestLines:
    def test_comments_blank_lines_and_blanks_do_not_count(self) -> None:
        groups = parse_definitions("# a comment\n\n  \t\n  # another\n  a = [a-l].* \r\nb=x=y#z\n", "f")
        assert [group.name for group in groups] == ["a", "b"]
        assert groups[0].matches("jane")
        assert not groups[0].matches("mary")
        assert groups[1].matches("x=y#z")

    def test_lines_of_one_name_add_up_in_the_order_of_first_lines(self) -> None:
        groups = parse_definitions("b=x\na=y\nb=z", "f")
        assert [group.name for group in groups] == ["b", "a"]
        assert [user for user in "xyz" if groups[0].matches(user)] == ["x", "z"]

    def test_the_whole_id_must_match_also_with_alternatives(self) -> None:
        (group,) = parse_definitions("a=jane|joe", "f")
        users = ("jane", "joe", "janet", "ajoe", "jane\n")
        assert [user for user in users if group.matches(user)] == ["jane", "joe"]

    def test_nothing_defines_nothing(self) -> None:
        assert parse_definitions("", "f") == ()

    def test_definitions_travel_to_other_processes(self) -> None:
        groups = parse_definitions("a=[[:alpha:]]+", "f")
        assert pickle.loads(pickle.dumps(groups)) == groups

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("no equals sign", "expected name=regex"),
            ("=x", "expected at most 100 letters"),
            ("two words=x", "expected at most 100 letters"),
            ("../x=x", "expected at most 100 letters"),
            ("-x=x", "beginning with a letter or digit"),
            ("ä=x", "expected at most 100 letters"),
            ("a" * 101 + "=x", "expected at most 100 letters"),
            ("user=x", "predefined"),
            ("a=", "expected a regular expression"),
            ("a=(", "expected a regular expression, found '('"),
            ("a=[a-", "missing ]"),
            ("a=[:alpha:]+", "write [[:alpha:]]"),
        ],
    )
    def test_a_wrong_line_is_named(self, line: str, expected: str) -> None:
        error = refusal(f"# one\ngood=x\n{line}\n")
        assert error.message.startswith("backup-groups.conf, line 3: ")
        assert expected in error.message
        assert (error.facts["file"], error.facts["line"]) == ("backup-groups.conf", 3)
