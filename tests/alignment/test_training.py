import json
import shutil
import sys
import tomllib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from agents.errors import BadInput
from agents.models import root_model
from alignment import training
from tests.alignment.conftest import ANSWERS, OneHot
from tests.fakes.full_disk import largest_file


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_the_folder_that_is_left_behind(align, data, tmp_path, capsys):
    out = align("--epochs", "2", "--learning-rate", "1e-3", "--groups-per-step", "4")
    assert {path.name for path in out.iterdir()} >= {
        *("config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
        *("lineage.json", "metrics.json", "align.toml", "trainer_log.jsonl"),
    }
    assert not (out / "adapter").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert AutoTokenizer.from_pretrained(out).chat_template

    lineage = json.loads((out / "lineage.json").read_text())
    assert [source["path"] for source in lineage["sources"]] == [str(data)]
    assert lineage["base_model"] == lineage["root_model"] == root_model(str(out))
    assert lineage["config"]["learning_rate"] == 1e-3
    assert len(lineage["rows_digest"]) == 32

    metrics = json.loads((out / "metrics.json").read_text())
    train, held_out = metrics["train"], metrics["held_out"]
    assert train["groups"] + held_out["groups"] == 10 and held_out["groups"] > 0
    assert metrics["data"]["scale"] == 7.0
    assert metrics["after"]["pairs"] == 3 * held_out["groups"]
    gain = metrics["after"]["pair_accuracy"]["value"] - metrics["before"]["pair_accuracy"]["value"]
    assert metrics["accuracy_gain"]["value"] == pytest.approx(gain)

    resolved = tomllib.loads((out / "align.toml").read_text())
    assert (resolved["learning_rate"], resolved["rating_scale"], resolved["groups_per_step"]) == (1e-3, 7.0, 4)
    log = [json.loads(line) for line in (out / "trainer_log.jsonl").read_text().splitlines()]
    assert {"loss", "active_hinges", "nll_best", "learning_rate"} <= log[0].keys()
    shown = capsys.readouterr()
    assert "pair accuracy" in shown.out and "step 5/5" in shown.err and "10 groups" in shown.err
    assert "{'loss'" not in shown.out


def test_training_raises_the_best_and_orders_the_held_out(align):
    out = align("--epochs", "30", "--learning-rate", "1e-2", "--margin", "20", "--weight", "1", "--test-share", "0.4")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["after"]["pair_accuracy"]["value"] == 1.0
    assert metrics["after"]["best_per_token"] > metrics["before"]["best_per_token"]
    assert metrics["after"]["best_perplexity"] < metrics["before"]["best_perplexity"]


def test_all_parameters_move_and_equal_seeds_give_equal_models(align, small_model):
    before = weights(small_model)
    settings = ("--epochs", "2", "--learning-rate", "1e-2", "--groups-per-step", "2", "--responses", "2")
    first, same, other = (
        weights(align(*settings, "--seed", seed, out=out)) for seed, out in (("1", "a"), ("1", "b"), ("2", "c"))
    )
    assert [name for name in before if torch.equal(before[name], first[name])] == []
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_lora_leaves_a_plain_model_and_its_adapter(align, small_model):
    out = align("--lora", "--lora-rank", "4", "--epochs", "3", "--learning-rate", "1e-2", "--groups-per-step", "2")
    base = AutoModelForCausalLM.from_pretrained(small_model).state_dict()
    merged = AutoModelForCausalLM.from_pretrained(out).state_dict()
    assert base.keys() == merged.keys()
    same = {name.rpartition(".layers.")[2] for name in base if torch.equal(base[name], merged[name])}
    assert not any("proj" in name for name in same), "an adapted matrix did not move"
    assert any("norm" in name for name in same)  # what has no adapter stays
    assert (out / "adapter" / "adapter_model.safetensors").exists()


def test_a_trained_model_can_be_trained_on(align, tmp_path):
    first = align("--epochs", "0.2")
    second = align("--epochs", "0.2", "--model", str(first), out="again")
    lineage = json.loads((second / "lineage.json").read_text())
    assert lineage["base_model"] == str(first)
    assert lineage["root_model"] == json.loads((first / "lineage.json").read_text())["base_model"]


def test_nothing_held_out(align):
    metrics = json.loads((align("--test-share", "0") / "metrics.json").read_text())
    assert metrics["held_out"]["groups"] == 0
    assert metrics["before"]["pair_accuracy"] is metrics["accuracy_gain"] is None
    assert metrics["after"]["neutral_perplexity"] > 0


def test_a_used_folder_is_refused(align, tmp_path):
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "kept.txt").write_text("mine")
    with pytest.raises(BadInput, match="trained: is in use; name another folder"):
        align()
    assert (tmp_path / "trained" / "kept.txt").read_text() == "mine"


