"""Notices by mail: to one address, through one server, whose certificate is checked."""

from __future__ import annotations

import smtplib
import socket
import ssl
from contextlib import suppress
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from ...proto.errors import AccessError, DeliveryError
from .channels import Letter, said
from .private_files import read_private
from .settings import MailReceiver, MailServer
from .time_limits import TimeLimit

_WHOLE = (smtplib.SMTPConnectError, smtplib.SMTPHeloError, smtplib.SMTPAuthenticationError)
"""What the server says of us, not of a letter."""


_CLOSING = 421


class MailChannel:
    """See ``Channel``. ``host`` is how this machine introduces itself."""

    def __init__(self, receiver: MailReceiver, host: str) -> None:
        self._address = receiver.name
        self._server = receiver.server
        self._host = host

    def deliver(self, letter: Letter) -> str:
        """See Channel."""
        server = self._server
        message = compose(letter, self._address, server.sender)
        with TimeLimit(server.limit_seconds) as limit:
            try:
                return self._hand_over(message, limit)
            except AccessError as error:
                raise DeliveryError(error.message, unreachable=True) from None
            except (smtplib.SMTPException, OSError) as error:
                raise self._failure(error, limit) from None

    def _hand_over(self, message: EmailMessage, limit: TimeLimit) -> str:
        server = self._server
        password = read_private(server.password_file) if server.password_file is not None else ""
        client = _Client(server, self._host, limit)
        try:
            if server.tls == "starttls":
                client.starttls(context=client.context)
            if password:
                client.login(server.user, password)
            client.send_message(message, server.sender, [self._address])
        except BaseException:
            client.close()
            raise
        # The server has taken it. Whatever goes wrong from here on does not send it again.
        with suppress(smtplib.SMTPException, OSError):
            client.quit()
        client.close()
        return f"taken by {server.host}"

    def _failure(self, error: smtplib.SMTPException | OSError, limit: TimeLimit) -> DeliveryError:
        where = f"{self._server.host}:{self._server.port}"
        if limit.is_over or isinstance(error, TimeoutError):
            return DeliveryError(f"{where} did not answer within {limit.seconds:.0f} s", unreachable=True)
        match error:
            case smtplib.SMTPRecipientsRefused(recipients=refused):
                code, text = next(iter(refused.values()))
                what = f"{where} refuses {self._address}: {code} {said(text)}"
                return DeliveryError(what, unreachable=code == _CLOSING)
            case smtplib.SMTPResponseException(smtp_code=code, smtp_error=text):
                unreachable = isinstance(error, _WHOLE) or code == _CLOSING
                what = said(text)
                return DeliveryError(f"{where} says {code} {what}", unreachable=unreachable)
            case ssl.SSLCertVerificationError():
                return DeliveryError(f"{where}: {said(error.verify_message)}", unreachable=True)
            case smtplib.SMTPException():
                return DeliveryError(f"{where}: {said(str(error))}", unreachable=True)
        return DeliveryError(f"{where}: {said(error.strerror or str(error))}", unreachable=True)


def compose(letter: Letter, to: str, sender: str) -> EmailMessage:
    """The mail. No answer of a program is wanted for it (RFC 3834), and all that is said of a cause is shown
    as one conversation."""
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit"))  # any server takes it
    user, _, domain = sender.rpartition("@")
    message["From"] = Address(f"mailhaul on {letter.site}", user, domain)
    message["To"] = Address(addr_spec=to)
    message["Subject"] = letter.subject
    message["Date"] = _date(letter.saying.made)
    message["Message-ID"] = f"<mailhaul.{letter.key}@{domain}>"
    message["References"] = f"<mailhaul.{letter.thread}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Mailhaul-Event"] = letter.saying.notice.event
    message.set_content(letter.body)
    return message


def _date(moment: datetime) -> str:
    return format_datetime(moment.replace(microsecond=0))


class _Client(smtplib.SMTP):
    """A connection within a time limit, that asks no name server how this host is called."""

    def __init__(self, server: MailServer, host: str, limit: TimeLimit) -> None:
        self._limit = limit
        self._implicit = server.tls == "implicit"
        self.context = ssl.create_default_context(cafile=server.ca_file)
        super().__init__(server.host, server.port, host, limit.seconds)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ARG002
        """As SMTP_SSL of smtplib has its own."""
        connection = self._limit.connected(host, port)
        return self.context.wrap_socket(connection, server_hostname=host) if self._implicit else connection
