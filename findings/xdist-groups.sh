#!/usr/bin/env bash
# pytest 9.2.0 with pytest-xdist 3.8.0: `--dist loadgroup` no longer keeps the tests of an xdist_group in one
# worker. Nothing fails and nothing is said; tests of one group run in several workers at the same time. With
# pytest 9.1.1 and the same pytest-xdist all of them run in one. (pytest-xdist hands the group on as a suffix that
# it writes into a private attribute of the test's id; pytest 9.2 has structured ids and does not read that.)
# Seen: "9.1.1: 1 worker", "9.2.0: 2 workers".
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
cat >test_group.py <<'EOF'
import os
import time

import pytest


@pytest.mark.xdist_group("one server")
@pytest.mark.parametrize("number", range(8))
def test_uses_the_server(number):
    time.sleep(0.1)
    with open("workers", "a") as file:
        print(os.environ["PYTEST_XDIST_WORKER"], file=file)
EOF
python3 -m venv venv
found=""
for version in 9.1.1 9.2.0; do
    venv/bin/python -m pip install --quiet "pytest==$version" pytest-xdist==3.8.0
    rm -f workers
    venv/bin/python -m pytest -q -n 2 --dist loadgroup test_group.py
    found+="$version:$(sort -u workers | wc -l) "
done
echo "workers that ran one group: $found"
[ "$found" = "9.1.1:1 9.2.0:2 " ]
