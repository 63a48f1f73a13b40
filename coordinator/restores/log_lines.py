"""Who is at the mail server now, as lines of its log tell: whoever logs in, and whoever gets mail.

Lines of Dovecot 2.3 and 2.4, with whatever syslog has put before them; or names of users, one a line.
"""

from __future__ import annotations

import re

_LOGIN = re.compile(
    r"(?:imap|pop3|submission|managesieve)-login: (?:Info: )?(?:Login|Logged in): user=<([^>]+)>"
)
_DELIVERY = re.compile(
    r"(?:lmtp|lda)\((?:\d+, )?([^(),\s]+)\)\S*: (?:Info: )?.*(?:saved mail to|stored mail into)"
)
_NAME = re.compile(r"\S+")
_LONGEST = 4096


def user_in(line: str) -> str | None:
    """The user that a line tells of; None if it tells of nobody."""
    line = line[:_LONGEST].strip()
    if _NAME.fullmatch(line):
        return line
    found = _LOGIN.search(line) or _DELIVERY.search(line)
    return found[1] if found else None
