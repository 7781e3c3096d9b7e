"""Every method by its command, on the tiny model: it trains, it is measured alike, and it leaves the same folder."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from agents.errors import BadInput
from alignment import training
from alignment.config import AlignDpoOptions, AlignRlooOptions, AlignSftOptions, AlignStableOptions
from alignment.training import run_training
from sandbox.config import load

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


def test_what_a_method_passes_over_is_counted_and_told(train, tmp_path, capsys):
    path = tmp_path / "level.jsonl"
    answers = ["Ask her first.", "Lie about it."]
    made = [{"query": f"May I do {n}?", "responses": answers, "scores": [6, 2] if n < 5 else [4, 4]} for n in range(9)]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    flags = ["--test-share", "0", "--epochs", "1", "--watch", "0"]
    out = train("dpo", *flags, source=path)
    assert read(out, "metrics.json")["train"]["passed_over"] == {"no pair of differently rated answers": 4}
    assert "passed over in training: 4 groups, no pair of differently rated answers" in capsys.readouterr().err
    out = train("rloo", *flags, "--generations", "2", "--completion-tokens", "4", out="rloo", source=path)
    assert read(out, "metrics.json")["train"]["passed_over"] == {"at the end, not filling a step": 1}
    assert read(out, "metrics.json")["train"]["steps"] == 2


@pytest.mark.parametrize(
    ("method", "flags", "message"),
    [
        ("rloo", ["--groups-per-step", "64"], "--groups-per-step 64: there are .* RLOO takes full steps only"),
        ("stable", ["--judge", "nobody"], "--judge nobody: unknown judge; known: llm:verdict, llm:scale, embedding"),
        ("stable", ["--epochs", "0.01"], "--epochs 0.01: comes to no group at all of"),
        ("stable", ["--stages", "self_critic"], "no groups in the data"),
        ("sft", ["--resume"], "--resume: .*trained.checkpoints holds no training that was stopped"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(train, tmp_path, method, flags, message):
    before = set(tmp_path.iterdir())
    with pytest.raises(BadInput, match=message) as caught:
        train(method, *flags)
    assert "\n" not in str(caught.value)
    assert set(tmp_path.iterdir()) == before


def test_a_judge_that_lacks_the_words_is_told(train, small_model):
    with pytest.raises(BadInput, match="--judge llm:verdict: .* can't .*choose another, or another --judge-model"):
        train("stable", model=small_model)


@pytest.mark.parametrize("method", ["stable", "sft"])
def test_the_log_reaches_tensorboard(train, method):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = train(method, "--report-to", "tensorboard", "--answers", "0")
    (events,) = (out / "runs").rglob("events.out.tfevents.*")
    read_back = EventAccumulator(str(events))
    read_back.Reload()
    scalars = read_back.Tags()["scalars"]
    own = {"train/active_hinges"} if method == "stable" else set()
    assert {"train/loss", "train/watch/kl", "train/watch/margin"} | own <= set(scalars)


@pytest.mark.parametrize(("method", "flags"), [("sft", []), ("dpo", []), ("rloo", METHODS[-1][1])])
def test_a_baseline_that_was_stopped_goes_on_to_the_same_end(train, monkeypatch, tmp_path, method, flags):
    given = [*flags, "--epochs", "2", "--learning-rate", "1e-2", "--answers", "0", "--watch", "0", "--save-steps", "1"]
    whole = train(method, *given, out="whole")
    steps = read(whole, "metrics.json")["train"]["steps"]

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "write_model", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(method, *given, out="cut")
    kept = sorted((tmp_path / "cut.checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    shutil.rmtree(kept[-1])  # as if it had been stopped one step earlier
    assert steps > 2 and kept[-2].name == f"checkpoint-{steps - 1}"
    again = train(method, *given, "--resume", out="cut")
    assert (again / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert not (tmp_path / "cut.checkpoints").exists()


def test_methods_meet_and_are_measured_on_the_same_groups(train):
    found = []
    for method in ("stable", "sft", "dpo"):
        metrics = read(train(method, "--answers", "0", "--watch", "0", "--epochs", "2", out=method), "metrics.json")
        found.append([metrics["train"]["visits"], metrics["train"]["steps"], metrics["held_out"], metrics["before"]])
    assert found[0] == found[1] == found[2]