def test_a_failed_training_leaves_nothing(align, tmp_path):
    before = set(tmp_path.iterdir())
    with pytest.raises(BadInput, match="training diverged"):
        align("--learning-rate", "1e30", "--epochs", "5", "--groups-per-step", "1")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("weight_decy = 0.1", r"\[trainer\]: unknown key 'weight_decy'; did you mean weight_decay\?"),
        ("learning_rate = 0.1", r"\[trainer\] learning_rate: has an option of its own; use --learning-rate"),
        ('lr_scheduler_type = "zigzag"', r"\[trainer\]: zigzag is not a valid SchedulerType"),
        ("per_device_train_batch_size = 3", r"--groups-per-step 8: is not a multiple of the 3 groups"),
    ],
)
def test_trainer_table_errors(align, tmp_path, table, message):
    (tmp_path / "config.toml").write_text(f"[trainer]\n{table}\n")
    with pytest.raises(BadInput, match=message) as caught:
        align("--config", str(tmp_path / "config.toml"))
    assert "\n" not in str(caught.value)


def test_the_trainer_table_reaches_the_trainer(align, tmp_path):
    (tmp_path / "config.toml").write_text(
        "epochs = 4\n[trainer]\nmax_steps = 2\nper_device_train_batch_size = 4\nlr_scheduler_type = 'constant'\n"
    )
    out = align("--config", str(tmp_path / "config.toml"))
    steps = [json.loads(line) for line in (out / "trainer_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if "loss" in line] == [1, 2]
    assert steps[1]["learning_rate"] == 2e-5
    assert tomllib.loads((out / "align.toml").read_text())["trainer"]["max_steps"] == 2
    again = align("--config", str(out / "align.toml"), out="again")  # what it resolved to is a --config itself
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(out).items())


def test_questions_that_are_all_alike_cannot_be_divided(align, monkeypatch):
    monkeypatch.setattr(OneHot, "encode", lambda self, texts: np.ones((len(texts), 1), dtype=np.float32))
    with pytest.raises(
        BadInput, match="the 10 questions are all alike and cannot be divided; give more, or set it to 0"
    ):
        align()


def test_models_that_do_not_load_are_refused(align, tmp_path):
    with pytest.raises(BadInput, match="there is no such folder"):
        align("--model", str(tmp_path / "absent"))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    (broken / "model.safetensors").write_bytes(b"")
    with pytest.raises(BadInput, match="does not load"):
        align("--model", str(broken))


def test_a_model_that_is_not_whole_is_refused(align, small_model, tmp_path):
    folder = shutil.copytree(small_model, tmp_path / "torn")
    held = weights(folder)
    del held["model.norm.weight"]
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"1 weights are missing \(model.norm.weight"):
        align("--model", str(folder))


@pytest.mark.parametrize("room", [100, 30_000])  # less than the configuration; less than the weights
def test_a_disk_without_room_is_told(align, tmp_path, monkeypatch, room):
    write = training.write_model

    def cramped(*arguments):
        with largest_file(room):
            write(*arguments)

    monkeypatch.setattr(training, "write_model", cramped)
    before = set(tmp_path.iterdir())
    with pytest.raises(BadInput, match=r"cannot write .*trained \(.*\); make room") as caught:
        align("--epochs", "0.2")
    assert "\n" not in str(caught.value)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("room", [30_000, 60_000])  # less than the weights; less than the optimizer's state
def test_a_checkpoint_without_room_is_told_and_the_training_goes_on_when_there_is_some(align, tmp_path, room):
    steps = ("--epochs", "1", "--learning-rate", "1e-3", "--save-steps", "2")
    told = r"cannot write .*trained.checkpoints \(.*\); make room, go on with --resume"
    with largest_file(room), pytest.raises(BadInput, match=told) as caught:
        align(*steps)
    assert "\n" not in str(caught.value) and not (tmp_path / "trained").exists()
    align(*steps, "--resume")
    align(*steps, out="whole")
    torch.testing.assert_close(weights(tmp_path / "trained"), weights(tmp_path / "whole"), rtol=0, atol=0)


@pytest.mark.parametrize(("package", "flags"), [("accelerate", []), ("peft", ["--lora"])])
def test_a_package_that_is_not_installed_is_named(align, tmp_path, monkeypatch, package, flags):
    monkeypatch.setitem(sys.modules, package, None)
    before = set(tmp_path.iterdir())
    with pytest.raises(BadInput, match=rf"training needs {package}: pip install 'social-sandbox\[align\]'"):
        align(*flags)
    assert set(tmp_path.iterdir()) == before


def test_markup_in_the_data_is_not_markup(align, tmp_path, capsys):
    rows = [{"query": f"May I do {n}?", "responses": [a for a, _ in ANSWERS], "scores": [6, 4, 1]} for n in range(3)]
    rows.append({"query": "[/INST] :smile: " + "why " * 99, "responses": ["Yes!", "No"], "scores": [6, 2]})
    path = tmp_path / "marked.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    align("--epochs", "0.2", "--test-share", "0", source=path)
    assert "dropped, its prompt fills --max-length: '[/INST] :smile: why" in capsys.readouterr().err
