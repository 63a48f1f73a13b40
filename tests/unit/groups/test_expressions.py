"""Expressions over user ids: what they match, what is told of wrong ones, how long it takes."""

from __future__ import annotations

import pickle
import string
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.groups.expressions import compile_expression, compile_wildcards
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
    compiled = compile_expression(expression)
    return [text for text in candidates if compiled.matches(text)]


class TestErrors:
    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            ("(", "missing )"),
            ("[", "missing ]"),
            ("x\\", "trailing \\"),
            ("[z-a]", "invalid character class range: z-a"),
            ("[[:alpa:]]", "invalid character class range: [:alpa:]"),
            ("[:alpha:]+", "write [[:alpha:]]"),
            ("x[:^digit:]", "write [[:^digit:]]"),
            ("x{1001}", "invalid repetition size"),
            ("(?=a)b", "RE2 does not have look-ahead and look-behind, such as (?="),
            ("(?!a)b", "look-ahead"),
            ("(?<=a)b", "look-behind"),
            ("(?<!a)b", "look-behind"),
            (r"(a)\1", r"references to what a group matched, such as \1"),
            ("(?P<n>a)(?P=n)", "references to what a group matched, such as (?P"),
            ("a++", "possessive repetition"),
            ("(?>a)", "atomic groups"),
            ("(a)(?(1)b|c)", "conditions"),
            ("(?#note)a", "comments"),
            (r"a\Z", r"write \z"),
            (r"\u00e4", r"write \x{10FFFF} for a character by its number"),
        ],
    )
    def test_what_is_wrong_is_told(self, expression: str, expected: str) -> None:
        with pytest.raises(ConfigError) as caught:
            compile_expression(expression)
        assert caught.value.message.startswith(f"expected a regular expression, found {expression!r}: ")
        assert expected in caught.value.message
        assert caught.value.facts["value"] == expression

    @given(st.text("[]:^-.=\\alph()|*+?&~", max_size=20))
    def test_any_expression_compiles_or_is_refused(self, expression: str) -> None:
        with suppress(ConfigError):
            compile_expression(expression).matches("a")

    def test_nothing_is_written_to_stderr(self, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(ConfigError):
            compile_expression("(?=a)")
        assert capfd.readouterr() == ("", "")

    def test_an_expression_that_would_take_much_memory_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"too large|repetition"):
            compile_expression("(((a{100}){100}){100}){100}")

    def test_deep_nesting_ends(self) -> None:
        with suppress(ConfigError):
            compile_expression("(" * 100_000 + "x" + ")" * 100_000).matches("x")


class TestLinearTime:
    @pytest.mark.parametrize(
        "expression", ["(a+)+", "(a|aa)+", "((a|b)*|(a|c)*)*d", "(.*)*(.*)*x", "(a?){500}a{500}b"]
    )
    def test_no_expression_stalls(self, expression: str) -> None:
        compiled = compile_expression(expression)
        began = time.process_time()
        assert not compiled.matches("a" * 100_000 + "!")
        assert time.process_time() - began < 10  # one that backtracks takes longer than anybody lives

    def test_no_wildcards_stall(self) -> None:
        compiled = compile_wildcards("*a" * 50 + "*b")
        began = time.process_time()
        assert not compiled.matches("a" * 100_000)
        assert time.process_time() - began < 10


class TestTexts:
    def test_the_whole_text_must_match(self) -> None:
        assert matched("jane|joe", "jane", "joe", "janet", "ajoe", "jane\n") == ["jane", "joe"]

    def test_letters_of_all_languages(self) -> None:
        assert matched(r"\pL+", "jäne", "иван", "j9") == ["jäne", "иван"]
        assert matched(r"\w+", "jane_9", "jäne") == ["jane_9"]
        assert matched("(?i)JÄNE", "jäne") == ["jäne"]

    def test_bytes_that_are_no_text_are_characters_like_others(self) -> None:
        assert matched(".", "\udcff", "\udcff\udcfe", "\ud800") == ["\udcff", "\ud800"]
        assert matched("[a-z]+", "a\udcff") == []
        wildcards = compile_wildcards("a\udcff?")
        assert [text for text in ("a\udcffx", "a\udcfex", "a\udcff") if wildcards.matches(text)] == [
            "a\udcffx"
        ]

    def test_wildcards_match_any_character(self) -> None:
        compiled = compile_wildcards("a.[b]*c?")
        assert [text for text in ("a.[b]c\n", "a.[b]\n/cc", "axbccc") if compiled.matches(text)] == [
            "a.[b]c\n",
            "a.[b]\n/cc",
        ]

    def test_expressions_travel_to_other_processes(self) -> None:
        compiled = compile_expression("[[:alpha:]]+")
        copy = pickle.loads(pickle.dumps(compiled))
        assert copy == compiled
        assert (copy.matches("jane"), copy.matches("7")) == (True, False)


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
            ("[[.]", "[.x", "[."),
            ("[^[:^digit:]]", "7a", "7"),
        ],
    )
    def test_signs_in_sets(self, expression: str, candidates: str, expected: str) -> None:
        assert "".join(matched(expression, *candidates)) == expected

    def test_classes_and_all_else_together(self) -> None:
        users = ("jane.doe", "j9", "Jane", "9j")
        assert matched("[[:lower:]]+(\\.[[:lower:]]+)?|[[:alpha:]][[:digit:]]", *users) == ["jane.doe", "j9"]
