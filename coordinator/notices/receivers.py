"""From receivers, as they are configured, to the ways to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from .channels import Channel
from .settings import CommandReceiver, MailReceiver, Receiver, WebhookReceiver


def channels(
    receivers: Iterable[Receiver], host: str, environment: Mapping[str, str], now: Callable[[], float]
) -> dict[str, Channel]:
    """The ways to them, by their names. ``host`` is this machine's name, ``environment`` what programs get,
    ``now`` gives seconds since 1970. Each kind loads its part only where somebody is reached by it."""
    return {receiver.name: _channel(receiver, host, environment, now) for receiver in receivers}


def _channel(
    receiver: Receiver, host: str, environment: Mapping[str, str], now: Callable[[], float]
) -> Channel:
    match receiver:
        case MailReceiver():
            from .mail import MailChannel

            return MailChannel(receiver, host)
        case CommandReceiver():
            from .program import ProgramChannel

            return ProgramChannel(receiver, environment)
        case WebhookReceiver():
            from .webhook import WebhookChannel

            return WebhookChannel(receiver, now)
