"""What is shipped is the tree: the list of packages, the source distribution, the wheel made from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

NOT_SOURCE = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "results", "*.so")
EXTENSIONS = frozenset(map(Path, ("worker/packing/_native.abi3.so", "proto/archive/_lines.abi3.so")))


def build(kind: str, source: Path, target: Path, **env: str) -> Path:
    """Make a distribution with setuptools as pip would, but from what is installed: no network."""
    target.mkdir()
    call = f"from setuptools import build_meta; build_meta.build_{kind}({str(target)!r})"
    done = subprocess.run(
        [sys.executable, "-c", call],
        cwd=source,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def sdist(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    place = tmp_path_factory.mktemp("sdist")
    shutil.copytree(root, place / "copy", ignore=NOT_SOURCE, symlinks=True)
    for hidden in (".ci", ".importlinter"):
        copy = shutil.copytree if (root / hidden).is_dir() else shutil.copy
        copy(root / hidden, place / "copy" / hidden)
    with tarfile.open(build("sdist", place / "copy", place / "dist")) as archive:
        archive.extractall(place / "unpacked", filter="data")
    (unpacked,) = (place / "unpacked").iterdir()
    return unpacked


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel, built from the source distribution."""
    place = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(build("wheel", sdist, place / "dist")) as archive:
        archive.extractall(place / "unpacked")
    return place / "unpacked"


def test_every_package_of_the_tree_is_listed(root: Path, modules: frozenset[Path]) -> None:
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {module.parent for module in modules}
    assert sorted(listed) == sorted(".".join(("mailhaul", *folder.parts)) for folder in folders)
    # A module in a folder without __init__.py would be shipped by nobody.
    assert all((root / folder / "__init__.py").exists() for folder in folders)


def test_only_the_package_itself_lies_in_the_root(root: Path) -> None:
    # Whatever *.py lies there is shipped.
    assert {file.name for file in root.glob("*.py")} <= {"__init__.py", "__main__.py"}
    assert not list((root / "tests").rglob("__init__.py"))


def test_wheel_holds_the_product_and_nothing_else(root: Path, modules: frozenset[Path], wheel: Path) -> None:
    shipped = {file.relative_to(wheel) for file in wheel.rglob("*") if file.is_file()}
    shipped = {file for file in shipped if not file.parts[0].endswith(".dist-info")}
    documents = {
        Path("py.typed"),
        Path("proto/archive/FORMAT.md"),
        Path("proto/keys/KEYS.md"),
        Path("proto/wire/WIRE.md"),
        Path("worker/destinations/tape/TAPE.md"),
        Path("worker/packing/_native.pyi"),
        Path("proto/archive/_lines.pyi"),
    }
    web = root / "coordinator" / "web"
    page = {file.relative_to(root) for folder in ("static", "templates") for file in (web / folder).iterdir()}
    # Where this checkout could compile, so can the build.
    built = {file for file in EXTENSIONS if (root / file).exists()}
    assert shipped == {"mailhaul" / file for file in modules | documents | page | built}


def test_where_nothing_can_be_compiled_the_hot_path_is_pure_python(sdist: Path, tmp_path: Path) -> None:
    shutil.copytree(sdist, tmp_path / "copy", ignore=NOT_SOURCE)
    with zipfile.ZipFile(build("wheel", tmp_path / "copy", tmp_path / "dist", CC="false")) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert not any((tmp_path / "unpacked" / "mailhaul" / extension).exists() for extension in EXTENSIONS)
    call = "import sys; sys.path.insert(0, '.'); from mailhaul.coordinator.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", call, "--version"],
        cwd=tmp_path / "unpacked",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "hot path: pure Python" in done.stdout, done.stdout + done.stderr


def test_wheel_runs_where_there_is_no_checkout(wheel: Path, tmp_path: Path) -> None:
    call = f"""
import sys
sys.path.insert(0, {str(wheel)!r})
import mailhaul.coordinator.cli.main as main
assert main.__file__.startswith({str(wheel)!r}), main.__file__
main.main(["--help"])
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", call],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "backup" in done.stdout) == (0, True), done.stdout + done.stderr


def test_source_distribution_can_test_itself(root: Path, sdist: Path) -> None:
    def files(place: Path, top: str) -> set[Path]:
        found = (place / top).rglob("*") if (place / top).is_dir() else [place / top]
        return {file.relative_to(place) for file in found if file.is_file() and file.suffix != ".pyc"}

    for top in [
        "Makefile",
        "CONTRIBUTING.md",
        "README.md",
        ".importlinter",
        ".ci",
        "tests",
        "deploy",
        "docs",
    ]:
        assert files(sdist, top) == files(root, top) != set(), top
    assert os.access(sdist / ".ci" / "run", os.X_OK)
