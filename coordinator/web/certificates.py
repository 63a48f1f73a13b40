"""The certificate of the page, which is renewed every few weeks or days, while the page is served."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from ...proto.errors import ConfigError
from .settings import PageConfig

_Identity = tuple[tuple[int, int, int, int], ...]


class Certificate:
    """The certificate and key of the configuration. ``context`` is for the server, as long as that lives.

    Each handshake gets what was read last. (Read into the same context once more, a certificate with a key of
    another kind would stand beside the one before, and clients would get either.)
    """

    def __init__(self, page: PageConfig) -> None:
        """Raises ConfigError for what can't be used."""
        assert page.tls_cert is not None  # noqa: S101 (checked when the doors were opened)
        assert page.tls_key is not None  # noqa: S101
        self._files = (page.tls_cert, page.tls_key)
        self._read_as = self._identity()
        self._newest = self.context = _context(*self._files)
        self.context.sni_callback = self._handshake

    def renewed(self) -> bool:
        """Whether the files are others than before; they are used from now on. Raises ConfigError for what
        can't be used: then the certificate before stays, and the files are read again the next time. (Whoever
        renews them writes one after the other.)"""
        identity = self._identity()
        if identity == self._read_as:
            return False
        self._newest = _context(*self._files)
        self._read_as = identity
        return True

    def _handshake(self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str, _: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _identity(self) -> _Identity:
        """What changes with each renewal; also that of what a symbolic link leads to."""
        try:
            found = [os.stat(path) for path in self._files]
        except OSError:
            return ()  # whoever reads them says what is wrong
        return tuple((one.st_dev, one.st_ino, one.st_mtime_ns, one.st_size) for one in found)


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2

    def no_passphrase() -> str:
        raise OSError(0, "the key has a passphrase, which nobody can be asked for")

    try:
        context.load_cert_chain(cert, key, password=no_passphrase)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"serve.tls_cert = {str(cert)!r}: expected a certificate with its key in serve.tls_key: "
            f"{error.strerror or error}",
            keys=["serve.tls_cert", "serve.tls_key"],
        ) from None
    return context
