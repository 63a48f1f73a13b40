"""OpenStack Swift with its S3 dialect, which has fewer features: one device, one copy, on loopback.

Debian: swift, swift-proxy, swift-account, swift-container, swift-object, memcached. The package's own
/etc/swift/swift.conf has to be there.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from .object_storage import S3Server, end, free_port, started, wait_for

_STORES = ("account", "container", "object")

_COMMON = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {place}
devices = {place}/devices
mount_check = false
"""

_STORE = """
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""

_PROXY = """
[pipeline:main]
pipeline = catch_errors cache listing_formats s3api tempauth slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{cache}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
dns_compliant_bucket_names = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:symlink]
use = egg:swift#symlink
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
allow_object_versioning = true
"""


@cache
def swift(require_tool: Callable[[str], Path]) -> S3Server:
    """The server of this process, started when it is first asked for; it ends with the process."""
    names = (
        "memcached",
        "swift-ring-builder",
        "swift-proxy-server",
        *(f"swift-{store}-server" for store in _STORES),
    )
    programs = {name: str(require_tool(name)) for name in names}
    place = Path(tempfile.mkdtemp(prefix="mh-swift-"))
    running: list[subprocess.Popen[bytes]] = []
    atexit.register(_ended, place, running)
    (place / "devices" / "d1").mkdir(parents=True)
    user = pwd.getpwuid(os.geteuid()).pw_name
    ports = {name: free_port() for name in ("cache", "proxy", *_STORES)}

    def start(name: str, *arguments: str) -> None:
        running.append(started([programs[name], *arguments]))

    def serve(name: str, text: str) -> None:
        settings = place / f"{name}.conf"
        facts = {"name": name, "place": place, "user": user, "port": ports[name], "cache": ports["cache"]}
        settings.write_text((_COMMON + text).format(**facts))
        start(f"swift-{name}-server", str(settings))

    start("memcached", "-u", user, "-l", "127.0.0.1", "-p", str(ports["cache"]))
    for name in _STORES:
        builder = str(place / f"{name}.builder")
        for step in (
            ["create", "4", "1", "0"],
            ["add", f"r1z1-127.0.0.1:{ports[name]}/d1", "100"],
            ["rebalance"],
        ):
            # 1 is a warning: there is one device only.
            done = subprocess.run(
                [programs["swift-ring-builder"], builder, *step], capture_output=True, timeout=60
            )
            assert done.returncode in (0, 1), done.stdout.decode()
        serve(name, _STORE)
    serve("proxy", _PROXY)
    for process, name in zip(running, ("cache", *_STORES, "proxy"), strict=True):
        wait_for(ports[name], process)
    return S3Server(name="swift", port=ports["proxy"], key="test:tester", secret="testing", locks=False)


def _ended(place: Path, running: list[subprocess.Popen[bytes]]) -> None:
    for process in reversed(running):
        end(process)
    shutil.rmtree(place, ignore_errors=True)
