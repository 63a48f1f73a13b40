"""Where the page listens: sockets that are bound before anything is served, so that what is wrong is said.

Over TCP nobody is let in without TLS or a proxy that authenticates, but for a browser on this host that
brings a key along (``Door.loopback``).
"""

from __future__ import annotations

import grp
import os
import socket
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ...proto.directories import make_private
from ...proto.errors import ConfigError
from ...proto.structs import Record
from .listening import BoundedSocket
from .settings import PageConfig, socket_path, split_address
from .ways import LOOPBACK_NAMES, Ways

_BACKLOG = 128


class Door(Record, kw_only=True):
    """A socket that listens. ``address`` is what people call it."""

    socket: socket.socket
    address: str
    has_tls: bool = False


@contextmanager
def opened(page: PageConfig, staging: Path, *, loopback: bool = False) -> Iterator[tuple[Door, ...]]:
    """All that are configured, as long as the context lasts; with ``loopback`` also a port of 127.0.0.1.
    Raises ConfigError for what can't be, or must not be."""
    with ExitStack() as stack:
        path = socket_path(page, staging)
        doors = [Door(socket=_unix(path, page.socket_group), address=f"unix:{path}")]
        stack.callback(_removed, path, os.stat(path).st_ino)
        stack.callback(doors[0].socket.close)
        if page.listen:
            check(page)
            host, port = split_address(page.listen)
            proxies = () if page.proxy is None else page.proxy.peers
            door = _tcp(host, port, has_tls=page.tls_cert is not None, proxies=proxies)
            stack.callback(door.socket.close)
            doors.append(door)
        if loopback:
            door = _tcp("127.0.0.1", 0, has_tls=False, proxies=("127.0.0.1",))
            stack.callback(door.socket.close)
            doors.append(door)
        yield tuple(doors)


def check(page: PageConfig) -> None:
    """Raises ConfigError where passwords and mail would cross the network as they are."""
    if (page.tls_cert is None) != (page.tls_key is None):
        raise ConfigError("serve.tls_cert and serve.tls_key stand together")
    if page.listen and page.tls_cert is None and page.proxy is None:
        raise ConfigError(
            f"the page is not served at {page.listen} without TLS: set serve.tls_cert and serve.tls_key, or "
            "serve.proxy where a reverse proxy authenticates; without any it is at the Unix socket, which a "
            "browser reaches by `ssh -L 8080:SOCKET HOST`",
            keys=["serve.tls_cert", "serve.tls_key", "serve.proxy"],
        )


def ways(page: PageConfig, loopback: Door | None = None) -> Ways:
    """Who is let in by which way; ``loopback`` is the door for a browser of this host."""
    names = LOOPBACK_NAMES | {name.lower() for name in page.names}
    if page.listen:
        names |= {split_address(page.listen)[0].lower()}
    port = 0 if loopback is None else int(loopback.socket.getsockname()[1])
    return Ways(names=names, proxy=page.proxy, loopback_port=port)


def _unix(path: Path, group: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        make_private(path.parent) if not path.parent.exists() else None
        if path.exists() and not path.is_socket():
            raise ConfigError(f"{path}: there is something that is no socket", keys=["serve.socket"])
        path.unlink(missing_ok=True)  # of a serve that was killed: whoever serves holds the lock
        os.fchmod(made.fileno(), 0o600)  # so it is made with this mode
        _bind(made, path)
        if group:
            os.chown(path, -1, _group_number(group), follow_symlinks=False)
            path.chmod(0o660)
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise ConfigError(
            f"{path}: the socket can't be made: {error.strerror}", keys=["serve.socket"]
        ) from error
    except BaseException:
        made.close()
        raise
    return made


def _bind(made: socket.socket, path: Path) -> None:
    # The path of a socket has 107 bytes at most: where it is longer, its directory is named by a descriptor.
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        made.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)


def _group_number(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(
            f"serve.socket_group = {group!r}: expected a group of this host", keys=["serve.socket_group"]
        ) from None


def _removed(path: Path, inode: int) -> None:
    """Remove the socket, unless somebody else has made another one in its place."""
    try:
        if os.stat(path).st_ino == inode:
            path.unlink()
    except OSError:
        pass


def _tcp(host: str, port: int, *, has_tls: bool, proxies: Collection[str]) -> Door:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = BoundedSocket(family, kind | socket.SOCK_CLOEXEC, protocol, proxies)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # else IPv4 addresses come as IPv6 ones, which nobody names so
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind(place)
            made.listen(_BACKLOG)
        except BaseException:
            made.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"the page can't listen at {host}:{port}: {error.strerror}", keys=["serve.listen"]
        ) from error
    shown = f"[{host}]" if ":" in host else host
    address = f"{'https' if has_tls else 'http'}://{shown}:{made.getsockname()[1]}/"
    return Door(socket=made, address=address, has_tls=has_tls)
