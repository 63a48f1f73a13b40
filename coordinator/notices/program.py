"""Notices by a program of the site: called as hooks are, without a shell."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Event

from ...proto.errors import DeliveryError
from ..hook_calls import run_hook
from .channels import Letter, said
from .settings import CommandReceiver
from .webhook import document


class ProgramChannel:
    """See ``Channel``. The program gets what a webhook gets, on its standard input, in this environment; it
    has taken it if it ends with 0."""

    def __init__(self, receiver: CommandReceiver, environment: Mapping[str, str]) -> None:
        self._receiver = receiver
        self._environment = environment

    def deliver(self, letter: Letter) -> str:
        """See Channel."""
        receiver = self._receiver
        why, output = run_hook(
            receiver.command, document(letter), self._environment, receiver.limit_seconds, Event()
        )
        if why:
            more = f": {said(output)}" if output.strip() else ""
            # What has ended by itself may take another letter; what can't be called, or hangs, takes none.
            unreachable = not why.startswith("ended with")
            raise DeliveryError(f"{said(receiver.command[0])} {why}{more}", unreachable=unreachable)
        return f"{said(receiver.command[0])} ended with 0"
