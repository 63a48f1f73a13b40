"""A small machine with a kernel of its own, by QEMU's emulation: for what the kernel of this one does not
have, such as drivers of tape drives. It sees the files of this machine (what it changes is forgotten), and
nothing of its network.

    python -m mailhaul.tests.emulated.machine COMMAND [ARGUMENT ...]

runs a command in it and ends with its exit status. Wants the Debian packages qemu-system-x86, busybox-static,
kmod and cpio, and apt-get to have the package of a kernel, which is only unpacked (below build/).
"""

from __future__ import annotations

import gzip
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).absolute().parents[2]
PLACE = ROOT / "build" / "machine"
TIMEOUT_SECONDS = 1500
_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
_TOOLS = ("sh", "mount", "mkdir", "insmod", "switch_root")
_STARTED, _STATUS = "machine: started", "machine: status "

_FIRST = """\
#!/bin/sh
mkdir -p /proc; mount -t proc proc /proc
while read module; do insmod /modules/$module; done < /modules/order
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose files /files
mount -t tmpfs -o size=70% changes /changes; mkdir /changes/upper /changes/work
mount -t overlay -o lowerdir=/files,upperdir=/changes/upper,workdir=/changes/work all /all
exec switch_root /all /bin/sh {place}/second
"""

_SECOND = """\
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm; mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run; mkdir /run/lock; mount -t tmpfs tmp /tmp; chmod 1777 /tmp
mkdir -p /lib/modules; ln -sfn {place}/kernel/lib/modules/* /lib/modules/
ip link set lo up
echo '{started}'
cd {root}; {command} </dev/null; echo "{status}$?"
echo o > /proc/sysrq-trigger; sleep 30
"""


def prepare() -> None:
    """Unpack a kernel and make what it starts from. Repeatable: what is there stays."""
    kernel, initrd = PLACE / "kernel", PLACE / "initrd.gz"
    if not (kernel / "lib" / "modules").is_dir():
        shutil.rmtree(kernel, ignore_errors=True)
        kernel.mkdir(parents=True)
        depends = _output("apt-cache", "depends", "linux-image-amd64")
        found = re.search(r"Depends: (linux-image-\S+)", depends)
        if found is None:
            raise SystemExit("apt-cache knows no linux-image-amd64")
        subprocess.run(["apt-get", "download", "-qq", found[1]], cwd=PLACE, check=True)
        (package,) = PLACE.glob("linux-image-*.deb")
        subprocess.run(["dpkg-deb", "-x", package, kernel], check=True)
        package.unlink()
        subprocess.run(["depmod", "-b", kernel, _release()], check=True)
    if not initrd.exists():
        initrd.write_bytes(gzip.compress(_initrd(), 1))


def run(command: Sequence[str]) -> int:
    """Run a command as root in the machine; what it prints goes to our output. Its exit status."""
    texts = {"place": PLACE, "root": ROOT, "started": _STARTED, "status": _STATUS}
    (PLACE / "second").write_text(_SECOND.format(command=shlex.join(command), **texts))
    (kernel,) = (PLACE / "kernel" / "boot").glob("vmlinuz-*")
    machine = subprocess.Popen(
        [
            "qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2",
            "-m", "2G", "-nodefaults", "-no-reboot", "-nographic", "-serial", "stdio", "-monitor", "none",
            "-kernel", kernel, "-initrd", PLACE / "initrd.gz",
            "-append", "console=ttyS0 quiet panic=-1 loglevel=3 mitigations=off",
            "-fsdev", "local,id=files,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=files,mount_tag=files",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    )  # fmt: skip
    try:
        return _watch(machine)
    finally:
        machine.kill()
        machine.wait()


def _watch(machine: subprocess.Popen[str]) -> int:
    """Print what the machine prints from its start on; the status that it tells at the end."""
    assert machine.stdout
    guard = subprocess.Popen(["sh", "-c", f"sleep {TIMEOUT_SECONDS}; kill {machine.pid}"])
    started = False
    try:
        for line in machine.stdout:
            if line.startswith(_STATUS):
                return int(line.removeprefix(_STATUS))
            if started:
                print(line, end="", flush=True)
            # The firmware leaves its escape sequences before the first line.
            started = started or _STARTED in line
    finally:
        guard.kill()
        guard.wait()
    raise SystemExit("the machine ended without a status, or took too long")


def _initrd() -> bytes:
    """The first file system: busybox and the modules by which the files of this machine are reached."""
    tree = PLACE / "initrd"
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("bin", "modules", "files", "changes", "all"):
        (tree / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", tree / "bin" / "busybox")
    for tool in _TOOLS:
        (tree / "bin" / tool).symlink_to("busybox")
    order: dict[str, None] = {}
    for module in _MODULES:
        needed = _output("modprobe", "-d", PLACE / "kernel", "-S", _release(), "--show-depends", module)
        for path in re.findall(r"^insmod (\S+)", needed, re.MULTILINE):
            order[Path(path).name] = None
            shutil.copy(path, tree / "modules")
    (tree / "modules" / "order").write_text("\n".join(order) + "\n")
    first = tree / "init"
    first.write_text(_FIRST.format(place=PLACE))
    first.chmod(0o755)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    packed = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=names.encode(), stdout=-1, check=True
    )
    shutil.rmtree(tree)
    return packed.stdout


def _release() -> str:
    (modules,) = (PLACE / "kernel" / "lib" / "modules").iterdir()
    return modules.name


def _output(*command: str | Path) -> str:
    return subprocess.run(command, stdout=-1, text=True, check=True).stdout


if __name__ == "__main__":
    prepare()
    sys.exit(run(sys.argv[1:]))
