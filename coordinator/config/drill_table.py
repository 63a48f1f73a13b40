"""The keys of ``[drill]``, as pydantic checks them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from .tables import Command, Count, Names, Seconds, Share, SizeBytes, Table, Text, distinct


class DrillTable(Table):
    mailboxes: Count | None = Field(default=None, description="a whole number from 1")
    random: Share | None = Field(default=None, description="a number from 0 to 1")
    older: Share | None = Field(default=None, description="a number from 0 to 1")
    largest_every: Seconds | None = Field(default=None, description="a time such as '7d'")
    time: Seconds | None = Field(default=None, description="a time such as '2h'")
    bytes: SizeBytes | None = Field(default=None, description="a size such as '50 GB'")
    scratch: Text | None = Field(default=None, description="a directory")
    scratch_space: SizeBytes | None = Field(default=None, description="a size such as '20 GB'")
    reserve: SizeBytes | None = Field(default=None, description="a size such as '2 GiB'")
    places: Names | None = Field(default=None, description="a list of the names of destinations")
    doveadm: Command | None = Field(
        default=None, description="a command, as one string or as a list of strings"
    )
    identities: Annotated[tuple[Text, ...], BeforeValidator(distinct)] | None = Field(
        default=None, description="a list of files with private keys"
    )
    passphrase_files: Annotated[tuple[Text, ...], BeforeValidator(distinct)] | None = Field(
        default=None, description="a list of files, each with a passphrase"
    )
