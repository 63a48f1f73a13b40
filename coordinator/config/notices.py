"""``[notices]``: from the table of the file to records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...proto.errors import ConfigError
from ..notices.settings import (
    ALL,
    CommandReceiver,
    MailReceiver,
    MailServer,
    NoticesConfig,
    Receiver,
    SwitchConfig,
    WebhookReceiver,
)
from .notices_tables import NoticesTable, ReceiverTable
from .problems import wrong_value
from .tables import Table, with_paths

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def notices(path: Path, table: NoticesTable) -> NoticesConfig:
    """What is configured of notices. Raises ConfigError."""
    given: dict[str, Any] = {}
    if table.site is not None:
        given["site"] = table.site
    if table.space_days is not None:
        given["space_days"] = table.space_days
    if table.digest is not None:
        hours, _, minutes = table.digest.partition(":")
        given["digest_at"] = None if table.digest == "off" else int(hours) * 60 + int(minutes)
    switch = with_paths(path, _limited(table.switch), "url_file", "ca_file", "file")
    return NoticesConfig(receivers=_receivers(path, table), switch=SwitchConfig(**switch), **given)


def _receivers(path: Path, table: NoticesTable) -> tuple[Receiver, ...]:
    server = _mail_server(path, table)
    found: dict[str, Receiver] = {}
    for index, receiver_table in enumerate(table.to):
        for receiver in _expanded(path, f"notices.to[{index}]", receiver_table, server):
            if receiver.name in found:
                expected = "a receiver that is not in another table"
                raise wrong_value(path, f"notices.to[{index}]", receiver.name, expected)
            found[receiver.name] = receiver
    return tuple(found.values())


def _expanded(path: Path, key: str, table: ReceiverTable, server: MailServer | None) -> Iterator[Receiver]:
    """The receivers of a table: each address is one, so that each gets what it can get."""
    ways = [name for name in ("mail", "command", "webhook") if getattr(table, name) is not None]
    if len(ways) != 1:
        raise _misses(path, key, "expected one of mail, command, webhook" + (", not several" if ways else ""))
    allowed = {
        "mail": {"name"},
        "command": {"limit"},
        "webhook": {"limit", "secret_file", "ca_file"},
    }
    for name in sorted(table.model_fields_set - {"name", "events", ways[0]} - allowed[ways[0]]):
        raise _misses(path, f"{key}.{name}", f"not beside {ways[0]}")
    given = with_paths(path, _limited(table), "webhook", "secret_file", "ca_file")
    names = ("limit_seconds", "secret_file", "ca_file")
    kept: dict[str, Any] = {name: given[name] for name in names if name in given}
    if table.events is not None:
        kept["events"] = ALL if "all" in table.events else frozenset(table.events)
    if table.mail is not None:
        if server is None:
            raise _misses(path, "notices.sender", f"is missing: expected a mail address, as {key} gets mail")
        for address in table.mail:
            yield MailReceiver(name=address, server=server, **kept)
        return
    if table.name is None:
        raise _misses(path, f"{key}.name", "is missing: expected a name such as 'pager'")
    if table.command is not None:
        yield CommandReceiver(name=table.name, command=table.command, **kept)
    if table.webhook is not None:
        yield WebhookReceiver(name=table.name, url_file=given["webhook"], **kept)


def _mail_server(path: Path, table: NoticesTable) -> MailServer | None:
    if table.sender is None:
        return None
    given: dict[str, Any] = {"sender": table.sender}
    if table.server is not None:
        host, _, port = table.server.rpartition(":")
        given["host"] = (host or table.server).strip("[]")
        if host:
            given["port"] = int(port)
    names = ("tls", "ca_file", "user", "password_file")
    given |= with_paths(
        path,
        {name: value for name, value in table.given().items() if name in names},
        "ca_file",
        "password_file",
    )
    server = MailServer(**({"port": 465} if table.tls == "implicit" else {}) | given)
    if bool(server.user) != (server.password_file is not None):
        raise _misses(path, "notices.user", "and notices.password_file belong together")
    if server.user and server.tls == "none" and server.host not in _LOOPBACK:
        raise wrong_value(path, "notices.tls", "none", "'starttls' or 'implicit', as a password is sent")
    return server


def _limited(table: Table) -> dict[str, Any]:
    given = table.given()
    if "limit" in given:
        given["limit_seconds"] = given.pop("limit")
    return given


def _misses(path: Path, key: str, what: str) -> ConfigError:
    return ConfigError(f"{path}: {key} {what}", file=str(path), keys=[key])
