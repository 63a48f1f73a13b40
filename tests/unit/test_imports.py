"""The import rules hold, and the linter that checks them does notice when they do not."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mailhaul.tests.conftest import CODE_FOLDERS

# A module to plant in a package that exists, its text, what the linter must say it imports.
OFFENCES = (
    ("proto/offender_a.py", "from ..groups import offender_b", "mailhaul.groups.offender_b"),
    ("groups/offender_b.py", "from .. import worker", "mailhaul.worker"),
    ("worker/offender_c.py", "from ..coordinator import dispatch", "mailhaul.coordinator.dispatch"),
    ("coordinator/offender_d.py", "import ray", "ray"),
    ("worker/offender_e.py", "def late():\n    from zmq import Context", "zmq"),
    ("worker/offender_f.py", "import lz4.block", "lz4"),
    ("worker/offender_g.py", "import zstandard", "zstandard"),
    ("groups/offender_h.py", "import msgpack", "msgpack"),
    ("groups/offender_i.py", "import sqlite3", "sqlite3"),
    ("worker/offender_o.py", "import re2", "re2"),
    ("worker/offender_p.py", "import imapclient", "imapclient"),
    ("worker/offender_m.py", "import prometheus_client", "prometheus_client"),
    ("coordinator/offender_n.py", "import psutil", "psutil"),
    ("worker/offender_j.py", "from pydantic import BaseModel", "pydantic"),
    ("coordinator/offender_k.py", "import click", "click"),
    ("worker/offender_l.py", "from rich.text import Text", "rich"),
    ("coordinator/offender_q.py", "import segno", "segno"),
)
ALLOWED = (
    ("coordinator/dispatch/ray.py", "import ray"),
    ("proto/wire/__init__.py", ""),
    ("proto/wire/channel.py", "import zmq\nimport msgpack"),
    ("proto/archive/ally.py", "import lz4.block, zstandard"),
    ("coordinator/catalog/ally.py", "import sqlite3"),
    ("coordinator/config/ally.py", "import pydantic"),
    ("coordinator/cli/ally.py", "import click, rich.text, segno"),
    ("coordinator/monitoring/metrics.py", "import prometheus_client"),
    ("worker/ally.py", "from ..groups import __doc__\nfrom ..proto.archive import ally"),
)


def run(directory: Path, *arguments: str, given: str = "") -> tuple[int, str]:
    """Exit status and output of ``python ARGUMENTS`` in this directory; -c finds packages there first."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def lint(directory: Path) -> tuple[int, str]:
    return run(
        directory, "-c", "from importlinter.cli import lint_imports; exit(lint_imports(no_cache=True))"
    )


@pytest.fixture
def copy(root: Path, modules: frozenset[Path], tmp_path: Path) -> Path:
    """The package without its modules: the folders and every ``__init__.py``, and the linter's rules."""
    target = tmp_path / "mailhaul"
    for module in sorted(modules):
        if module.name == "__init__.py":
            plant(target, str(module), "")
    shutil.copy(root / ".importlinter", tmp_path)
    return target


def plant(package: Path, module: str, text: str) -> None:
    place = package / module
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text + "\n")


def test_this_tree_keeps_the_rules(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mailhaul").symlink_to(root)
    shutil.copy(root / ".importlinter", tmp_path)
    status, output = lint(tmp_path)
    assert status == 0, output


def test_the_linter_reads_all_of_this_tree(root: Path, modules: frozenset[Path], tmp_path: Path) -> None:
    (tmp_path / "mailhaul").symlink_to(root)
    graph = "import grimp; graph = grimp.build_graph('mailhaul', cache_dir=None)"
    status, output = run(tmp_path, "-c", f"{graph}; print(*graph.modules)")
    names = {".".join(("mailhaul", *module.with_suffix("").parts)) for module in modules}
    assert (status, set(output.split())) == (0, {name.removesuffix(".__init__") for name in names})

    # Relative imports between the folders are edges of the graph, not skipped.
    imported = "print(*sorted(graph.find_modules_directly_imported_by('mailhaul.proto.ports')))"
    expected = "mailhaul.proto.archive.draft mailhaul.proto.archive.files "
    expected += "mailhaul.proto.archive.message_rows mailhaul.proto.records mailhaul.proto.state\n"
    assert run(tmp_path, "-c", f"{graph}; {imported}") == (0, expected)


def test_allowed_imports_pass(copy: Path) -> None:
    for module, text in ALLOWED:
        plant(copy, module, text)
    status, output = lint(copy.parent)
    assert status == 0, output


def test_each_forbidden_import_is_found(copy: Path) -> None:
    for module, text, _ in OFFENCES:
        plant(copy, module, text)
    status, output = lint(copy.parent)
    assert status == 1
    for module, _, imported in OFFENCES:
        name = "mailhaul." + module.removesuffix(".py").replace("/", ".")
        assert f"{name} -> {imported} (l." in output, output


def absolute_imports(text: str) -> list[str]:
    """What a module imports of ours by a name instead of relatively. The bare names would work by accident
    where the current directory is on the path, and ``proto`` is somebody else's, too."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
    return [name for name in found if name.partition(".")[0] in ("mailhaul", *CODE_FOLDERS)]


def test_the_folders_import_each_other_relatively(root: Path, modules: frozenset[Path]) -> None:
    texts = {str(module): (root / module).read_text() for module in modules}
    assert {module: found for module, text in texts.items() if (found := absolute_imports(text))} == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from mailhaul.proto import errors", ["mailhaul.proto"]),
        ("def late():\n    import proto.errors", ["proto.errors"]),
        ("import os, worker as w", ["worker"]),
        ("from ..proto import errors\nfrom . import mailhaul\nimport protocol", []),
    ],
)
def test_an_absolute_import_is_found(text: str, found: list[str]) -> None:
    assert absolute_imports(text) == found


def ruff(directory: Path, *arguments: str, given: str = "") -> tuple[int, str]:
    return run(directory, "-m", "ruff", "check", "--no-cache", *arguments, given=given)


def test_ruff_refuses_to_read_the_environment(root: Path) -> None:
    text = "import os\n\nos.environ\n"
    status, output = ruff(
        root, "--select", "TID251", "--stdin-filename", "worker/offender.py", "-", given=text
    )
    assert (status, "TID251" in output) == (1, True), output


@pytest.mark.parametrize("name", ["mailhaul", "worker", "proto"])
def test_ruff_passes_in_a_checkout_of_any_name(
    root: Path, modules: frozenset[Path], tmp_path: Path, name: str
) -> None:
    checkout = tmp_path / name
    for module in modules:
        place = checkout / module
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / module, place)
    shutil.copy(root / "pyproject.toml", checkout)
    status, output = ruff(checkout, ".")
    assert status == 0, output[-2000:]
