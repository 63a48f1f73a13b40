"""A Ceph RADOS gateway, the real object storage of the tests: a monitor, an OSD on a sparse file, a gateway,
on the loopback interface, without authentication between them.

Debian: radosgw, ceph-mon, ceph-osd, ceph-common.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from .object_storage import S3Server, end, free_port, started, wait_for

_DISK_BYTES = 8 << 30  # sparse
_KEY, _SECRET = "access", "secretsecret"
_PROGRAMS = ("ceph-mon", "ceph-osd", "monmaptool", "ceph", "radosgw-admin", "radosgw")

_SETTINGS = """
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{monitor}
ms_bind_msgr1 = false
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
# One OSD: no second copy of anything, and few placement groups.
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 2
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 4000
mon_data_avail_crit = 1
mon_data_avail_warn = 2
run_dir = {place}
admin_socket = {place}/$name.asok
log_file = {place}/$name.log
log_to_stderr = false
err_to_stderr = false
crash_dir = {place}/crash
mon_data = {place}/mon
osd_data = {place}/osd
osd_objectstore = bluestore
bluestore_block_size = {disk}
bluestore_cache_autotune = false
bluestore_cache_size = 67108864
osd_memory_target = 939524096
osd_class_load_list = *
osd_class_default_list = *
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_data = {place}/rgw
rgw_thread_pool_size = 32
# Its own default is `secure`, which can't be without authentication: it would wait for ever.
ms_mon_client_mode = crc
"""


@cache
def rgw(require_tool: Callable[[str], Path]) -> S3Server:
    """The gateway of this process, started when it is first asked for; it ends with the process."""
    running = ExitStack()
    atexit.register(running.close)
    return running.enter_context(new_rgw(require_tool))


@contextmanager
def new_rgw(require_tool: Callable[[str], Path]) -> Iterator[S3Server]:
    """A gateway of its own, that ends with the context. It takes 8 GB; what is deleted stays there for
    hours."""
    programs = {name: require_tool(name) for name in _PROGRAMS}
    # Not tmp_path: its name is too long for sockets.
    place = Path(tempfile.mkdtemp(prefix="mh-rgw-"))
    running: list[subprocess.Popen[bytes]] = []
    try:
        yield _started(programs, place, running)
    finally:
        for process in reversed(running):
            end(process)
        shutil.rmtree(place, ignore_errors=True)


def _started(programs: Mapping[str, Path], place: Path, running: list[subprocess.Popen[bytes]]) -> S3Server:
    for name in ("mon", "osd", "rgw", "crash"):
        (place / name).mkdir()
    fsid, monitor, port = str(uuid.uuid4()), free_port(), free_port()
    settings = place / "ceph.conf"
    settings.write_text(
        _SETTINGS.format(fsid=fsid, monitor=monitor, port=port, place=place, disk=_DISK_BYTES)
    )

    def run(name: str, *arguments: str) -> None:
        command = [str(programs[name]), "-c", str(settings), *arguments]
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        if done.returncode:
            raise RuntimeError(f"{name} {arguments}: {done.stderr.decode()[-2000:]}")

    def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        running.append(started([str(programs[name]), "-f", "-c", str(settings), *arguments]))
        return running[-1]

    monmap, osd = str(place / "monmap"), str(uuid.uuid4())
    run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{monitor}]", monmap)
    run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap)
    wait_for(monitor, start("ceph-mon", "-i", "a"))
    run("ceph", "--connect-timeout", "60", "osd", "new", osd)
    run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
    start("ceph-osd", "-i", "0")
    run(
        "ceph", "--connect-timeout", "60", "osd", "crush", "add", "0", "1.0", "root=default", "host=localhost"
    )
    run(
        "radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=test", "--display-name=test",
        f"--access-key={_KEY}", f"--secret-key={_SECRET}",
    )  # fmt: skip
    wait_for(port, start("radosgw", "-n", "client.rgw"))
    return S3Server(name="rgw", port=port, key=_KEY, secret=_SECRET, locks=True)
