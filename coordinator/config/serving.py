"""``[serve]``: from the table of the file to a record."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from ..serving.settings import ServeConfig
from ..web.settings import PageConfig, ProxyConfig, split_address
from .tables import Name, Names, Seconds, Table, Text, distinct, with_paths


def _listen(address: str) -> str:
    split_address(address)
    return address


def _peer(peer: str) -> str:
    """An address as a socket gives it, or a user of this host."""
    if peer.startswith("unix:") and len(peer) > len("unix:"):
        return peer
    return str(ipaddress.ip_address(peer))


_HostName = Annotated[str, Field(pattern=r"^[0-9A-Za-z.:-]{1,253}$")]


class ProxyTable(Table):
    header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,99}$")] = Field(
        description="the name of a header such as 'X-Remote-User'"
    )
    peers: Annotated[
        tuple[Annotated[str, AfterValidator(_peer)], ...], BeforeValidator(distinct), Field(min_length=1)
    ] = Field(
        description="a list of addresses such as '192.0.2.1', or 'unix:www-data' for a user of this host"
    )


class ServeTable(Table):
    stop_grace: Seconds | None = Field(default=None, description="a time such as '90s' or '10m'")
    trusted_hosts: Names | None = Field(default=None, description="a list of the names of hosts")
    identities: Annotated[tuple[Text, ...], BeforeValidator(distinct)] | None = Field(
        default=None, description="a list of files with private keys"
    )
    passphrase_files: Annotated[tuple[Text, ...], BeforeValidator(distinct)] | None = Field(
        default=None, description="a list of files, each with a passphrase"
    )
    socket: Text | None = Field(default=None, description="a path for a Unix socket")
    socket_group: Name | None = Field(default=None, description="the name of a group of this host")
    listen: Annotated[str, AfterValidator(_listen)] | None = Field(
        default=None, description="ADDRESS:PORT such as '0.0.0.0:8443' or '[::]:8443'"
    )
    tls_cert: Text | None = Field(default=None, description="a file")
    tls_key: Text | None = Field(default=None, description="a file")
    names: Annotated[tuple[_HostName, ...], BeforeValidator(distinct)] | None = Field(
        default=None, description="a list of names such as 'backup.example.org'"
    )
    proxy: ProxyTable | None = Field(default=None, description="a table { header = ..., peers = [...] }")


def serving(path: Path, table: ServeTable) -> ServeConfig:
    """What is configured of ``mailhaul serve``."""
    given = with_paths(path, table.given(), "socket", "tls_cert", "tls_key")
    if proxy := given.pop("proxy", None):
        given["proxy"] = ProxyConfig(header=proxy.header, peers=proxy.peers)
    grace = {"stop_grace_seconds": given.pop("stop_grace")} if "stop_grace" in given else {}
    trusted = tuple(given.pop("trusted_hosts", None) or ())
    directory = path.absolute().parent
    identities, passphrase_files = (
        tuple(directory / file for file in given.pop(key, ())) for key in ("identities", "passphrase_files")
    )
    return ServeConfig(
        page=PageConfig(**given),
        trusted_hosts=trusted,
        identities=identities,
        passphrase_files=passphrase_files,
        **grace,
    )
