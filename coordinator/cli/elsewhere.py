"""Commands that are given on another host of the cluster, and are about the coordinator's operations."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ...proto.errors import UsageError
from ...proto.structs import Record
from ...proto.wire.keys import is_name
from ..serving.host_requests import HostAsk, HostReply
from ..settings import StagingConfig
from .keys import RECEIVER

_PAIR = ".key_secret"

Command = TypeVar("Command", bound=Callable[..., Any])


class Coordinator(Record):
    """The coordinator on another host: the ``address`` of its receiver, and the directory of keys here."""

    address: str
    keys: Path

    def ask(self, question: HostAsk) -> HostReply:
        """Its answer. Raises as ``serving.asking.ask``, and UsageError if this host's keys are not known."""
        from ..serving.asking import ask  # with ZeroMQ

        return ask(self.address, self.keys, _this_host(self.keys), question)


def coordinator_option(command: Command) -> Command:
    """``--coordinator ADDRESS`` and ``--keys DIR``: the command gets ``coordinator``, None where it is about
    a staging area of this host."""

    def chosen(context: click.Context, _option: click.Parameter, address: str | None) -> Coordinator | None:
        keys = context.params.pop("keys_directory", None)
        return Coordinator(address, keys or StagingConfig(path=Path()).keys) if address else None

    keys = click.option(
        "--keys",
        "keys_directory",
        type=click.Path(path_type=Path),
        metavar="DIR",
        is_eager=True,
        help="With --coordinator: the directory of this host's key. Default: /etc/mailhaul/keys.",
    )
    address = click.option(
        "--coordinator",
        envvar="MAILHAUL_COORDINATOR",
        metavar="ADDRESS",
        callback=chosen,
        help="Ask the coordinator on another host, by its receiver: tcp://HOST:PORT (staging.address there), "
        "with the key of this host. Default: the environment variable MAILHAUL_COORDINATOR, if it is set.",
    )
    return keys(address(command))


def _this_host(keys: Path) -> str:
    """The name of this host's pair of keys: the only one here, or the one that the host is called by."""
    names = [
        name
        for file in sorted(keys.glob(f"*{_PAIR}"))
        if is_name(name := file.name.removesuffix(_PAIR)) and name != RECEIVER
    ]
    if len(names) == 1:
        return names[0]
    called = socket.gethostname()
    for name in (called, called.partition(".")[0]):
        if name in names:
            return name
    there = f"there are {', '.join(names)}" if names else "there is none"
    raise UsageError(f"{keys}: which key is that of this host ({called}): {there}")
