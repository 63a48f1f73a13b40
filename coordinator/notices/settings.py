"""Who hears of what, and how it gets there."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ...proto.structs import Record, field
from .records import EVENTS, URGENT, Event

Tls = Literal["starttls", "implicit", "none"]

USUAL: frozenset[Event] = URGENT | {"digest"}
"""What a receiver gets that names no events."""

ALL: frozenset[Event] = frozenset(EVENTS)


class MailServer(Record, kw_only=True):
    """The server that takes mail, and who it is ``sender`` of. Its certificate is checked against ``ca_file``
    (None: the authorities that this machine trusts). With a ``user`` there is a log-in, with the password in
    ``password_file``."""

    sender: str
    host: str = "localhost"
    port: int = 25
    tls: Tls = "starttls"
    ca_file: Path | None = None
    user: str = ""
    password_file: Path | None = None
    limit_seconds: float = 60.0


class MailReceiver(Record, kw_only=True):
    """Somebody with a mail address, which is the ``name`` too."""

    name: str
    server: MailServer
    events: frozenset[Event] = USUAL


class CommandReceiver(Record, kw_only=True):
    """A program that is called, without a shell: the saying is JSON on its standard input."""

    name: str
    command: tuple[str, ...]
    limit_seconds: float = 60.0
    events: frozenset[Event] = USUAL


class WebhookReceiver(Record, kw_only=True):
    """A URL that gets each saying by POST, as JSON: see ``addresses`` for its ``url_file``. ``secret_file``
    holds the key that signs what it gets."""

    name: str
    url_file: Path
    secret_file: Path | None = None
    ca_file: Path | None = None
    limit_seconds: float = 30.0
    events: frozenset[Event] = USUAL


Receiver = MailReceiver | CommandReceiver | WebhookReceiver


class SwitchConfig(Record, kw_only=True):
    """The switch that a good night works: the URL in ``url_file`` (see ``addresses``) is asked by this
    ``method``, and ``file`` is touched; None: there is none."""

    url_file: Path | None = None
    method: Literal["GET", "POST"] = "GET"
    ca_file: Path | None = None
    file: Path | None = None
    limit_seconds: float = 30.0

    @property
    def is_there(self) -> bool:
        """Whether there is any."""
        return self.url_file is not None or self.file is not None


class NoticesConfig(Record, kw_only=True):
    """``site`` stands in subjects (empty: the name of this host). The digest is made at so many minutes after
    midnight (None: never). Space is short where it will be used up within ``space_days``."""

    site: str = ""
    receivers: tuple[Receiver, ...] = ()
    digest_at: int | None = 7 * 60
    space_days: int = 7
    switch: SwitchConfig = field(default_factory=SwitchConfig)
