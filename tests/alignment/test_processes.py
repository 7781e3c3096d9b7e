"""Several processes train as one does: two on the CPU, by `accelerate launch` with the shipped configurations."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DeepSpeedPlugin
from safetensors.torch import load_file

from tests.alignment.conftest import ANSWERS

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "alignment" / "accelerate"
# Times, and what transformers counts with the groups that only fill up a last step.
FREE = ("seconds", "train_runtime", "train_tokens_per_second", "num_input_tokens_seen", "epoch")
SETTINGS = ("--groups-per-step", "4", "--learning-rate", "1e-3", "--epochs", "2", "--responses", "2")


def launch(config, folder, argv, **environment):
    """`align` in two processes; returns what they said."""
    launcher = [sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch"]
    command = [*launcher, "--config_file", str(SHIPPED / f"{config}.yaml"), "--module", "tests.alignment.launched"]
    given = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run([*command, *argv], cwd=folder, env=given, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def both(align, data, small_model, tmp_path):
    """Trains with the same flags in this process and in two others; returns the folders and what the two said."""

    def both(*flags, config="cpu", **environment):
        given = [str(data), "--model", str(small_model), "--max-length", "100", "--answers", "0", *SETTINGS, *flags]
        said = launch(config, tmp_path, ["stable", *given, "--out", "two"], **environment)
        return align(*SETTINGS, *flags, out="one"), tmp_path / "two", said

    return both


def rows(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def assert_same(one, two):
    """Equal but for rounding, times and the number of processes."""
    trained, other = (load_file(folder / "model.safetensors") for folder in (one, two))
    # A step moves a weight by up to 1e-3; summing in another order came to 4e-9, a group that counts twice to 1e-4.
    assert all(torch.allclose(trained[name], other[name], rtol=0, atol=1e-6) for name in trained)
    logs = [rows(folder, "trainer_log.jsonl") for folder in (one, two)]
    for line, same in zip(*logs, strict=True):
        assert {name: value for name, value in line.items() if name not in FREE} == pytest.approx(
            {name: value for name, value in same.items() if name not in FREE}, rel=1e-4
        )
    counted, same = (json.loads((folder / "metrics.json").read_text()) for folder in (one, two))
    assert (counted["data"], counted["train"], counted["held_out"]) == (same["data"], same["train"], same["held_out"])
    assert counted["after"]["neutral_perplexity"] == pytest.approx(same["after"]["neutral_perplexity"], rel=1e-4)
    assert (counted["cost"]["processes"], same["cost"]["processes"]) == (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False], ids=["a prompt once", "line by line"])
def test_two_processes_train_as_one(both, tmp_path, shared):
    (tmp_path / "more.toml").write_text(f"[trainer]\nshared_prefix = {str(shared).lower()}\n")
    one, two, said = both("--config", str(tmp_path / "more.toml"))
    assert_same(one, two)
    tokens = [json.loads((folder / "metrics.json").read_text())["cost"]["input_tokens"] for folder in (one, two)]
    assert tokens[0] == tokens[1]
    assert said.count("model two\n") == said.count("measuring the trained model\n") == 1
    assert {path.name for path in tmp_path.iterdir() if "two" in path.name} == {"two"}


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 2])
def test_a_last_step_that_does_not_divide_counts_no_group_twice(both, data, tmp_path, at_once):
    scored = [{"query": f"May I do {n}?", "responses": [a for a, _ in ANSWERS], "scores": [6, 4, n / 4]}
              for n in range(7)]  # fmt: skip
    data.write_text("".join(json.dumps(row) + "\n" for row in scored))
    (tmp_path / "more.toml").write_text(f"[trainer]\nper_device_train_batch_size = {at_once}\n")
    one, two, _ = both("--config", str(tmp_path / "more.toml"), "--test-share", "0", "--epochs", "1")
    assert len(rows(one, "trainer_log.jsonl")) == 2
    assert_same(one, two)


@pytest.mark.slow
# peft 0.21 asks transformers for a property under its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("flags", [(), ("--lora", "--lora-rank", "4")], ids=["full", "lora"])
def test_a_model_divided_by_fsdp_trains_as_a_whole_one(both, flags):
    one, two, said = both(*flags, config="fsdp", PRETEND_GPUS="1")
    assert said.count("trained as DistributedType.FSDP") == 2
    assert_same(one, two)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_what_is_shipped(path):
    read = load_config_from_file(str(path))
    assert read.num_processes == 2 and read.main_process_port == 0


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_is_set_up_as_shipped(stage):
    """As far as that goes without DeepSpeed: each setting is one of accelerate's plugin, and arrives."""
    found = DeepSpeedPlugin(**load_config_from_file(str(SHIPPED / f"deepspeed_zero{stage}.yaml")).deepspeed_config)
    assert found.deepspeed_config["zero_optimization"]["stage"] == stage
    assert found.deepspeed_config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] == (stage == 3)
    assert not found.is_zero3_init_enabled()
