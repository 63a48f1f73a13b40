"""What all tests share: hypothesis profiles, outside tools and corpora, how often a fault is planned."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest
from hypothesis import HealthCheck, settings

from mailhaul.tests.agreement import disagreements
from mailhaul.tests.corpora import shared_place

ROOT = Path(__file__).resolve().parent.parent
CODE_FOLDERS = ("coordinator", "worker", "groups", "proto")
IN_CI = os.environ.get("CI") == "true"

# Round trips write files, so one example may take a while on a busy machine: no deadline.
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("dev"), max_examples=200, derandomize=True)
settings.register_profile("deterministic", settings.get_profile("dev"), derandomize=True)
settings.register_profile("soak", settings.get_profile("dev"), max_examples=10_000)
settings.load_profile("ci" if IN_CI else "dev")


# The long ones are begun first: where tests run side by side, none of those is left over at the end.
LONGEST_FIRST = ("faults", "property", "integration", "contract", "unit")

# A shell that starts something in the background lets it ignore SIGINT, and all that it starts would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The tests start the program a thousand times. Where bytecode is not written, as in many containers, each of
# those compiles all its modules, which takes longer than most commands do.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=100, help="how often a fault loop repeats (default 100)")
    parser.addoption(
        "--encrypted",
        action="store_true",
        help="encrypt all archives (not in programs that are started), and read them with all keys",
    )
    parser.addoption(
        "--pure-python",
        action="store_true",
        help="the hot path in pure Python (not in programs that are started) where it was built in C",
    )


@pytest.fixture(scope="session", autouse=True)
def _encrypted(pytestconfig: pytest.Config) -> Iterator[None]:
    if pytestconfig.getoption("--encrypted"):
        from mailhaul.tests.sealed import everything_encrypted

        with everything_encrypted():
            yield
    else:
        yield


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--pure-python"):
        for name in ("worker.packing._native", "proto.archive._lines"):
            sys.modules[f"mailhaul.{name}"] = cast(ModuleType, None)  # importing it fails


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST_FIRST.index(item.path.relative_to(ROOT / "tests").parts[0]))


@pytest.fixture(scope="session")
def rounds(pytestconfig: pytest.Config) -> int:
    """How often a test that kills, fills or cuts something at a random point repeats it."""
    return int(pytestconfig.getoption("--rounds"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout, or the unpacked source distribution."""
    return ROOT


@pytest.fixture(scope="session")
def modules(root: Path) -> frozenset[Path]:
    """Every module of the product, relative to the root."""
    folders = (file for folder in CODE_FOLDERS for file in (root / folder).rglob("*.py"))
    return frozenset(file.relative_to(root) for file in (*root.glob("*.py"), *folders))


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], Path]:
    """``require_tool("dovecot")``: its path. Without it the test skips, in CI (env CI=true) it fails."""

    def find(name: str) -> Path:
        # Server programs lie in sbin, which is not on everybody's path.
        found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
        if found:
            return Path(found)
        reason = f"{name} is not installed (make test installs it on Debian, as root)"
        return pytest.fail(reason) if IN_CI else pytest.skip(reason)

    return find


@pytest.fixture(scope="session")
def shared() -> Path:
    """See ``shared_place``; without it the test skips."""
    return shared_place() or pytest.skip("no mail corpus: neither MAILHAUL_SHARED nor ../shared has one")


@pytest.fixture(autouse=True)
def _archives_are_read_alike(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Whatever archives a test leaves behind, whole or damaged: the reader that is laid beside archives
    gives of them what the product gives."""
    top = tmp_path_factory.getbasetemp()
    before = set(os.listdir(top))
    yield
    for place in sorted(set(os.listdir(top)) - before):
        files = [path for path in (top / place).rglob("*.mha") if path.is_file()]
        if files:
            with_keys = bool(request.config.getoption("--encrypted"))
            assert disagreements(files, with_keys=with_keys) == []
