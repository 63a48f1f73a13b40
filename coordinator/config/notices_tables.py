"""The tables of ``[notices]``, as pydantic checks them."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

from ..notices.records import EVENTS, Event
from ..notices.settings import Tls
from .tables import Name, Program, Seconds, Table, Text

_ADDRESS = re.compile(r"[0-9A-Za-z.!#$%&'*+/=?^_`{|}~-]+@[0-9A-Za-z](?:[0-9A-Za-z.-]*[0-9A-Za-z])?", re.ASCII)
_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)
_A_PROGRAM = "a program and its arguments, a list of strings such as ['/usr/local/bin/page', '--urgent']"


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text) or ".." in text or len(text) > 254:
        raise ValueError("no mail address")
    return text


def _server(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if colon and not (host and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise ValueError("no HOST:PORT")
    return text


def _digest(text: str) -> str:
    if text != "off" and not _TIME.fullmatch(text):
        raise ValueError("no time of the day")
    return text


_Addresses = Annotated[list[Annotated[str, AfterValidator(_address)]], Field(min_length=1)]


class ReceiverTable(Table):
    name: Name | None = Field(default=None, description="a name such as 'pager'")
    mail: _Addresses | None = Field(
        default=None, description="a list of addresses such as 'jane@example.org'"
    )
    command: Program | None = Field(default=None, description=_A_PROGRAM)
    webhook: Text | None = Field(default=None, description="a file with a URL")
    secret_file: Text | None = Field(default=None, description="a file")
    ca_file: Text | None = Field(default=None, description="a file")
    limit: Seconds | None = Field(default=None, description="a time such as '30s'")
    events: list[Literal[Event, "all"]] | None = Field(
        default=None, description=f"a list of some of {', '.join(EVENTS)}, or ['all']"
    )


class SwitchTable(Table):
    url_file: Text | None = Field(default=None, description="a file")
    method: Literal["GET", "POST"] | None = Field(default=None, description="'GET' or 'POST'")
    ca_file: Text | None = Field(default=None, description="a file")
    file: Text | None = Field(default=None, description="a file")
    limit: Seconds | None = Field(default=None, description="a time such as '30s'")


class NoticesTable(Table):
    site: Name | None = Field(default=None, description="a name such as 'backup01'")
    sender: Annotated[str, AfterValidator(_address)] | None = Field(
        default=None, description="a mail address such as 'mailhaul@example.org'"
    )
    server: Annotated[Text, AfterValidator(_server)] | None = Field(
        default=None, description="a mail server such as 'localhost' or 'mail.example.org:587'"
    )
    tls: Tls | None = Field(default=None, description=f"one of {', '.join(get_args(Tls))}")
    ca_file: Text | None = Field(default=None, description="a file")
    user: Text | None = Field(default=None, description="the name of a user of the mail server")
    password_file: Text | None = Field(default=None, description="a file")
    digest: Annotated[str, AfterValidator(_digest)] | None = Field(
        default=None, description="a time of the day such as '07:00', or 'off'"
    )
    space_days: Annotated[int, Field(ge=1, le=365)] | None = Field(
        default=None, description="a whole number of days from 1 to 365"
    )
    to: list[ReceiverTable] = Field(default=[], description="[[notices.to]] tables")
    switch: SwitchTable = Field(default=SwitchTable(), description="a [notices.switch] table")
