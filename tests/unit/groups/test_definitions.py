"""backup-groups.conf: its lines, its expressions, its errors."""

from __future__ import annotations

import pickle
import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.groups.definitions import compile_expression, parse_definitions
from mailhaul.proto.errors import ConfigError

ASCII = [chr(code) for code in range(128)]
MEMBERS = {
    "alnum": {char for char in ASCII if char.isalnum()},
    "alpha": {char for char in ASCII if char.isalpha()},
    "blank": set(" \t"),
    "cntrl": {char for char in ASCII if not char.isprintable()},
    "digit": {char for char in ASCII if char.isdigit()},
    "graph": {char for char in ASCII if char.isprintable() and not char.isspace()},
    "lower": {char for char in ASCII if char.islower()},
    "print": {char for char in ASCII if char.isprintable()},
    "punct": set(string.punctuation),
    "space": set(string.whitespace),
    "upper": {char for char in ASCII if char.isupper()},
    "xdigit": set(string.hexdigits),
}
LITERALS = "ab79_.@^&~|[\\] \t\n+,!"


def matched(expression: str, *candidates: str) -> list[str]:
    pattern = compile_expression(expression)
    return [text for text in candidates if pattern.fullmatch(text)]


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
            ("a=[a-", "not closed"),
            ("a=[", "not closed"),
            ("a=x\\", "bad escape"),
            ("a=[z-a]", "bad character range"),
            ("a=[[:alpa:]]", "[:alpa:] is no class; there are alnum, alpha"),
            ("a=[[:^alpha:]]", "[:^alpha:] is no class"),
            ("a=[:alpha:]+", "write [[:alpha:]]"),
            ("a=[[.hyphen.]]", "collating"),
            ("a=[[=a=]]", "collating"),
            ("a=(a+)+", "repeats a repetition"),
            ("a=(?:[[:alpha:]]*)*x", "repeats a repetition"),
            ("a=(.+)*", "repeats a repetition"),
            ("a=x{99999999999999}", "found 'x{99999999999999}'"),
            pytest.param("a=" + "(" * 5000 + "x" + ")" * 5000, "expected a regular", id="nested"),
        ],
    )
    def test_a_wrong_line_is_named(self, line: str, expected: str) -> None:
        error = refusal(f"# one\ngood=x\n{line}\n")
        assert error.message.startswith("backup-groups.conf, line 3: ")
        assert expected in error.message
        assert (error.facts["file"], error.facts["line"]) == ("backup-groups.conf", 3)

    def test_repetitions_that_something_separates_are_allowed(self) -> None:
        assert matched(r"([a-z]+\.)*[a-z]+", "a.b.c", "a..b") == ["a.b.c"]


class TestPosixClasses:
    @pytest.mark.parametrize("name", MEMBERS)
    def test_each_class_holds_what_str_says(self, name: str) -> None:
        assert set(matched(f"[[:{name}:]]", *ASCII)) == MEMBERS[name]
        assert set(matched(f"[^[:{name}:]]", *ASCII)) == set(ASCII) - MEMBERS[name]

    @given(
        classes=st.lists(st.sampled_from(sorted(MEMBERS)), max_size=3),
        literals=st.text(LITERALS, max_size=6),
        negated=st.booleans(),
        classes_first=st.booleans(),
    )
    def test_mixed_sets(self, classes: list[str], literals: str, negated: bool, classes_first: bool) -> None:
        signs = "".join("\\" + char if char in "\\]^" else char for char in literals)
        names = "".join(f"[:{name}:]" for name in classes)
        if not names + signs:
            return
        wanted = set(literals).union(*(MEMBERS[name] for name in classes))
        parts = names + signs if classes_first else signs + names
        found = set(matched(f"[{'^' * negated}{parts}]", *ASCII))
        assert found == (set(ASCII) - wanted if negated else wanted)

    @pytest.mark.parametrize(
        ("expression", "candidates", "expected"),
        [
            ("[]abc]", "]ab[c", "]abc"),
            ("[^]abc]", "]abxc", "x"),
            ("[^[:digit:]_]", "7_x-", "x-"),
            ("[[:digit:]-]", "7-x", "7-"),
            ("[-[:digit:]]", "7-x", "7-"),
            ("[[:upper:]-z]", "Aa-z", "A-z"),
            ("[a-c-e]", "abcd-e", "abc-e"),
            ("[+--]", "+,-.*", "+,-"),
            ("[--/]", ",-./0", "-./"),
            ("[]-a]", "\\]^_`ab", "]^_`a"),
            ("[[a]", "[a]", "[a"),
            ("[a&&b||c~~d]", "a&b|c~d-", "a&b|c~d"),
            (r"[\w.]", "a_7.-", "a_7."),
            (r"[\]x]", "]x\\", "]x"),
            (r"[\x41-\x43]", "ABCD", "ABC"),
            (r"\[", "[a", "["),
            ("[[.][.]x]", "[.", ""),
        ],
    )
    def test_signs_in_sets(self, expression: str, candidates: str, expected: str) -> None:
        assert "".join(matched(expression, *candidates)) == expected

    def test_classes_and_all_else_together(self) -> None:
        users = ("jane.doe", "j9", "Jane", "9j")
        assert matched("[[:lower:]]+(\\.[[:lower:]]+)?|[[:alpha:]][[:digit:]]", *users) == ["jane.doe", "j9"]

    @given(st.text("[]:^-.=\\alph()|*+?&~", max_size=20))
    def test_any_expression_compiles_or_is_refused(self, expression: str) -> None:
        # No other error may come, nor a warning of the compiler.
        with suppress(ConfigError):
            compile_expression(expression).fullmatch("a")
