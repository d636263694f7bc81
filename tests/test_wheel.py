"""Proves that the wheel holds exactly the three packages, and works where an agent's own folders have such names."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from email.parser import Parser
from pathlib import Path

import pytest

import interlock
from house import ROOMS, ROOT, files

BUILD_SECONDS = 120


def run(command: Sequence[str | Path], cwd: Path, **environment: str) -> str:
    """What a program printed; it must end well within the time limit."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        command, cwd=cwd, env=kept | environment, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as a release would build it; the pinned backend is here already, so nothing is fetched."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with only the wheel in it; its dependencies are seen from the environment of the tests."""
    folder = tmp_path_factory.mktemp("user") / "venv"
    run([sys.executable, "-m", "venv", "--without-pip", folder], ROOT)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "--disable-pip-version-check"]
    run([*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", wheel], ROOT)
    # A plain path entry comes after the environment's own packages and does not bring the editable install along:
    # only a real site folder reads .pth files.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_exactly_three_packages_ship(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {*ROOMS, f"interlock_mcp-{interlock.__version__}.dist-info"}


def test_every_file_of_the_packages_ships_and_nothing_else(wheel: Path) -> None:
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    ours = {
        path.relative_to(folder).as_posix() for folder in ROOMS.values() for path in files() if folder in path.parents
    }
    assert shipped == ours
    assert {f"{package}/py.typed" for package in ROOMS} <= shipped


def test_the_wheel_says_what_it_needs_and_under_which_license(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (path,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = Parser().parsestr(archive.read(path).decode())
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert any(needed.startswith("mcp") for needed in metadata.get_all("Requires-Dist"))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An agent's workspace that has packages called as our folders are, and they explode when they are imported."""
    for name in ("tools", "server", "policies"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise RuntimeError('the workspace own {name} was imported')\n")
    return tmp_path


def test_an_installed_wheel_runs_in_a_workspace_with_folders_of_our_names(installed: Path, workspace: Path) -> None:
    printed = run([installed / "bin" / "interlock", "version"], workspace)
    assert interlock.__version__ in printed


def test_an_installed_wheel_imports_its_own_three_packages_there(installed: Path, workspace: Path) -> None:
    program = f"import {', '.join(ROOMS)}; print(*[m.__file__ for m in ({', '.join(ROOMS)})], sep='\\n')"
    printed = run([installed / "bin" / "python", "-c", program], workspace)
    assert all(Path(line).is_relative_to(installed) for line in printed.split())


def test_an_installed_wheel_finds_the_files_that_are_not_python(installed: Path, workspace: Path) -> None:
    run([installed / "bin" / "interlock", "inspect", "--json"], workspace, HOME=str(workspace))
