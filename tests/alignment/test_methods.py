"""Every method by its command, on the tiny model: it trains, it is measured alike, and it leaves the same folder."""

import json

import pytest
import torch
from safetensors.torch import load_file

from agents.errors import BadInput
from alignment.config import AlignDpoOptions, AlignRlooOptions, AlignSftOptions, AlignStableOptions
from alignment.training import run_training
from sandbox.config import load

# peft 0.21 and TRL 1.16 ask transformers for a property under its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

OPTIONS = {"stable": AlignStableOptions, "sft": AlignSftOptions, "dpo": AlignDpoOptions, "rloo": AlignRlooOptions}


@pytest.fixture
def train(data, tiny_model_folder, tmp_path, one_hot):
    """Trains a tiny model, whose tokenizer has the words that a judge needs, by a method."""

    def train(method, *flags, out="trained", source=data, model=None):
        argv = [str(source), "--model", str(model or tiny_model_folder()), "--out", str(tmp_path / out)]
        argv += ["--groups-per-step", "4", "--answer-tokens", "4", *flags]
        return run_training(load(OPTIONS[method], argv, prog=f"align {method}"))

    return train


def read(folder, name):
    return json.loads((folder / name).read_text())


def rows(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


METHODS = [
    ("stable", [], "stable"),
    ("sft", [], "sft"),
    ("dpo", ["--beta", "1"], "dpo"),
    ("dpo", ["--loss", "ipo", "--beta", "1"], "ipo"),
    ("rloo", ["--completion-tokens", "6", "--generations", "2"], "rloo"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "flags", "name"), METHODS, ids=[name for *_, name in METHODS])
@pytest.mark.parametrize("lora", [False, True], ids=["all weights", "adapter"])
def test_a_method_trains(train, tiny_model_folder, method, flags, name, lora):
    base = tiny_model_folder()
    given = [*flags, "--epochs", "3", "--learning-rate", "1e-2", *(["--lora", "--lora-rank", "4"] if lora else [])]
    out = train(method, *given, model=base)
    old, new = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    assert old.keys() == new.keys()
    still = [key for key in old if torch.equal(old[key], new[key])]
    assert not [key for key in still if "proj" in key or not lora], still

    metrics = read(out, "metrics.json")
    assert metrics["method"] == name
    assert metrics["train"]["steps"] == len([row for row in rows(out, "trainer_log.jsonl") if "loss" in row])
    assert metrics["cost"]["input_tokens"] > 0 and metrics["cost"]["seconds"] > 0
    assert (metrics["cost"]["generated_tokens"] > 0) == (method == "rloo")
    assert metrics["judge"] == "llm:verdict"
    points = rows(out, "stability.jsonl")
    assert points[0]["step"] == 0 and points[-1]["step"] == metrics["train"]["steps"]
    assert points[0]["kl"] == pytest.approx(0, abs=1e-5) and points[-1]["kl"] > 1e-6
    assert all(1 <= point["reward"] <= 7 and 0 < point["answer_tokens"] <= 4 for point in points)
    if method != "rloo":
        losses = [row["loss"] for row in rows(out, "trainer_log.jsonl") if "loss" in row]
        assert losses[-1] < losses[0]
