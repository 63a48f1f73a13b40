"""What Dovecot removes by itself, as its configuration says (``autoexpunge``), and what of the mail that is
to come that would be.

Dovecot counts the age from when a message was saved. A restored one is saved when it is restored, so it
stays for a whole period more; but programs that go by the time of arrival find it overdue at once. What is
beyond ``autoexpunge_max_mails`` goes when the user logs out next, whatever its age.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ...proto.structs import Mutable, field, replace
from ...proto.target_facts import ExpiryRule, ExpiryToll

_TIME = re.compile(r"(\d{1,9})\s*([a-z]*)")
_UNITS = (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_SETTING = re.compile(r"(?:mailbox_)?(autoexpunge|autoexpunge_max_mails)")


def rules_of(configuration: str) -> list[ExpiryRule]:
    """The rules that the output of ``doveconf -n`` names, by its order."""
    found: list[ExpiryRule] = []
    blocks = [_Block()]
    for line in configuration.splitlines():
        words = line.strip()
        if words.endswith("{"):
            kind, _, name = words[:-1].strip().partition(" ")
            blocks.append(_Block(kind, name.strip().strip('"')))
        elif words == "}" and len(blocks) > 1:
            block = blocks.pop()
            # What separates the levels of its folders' names stands behind them.
            found += [replace(rule, folder=rule.folder.replace(block.separator, "/")) for rule in block.rules]
            if block.kind == "mailbox":
                blocks[-1].rules.append(_rule(block.name, block.settings))
        else:
            key, equals, value = (part.strip() for part in words.partition("="))
            if equals and key == "separator" and value:
                blocks[-1].separator = value
            elif equals and (setting := _SETTING.fullmatch(key)):
                blocks[-1].settings[setting[1]] = value
    return [
        expiry_rule
        for expiry_rule in found
        if expiry_rule.seconds is not None or expiry_rule.most is not None
    ]


class _Block(Mutable):
    """A block of a configuration, and the rules of the mailboxes in it."""

    kind: str = ""
    name: str = ""
    separator: str = "/"
    settings: dict[str, str] = field(default_factory=dict)
    rules: list[ExpiryRule] = field(default_factory=list)


class Tolls:
    """Adds up what rules mean for folders, ``now`` being a time in seconds since 1970."""

    def __init__(self, rules: Sequence[ExpiryRule], now: float) -> None:
        self._rules = [(rule, _expression(rule.folder)) for rule in rules]
        self._now = now
        self._sums = {expiry_rule: [0, 0, 0] for expiry_rule in rules}

    def concern(self, folder: str) -> bool:
        """Whether a rule is about a folder of this name."""
        return any(expression.fullmatch(folder) for _, expression in self._rules)

    def add(self, folder: str, dates_ns: Sequence[int], there: int) -> None:
        """Messages with these times of arrival come into a folder, in which so many are ``there``."""
        for rule, expression in self._rules:
            if not expression.fullmatch(folder):
                continue
            sums = self._sums[rule]
            sums[0] += len(dates_ns)
            if rule.seconds is not None:
                oldest_ns = int((self._now - rule.seconds) * 1e9)
                sums[1] += sum(date < oldest_ns for date in dates_ns)
            if rule.most is not None:
                sums[2] += min(len(dates_ns), max(0, there + len(dates_ns) - rule.most))

    def all(self) -> tuple[ExpiryToll, ...]:
        """The sums by rule."""
        return tuple(
            ExpiryToll(rule=rule, messages=messages, due=due, beyond=beyond)
            for rule, (messages, due, beyond) in self._sums.items()
        )


def _rule(folder: str, settings: dict[str, str]) -> ExpiryRule:
    seconds = _seconds(settings.get("autoexpunge", ""))
    most = settings.get("autoexpunge_max_mails", "")
    return ExpiryRule(
        folder=folder, seconds=seconds, most=int(most) if most.isdigit() and int(most) else None
    )


def _seconds(text: str) -> int | None:
    """A time as Dovecot writes it (``30 days``, ``7d``, ``3600``); None for none, which is 0, too."""
    found = _TIME.fullmatch(text.strip().lower())
    if found is None:
        return None
    unit = next((seconds for letter, seconds in _UNITS if found[2].startswith(letter)), 1)
    return int(found[1]) * unit or None


def _expression(folder: str) -> re.Pattern[str]:
    """What a name with Dovecot's wildcards matches: ``*`` any letters, ``%`` those of one level."""
    return re.compile("".join(_parts(folder)), re.DOTALL)


def _parts(folder: str) -> Iterator[str]:
    for char in folder:
        yield {"*": ".*", "%": "[^/]*"}.get(char, re.escape(char))
