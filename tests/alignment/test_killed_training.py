"""Trainings in processes of their own, killed for real: what `align stable --resume` makes of them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agents.errors import BadInput

ROOT = Path(__file__).parents[2]
TIMED = ("seconds", "train_runtime", "train_tokens_per_second")
NINE_STEPS = ("--epochs", "2", "--groups-per-step", "2", "--responses", "2", "--learning-rate", "1e-2")
ONE = [sys.executable, "-m", "tests.alignment.launched"]
CONFIG = str(ROOT / "alignment" / "accelerate" / "cpu.yaml")
TWO = [sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch", "--config_file", CONFIG, *ONE[1:]]


@pytest.fixture
def run(data, small_model, tmp_path):
    """Runs `align stable` to its end or to the moment when it is killed."""

    def run(out, *flags, killed=None, command=ONE):
        argv = [str(data), "--model", str(small_model), "--max-length", "100", "--answers", "0", *NINE_STEPS]
        command = [*command, "stable", *argv, "--save-steps", "2", "--out", out, *flags]
        given = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | ({"KILLED": killed} if killed else {})
        return subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=250)

    return run


def kept(folder):
    """What a training leaves, without times."""
    metrics = json.loads((folder / "metrics.json").read_text())
    cost = {name: value for name, value in metrics.pop("cost").items() if name not in ("seconds", "peak_memory_bytes")}
    lines = [json.loads(line) for line in (folder / "trainer_log.jsonl").read_text().splitlines()]
    log = [{name: value for name, value in line.items() if name not in TIMED} for line in lines]
    names = ("model.safetensors", "stability.jsonl", "held_out.jsonl")
    return metrics, cost, log, [(folder / name).read_bytes() for name in names], {p.name for p in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "flags"), [(ONE, ()), (ONE, ("--lora",)), (TWO, ())], ids=["full", "lora", "two processes"]
)
def test_a_training_that_is_killed_again_and_again_ends_as_one_that_was_not(run, tmp_path, command, flags):
    done = run("whole", *flags, command=command)
    assert done.returncode == 0, done.stderr
    resume = ()
    for moment in ("step 1", "saving 4", "step 7"):
        done = run("cut", *flags, *resume, killed=moment, command=command)
        assert done.returncode == (-signal.SIGKILL if command is ONE else 1), done.stderr
        assert not (tmp_path / "cut").exists()
        resume = ("--resume",)
    done = run("cut", *flags, "--resume", command=command)
    assert done.returncode == 0, done.stderr
    assert kept(tmp_path / "cut") == kept(tmp_path / "whole")
    assert len(kept(tmp_path / "cut")[2]) == 9
    assert [path.name for path in tmp_path.glob("*cut*")] == ["cut"]


@pytest.mark.slow
def test_what_is_not_the_same_training_is_refused_in_one_line(run, data, tmp_path):
    assert run("cut", killed="step 5").returncode == -signal.SIGKILL
    before = sorted((tmp_path / "cut.checkpoints").rglob("*"))

    def refused(*flags):
        done = run("cut", *flags)
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        return line

    assert "go on with --resume, or remove the folder" in refused()
    assert "begun with --margin 1.0, not --margin 2.0; give it that again" in refused("--resume", "--margin", "2")
    rows = data.read_text()
    data.write_text(rows.replace("6.5", "6.6"))
    assert "the rows are others than those that the training began with" in refused("--resume")
    data.write_text(rows)
    assert sorted((tmp_path / "cut.checkpoints").rglob("*")) == before
    assert run("cut", "--resume").returncode == 0


def test_nothing_to_go_on_from(align, tmp_path):
    with pytest.raises(BadInput, match="--resume: .* holds no training that was stopped; leave --resume out"):
        align("--resume")
    assert {path.name for path in tmp_path.iterdir()} == {"rated.jsonl"}
