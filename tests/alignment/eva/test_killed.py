"""Trainings by eva in processes of their own, killed for real: what --resume makes of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.alignment.eva.conftest import argv_of, begun, kept, rows

ROOT = Path(__file__).parents[3]
MOMENTS = (
    "iteration-1/responses 4",
    "step 1",
    "iteration-2/replies 5",
    "before iteration-2/prompts",
    "saving 2",
)


@pytest.fixture
def run(tmp_path, judging_model, server):
    """Runs `align eva` in a folder to its end, or to the moment when it is killed."""

    def run(folder, *, killed=None, **options):
        argv = argv_of(model=judging_model, server=server.url, save_steps=1, out="run", **options)
        given = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | ({"KILLED": killed} if killed else {})
        command = [sys.executable, "-m", "tests.alignment.launched", *argv]
        return subprocess.run(
            command, cwd=begun(tmp_path / folder), env=given, capture_output=True, text=True, timeout=250
        )

    return run


@pytest.mark.slow
@pytest.mark.timeout(900)  # seven processes, each of which loads PyTorch and TRL
def test_a_training_that_is_killed_again_and_again_ends_as_one_that_was_not(run, tmp_path):
    done = run("whole")
    assert done.returncode == 0, done.stderr
    resume = False
    for moment in MOMENTS:
        done = run("cut", killed=moment, resume=resume)
        assert done.returncode == -signal.SIGKILL, (moment, done.stderr)
        assert not (tmp_path / "cut/run/model.safetensors").exists(), moment
        resume = True
    done = run("cut", resume=True)
    assert done.returncode == 0, done.stderr
    whole, cut = (kept(tmp_path / name / "run") for name in ("whole", "cut"))
    for name in whole:
        assert cut[name] == whole[name], name
    assert cut.keys() == whole.keys()
    assert not [path for path in (tmp_path / "cut").rglob("*") if ".new" in path.name or "checkpoint" in path.name]
    calls = [
        sum(row["calls"] for row in rows(tmp_path / name / "run/telemetry.jsonl") if row["phase"] == "evolving")
        for name in ("whole", "cut")
    ]
    assert calls[1] < calls[0] == 12, "what the server had answered was asked again"


@pytest.mark.slow
def test_without_trl_one_line_tells_what_to_install(tmp_path, judging_model):
    begun(tmp_path)
    code = "import sys; sys.modules['trl'] = None; from alignment.cli import align; align()"
    given = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *argv_of(model=judging_model)],
        cwd=tmp_path,
        env=given,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines() == ["align: training needs trl: pip install 'social-sandbox[align]'"]
