"""How a mail server proves who it is, and lets us in: as the user, or as a master who acts for the user."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

from ....proto.errors import AccessError
from ....proto.records import ServerAccess

if TYPE_CHECKING:
    from imapclient import IMAPClient

_OTHERS = 0o077
_MOST_BYTES = 4096


def read_password(access: ServerAccess) -> str:
    """The first line of the password's file. Raises AccessError if it can't be read or is open to others."""
    path = access.password_file
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.readline(_MOST_BYTES).decode("utf-8").rstrip("\r\n")
    except OSError as error:
        raise AccessError(f"password {path}: {error.strerror}", file=path) from error
    except UnicodeDecodeError:
        raise AccessError(f"password {path}: the first line is no UTF-8", file=path) from None
    if mode & _OTHERS:
        raise AccessError(
            f"password {path} can be read by others (mode {mode & 0o777:04o}): chmod 600", file=path
        )
    if not text:
        raise AccessError(f"password {path}: the first line is empty", file=path)
    return text


def tls_context(access: ServerAccess) -> ssl.SSLContext:
    """What a server has to prove: that an authority of ``ca_file``, or, if that is empty, of the system has
    certified the name by which it is called. Raises AccessError for a file that is none of certificates."""
    path = access.ca_file
    try:
        return ssl.create_default_context(cafile=path or None)
    except ssl.SSLError as error:
        raise AccessError(f"{path} holds no certificate that can be read", file=path) from error
    except OSError as error:
        raise AccessError(f"certificates {path}: {error.strerror}", file=path) from error


def log_in(client: IMAPClient, user: str, access: ServerAccess, password: str) -> None:
    """Log in. A master user acts for the user by what SASL has for it (PLAIN with both names), or, where
    PLAIN is not offered, by the name ``user*master`` as Dovecot takes it. Raises as imapclient does."""
    plain = client.has_capability("AUTH=PLAIN")
    if access.master and plain:
        client.plain_login(access.master, password, user)
    elif plain:
        # LOGIN takes no names beyond ASCII.
        client.plain_login(user, password)
    else:
        client.login(f"{user}*{access.master}" if access.master else user, password)
