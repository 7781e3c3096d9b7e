"""Trainings by eva in processes of their own, killed for real: what --resume makes of them."""

import os
import subprocess
import sys

import pytest

from tests.alignment.eva.conftest import argv_of, begun
from tests.alignment.iterated import ROOT, ends_as_if_never_killed, launched, rows

MOMENTS = (
    "iteration-1/responses 4",
    "step 1",
    "iteration-2/replies 5",
    "before iteration-2/prompts",
    "saving 2",
)


@pytest.mark.slow
@pytest.mark.timeout(900)  # seven processes, each of which loads PyTorch and TRL
def test_a_training_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path, judging_model, server):
    def run(folder, killed=None, **options):
        argv = argv_of(model=judging_model, server=server.url, save_steps=1, out="run", **options)
        return launched(begun(tmp_path / folder), argv, killed)

    ends_as_if_never_killed(tmp_path, run, MOMENTS)
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
