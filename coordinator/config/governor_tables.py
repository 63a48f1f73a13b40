"""The tables of ``[governor]``, as pydantic checks them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from ...worker.stores.address import parse_address
from .tables import Seconds, Table, Text

_MILLISECONDS = re.compile(r"([0-9]{1,6}) ?ms")
_TARGET = "a time such as '150ms' or '2s'"


def _target_seconds(text: object) -> float:
    found = _MILLISECONDS.fullmatch(text) if isinstance(text, str) else None
    whole = re.fullmatch(r"([0-9]{1,3}) ?s", text) if isinstance(text, str) else None
    seconds = int(found[1]) / 1000 if found else int(whole[1]) if whole else 0
    if seconds <= 0:
        raise ValueError("no whole number with ms or s")
    return seconds


def _address(text: str) -> str:
    if not text.startswith(("imap://", "imaps://")):
        raise ValueError("no imap:// or imaps://")
    parse_address(text)
    return text


class GovernorHostTable(Table):
    target: Annotated[float, BeforeValidator(_target_seconds)] | None = Field(
        default=None, description=_TARGET
    )
    window: Annotated[Seconds, Field(ge=10, le=3600)] | None = Field(
        default=None, description="a time from 10s to 1h, such as '60s'"
    )
    floor: Annotated[float, Field(ge=0.02, le=1)] | None = Field(
        default=None, description="a number from 0.02 to 1"
    )
    blind: Annotated[float, Field(ge=0.02, le=1)] | None = Field(
        default=None, description="a number from 0.02 to 1"
    )
    server: Annotated[Text, AfterValidator(_address)] | None = Field(
        default=None, description="imap://HOST[:PORT] or imaps://HOST[:PORT]"
    )
    user: Text | None = Field(default=None, description="the name of a user of the mail server")
    password_file: Text | None = Field(default=None, description="a file")
    ca_file: Text | None = Field(default=None, description="a file")


class GovernorTable(GovernorHostTable):
    host: dict[str, GovernorHostTable] = Field(
        default={}, description="a table [governor.host.NAME] for each mail host"
    )
