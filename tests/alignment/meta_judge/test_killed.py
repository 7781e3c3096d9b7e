"""Trainings by Meta-Rewarding in processes of their own, killed for real: what --resume makes of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.alignment.eva.conftest import kept
from tests.alignment.meta_judge.conftest import argv_of, begun

ROOT = Path(__file__).parents[3]
MOMENTS = (
    "untrained/answers 1",
    "before iteration-0/eft",
    "step 3",  # of the fine-tuning
    "iteration-1/judgements 3",
    "iteration-1/verdicts 2",
    "before iteration-1/pairs",
    "iteration-2/judgements 1",
)


@pytest.fixture
def run(tmp_path, tiny_judge):
    """Runs `align meta-judge` in a folder to its end, or to the moment when it is killed."""

    def run(folder, *, killed=None, **options):
        argv = argv_of(model=tiny_judge, out="run", prompts=4, eft="eft.jsonl", save_steps=2, **options)
        given = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | ({"KILLED": killed} if killed else {})
        command = [sys.executable, "-m", "tests.alignment.launched", *argv]
        return subprocess.run(
            command, cwd=begun(tmp_path / folder), env=given, capture_output=True, text=True, timeout=250
        )

    return run


@pytest.mark.slow
@pytest.mark.timeout(900)  # nine processes, each of which loads PyTorch and TRL
def test_a_training_that_is_killed_again_and_again_ends_as_one_that_was_not(run, tmp_path):
    done = run("whole")
    assert done.returncode == 0, done.stderr
    resume = None
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
