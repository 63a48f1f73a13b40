#!/usr/bin/env bash
# Ray 2.60.0: if a node is lost between the moment the head calls it alive and the moment its `ray start --block`
# asks for that (up to a second), `ray start` does not notice that its raylet has ended. It goes on asking the head
# for a living node (RAY_raylet_start_wait_time_s, 30 s unless set) and does not collect the raylet. To a worker a
# raylet that is a zombie is alive, so it stays, too, with the work it does. Later on `ray start` ends within 2 s,
# and the worker with it.
# The moment is caught by stopping `ray start` (SIGSTOP) until the raylet is dead.
# Seen: "10 s later: ray start runs, raylet Z, worker runs".
set -euo pipefail
place=$(mktemp -d /tmp/rs-XXXX)
started=()
end() {
    for pid in "${started[@]}"; do kill -KILL -- "-$pid" 2>/dev/null || true; done
    rm -rf "$place"
}
trap end EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet ray==2.60.0
cat >"$place/lose.py" <<'EOF'
import os, signal, subprocess, sys, time
from pathlib import Path
import ray

node = subprocess.Popen(sys.argv[1:], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(node.pid, file=sys.stderr, flush=True)


def children():
    return [int(p) for p in Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()]


def is_raylet(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(b"/raylet")


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


while not (found := [pid for pid in children() if is_raylet(pid)]):
    time.sleep(0.005)
(raylet,) = found
os.kill(node.pid, signal.SIGSTOP)
ray.init("127.0.0.1:6399", log_to_driver=False)


@ray.remote(num_cpus=0, resources={"there": 1})
class Worker:
    def pid(self):
        return os.getpid()


worker = ray.get(Worker.remote().pid.remote(), timeout=60)
os.kill(raylet, signal.SIGKILL)
while sum(one["Alive"] for one in ray.nodes()) > 1:
    time.sleep(0.1)
os.kill(node.pid, signal.SIGCONT)
time.sleep(10)
there = Path(f"/proc/{worker}").exists()
print(f"10 s later: ray start {'runs' if node.poll() is None else 'ended'}, raylet {state(raylet)}, "
      f"worker {'runs' if there else 'ended'}")
if there:
    os.kill(worker, signal.SIGKILL)
EOF
export RAY_USAGE_STATS_ENABLED=0
setsid "$place/venv/bin/ray" start --head --block --port=6399 --num-cpus=1 --node-ip-address=127.0.0.1 \
    --include-dashboard=false --temp-dir="$place/h" >/dev/null 2>&1 &
started+=($!)
sleep 15
"$place/venv/bin/python" "$place/lose.py" "$place/venv/bin/ray" start --block --address=127.0.0.1:6399 \
    --num-cpus=1 --resources='{"there": 1}' >"$place/out" 2>"$place/err" || true
started+=("$(head -1 "$place/err")")
cat "$place/out"
grep -q "ray start runs, raylet Z, worker runs" "$place/out"
