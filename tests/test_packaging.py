"""The wheel: it holds its data, and its three commands work where only the wheel and its dependencies are installed."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment holding the wheel; dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    install = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "--quiet", "--no-deps"]
    subprocess.run([*install, str(wheel)], check=True)
    # A path file comes behind the folder that it lies in, so the wheel's packages are found before the checkout's.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_wheel_holds_its_data_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for shipped in ("sandbox/data/questions.jsonl", "sandbox/data/prior.jsonl", "agents/data/values.json"):
        assert shipped in names
    assert any(name.startswith("sandbox/report/") and name.endswith(".html") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests", "runs", "benchmarks"))]


@pytest.mark.slow
def test_the_commands_work_from_the_wheel_alone(commands: Path, tmp_path: Path) -> None:
    where = subprocess.run(
        [commands / "python", "-c", "import sandbox; print(sandbox.__file__)"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert str(commands.parent) in where.stdout
    for command in ("simulate", "align", "replay"):
        done = subprocess.run([commands / command, "--help"], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0 and done.stdout.startswith(f"usage: {command}"), done.stderr
    run = [commands / "simulate", "--out", "run", "--size", "2", "--rounds", "1", "--raters", "1", "--max-tokens", "8"]
    done = subprocess.run([*run, "--feedback-tokens", "4"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/report.html").is_file()
    done = subprocess.run([commands / "replay", "verify", "run"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and "verified" in done.stdout
