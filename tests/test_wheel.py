"""The wheel: it holds all of the package, and installed alone it offers every command."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from red_mcore import __version__
from red_mcore.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("red_mcore", "pyproject.toml", "README.md", "LICENSE")


def run(*command: str | Path, **options) -> str:
    """The output of a command that has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the sources, for a build leaves its folders among them."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, folder)
    # Nothing is fetched: setuptools is there, as a requirement of torch.
    call = f"from setuptools.build_meta import build_wheel; print(build_wheel({str(folder)!r}))"
    run(sys.executable, "-c", call, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The scripts of a new environment that has the wheel, and what it requires from this one."""
    place = tmp_path_factory.mktemp("environment") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", place)
    pip = (sys.executable, "-m", "pip", "--python", place / "bin/python")
    run(*pip, "install", "--no-deps", "--no-index", "--quiet", wheel)
    (site,) = place.glob("lib/python*/site-packages")
    # A path that is added so is searched last, and links in it are not followed: this checkout is
    # not found.
    (site / "requirements.pth").write_text(sysconfig.get_path("purelib"))
    return place / "bin"


def test_the_wheel_holds_the_whole_package(wheel):
    with zipfile.ZipFile(wheel) as content:
        held = {name for name in content.namelist() if name.startswith("red_mcore/")}
    package = ROOT / "red_mcore"
    files = [
        file for file in package.rglob("*") if file.is_file() and "__pycache__" not in file.parts
    ]
    assert held == {str(file.relative_to(ROOT)) for file in files}
    assert "red_mcore/py.typed" in held
    assert "red_mcore/cli/convert.py" in held


def test_the_console_script_is_the_wheel_s(installed, tmp_path):
    assert run(installed / "red-mcore", "--version", cwd=tmp_path) == f"red-mcore {__version__}\n"
    where = run(
        installed / "python", "-c", "import red_mcore; print(red_mcore.__file__)", cwd=tmp_path
    )
    assert Path(where.strip()).is_relative_to(installed.parent)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_how_it_is_used(installed, command, tmp_path):
    assert "usage: " in run(installed / "red-mcore", command, "--help", cwd=tmp_path)
