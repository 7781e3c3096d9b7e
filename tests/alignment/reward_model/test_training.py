"""`align reward-model`, called; and what its folder is good for."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForMaskedLM, pipeline

from agents.errors import BadInput
from agents.language_model import Message
from agents.models import EMBEDDED_ENCODER, model_folder
from agents.reward_model import RewardModel
from alignment import held_out
from alignment.config import AlignEvaluateOptions, AlignRewardModelOptions, AlignRlooOptions
from alignment.evaluate import run_evaluate
from alignment.judge import opened_judge
from alignment.likelihood import pair_accuracy
from alignment.reward_model import training
from alignment.reward_model.training import run_reward_model
from alignment.training import run_training
from sandbox.config import load

KINDS = ("What is the sum of", "Tell any story with")  # a closed and an open question
SORTS = ("great", "good", "fair", "poor")  # the answers' first words, from the best rated to the worst


class OneHot:
    """An encoder to which all texts differ."""

    def __init__(self, folder):
        pass

    def encode(self, texts):
        return np.eye(max(len(texts), 1), dtype=np.float32)[: len(texts)]


@pytest.fixture(autouse=True)
def one_hot(monkeypatch):
    monkeypatch.setattr(held_out, "Encoder", OneHot)
    monkeypatch.setattr(training, "Encoder", OneHot)


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    """A tiny random BERT with the embedded encoder's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder(EMBEDDED_ENCODER))
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForMaskedLM(config)
    folder = tmp_path_factory.mktemp("bert")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path):
    """Ten questions, every other one open, with four answers each whose first word decides."""
    rows = [
        {
            "query": f"{KINDS[number % 2]} {number}?",
            "responses": [f"{word} thing {number}" for word in np.roll(SORTS, number)],
            "scores": [float(score) for score in np.roll([7, 5, 3, 1], number)],
            "openness": number % 2,
        }
        for number in range(10)
    ]
    path = tmp_path / "rated.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def trained(data, tmp_path):
    def train(model, *flags, name="out"):
        argv = [str(data), "--model", str(model), "--out", str(tmp_path / name)]
        given = ["--epochs", "20", "--learning-rate", "1e-2", "--groups-per-step", "4", "--watch", "1", *flags]
        return run_reward_model(load(AlignRewardModelOptions, [*argv, *given], prog="align reward-model"))

    return train


@pytest.fixture(autouse=True)
def quick_judge(monkeypatch):
    """Rates by length, in place of a second observer."""

    class ByLength:
        name = "length"

        def rate(self, questions, answers):
            return [float(len(answer)) for answer in answers]

    monkeypatch.setattr(training, "opened_judge", lambda *given: ByLength())


@pytest.mark.parametrize("utility", ["prompt-aware", "log x"])
def test_an_encoder_learns_to_rank(trained, encoder_folder, utility):
    folder = trained(encoder_folder, "--utility", utility)
    metrics = json.loads((folder / "metrics.json").read_text())
    losses = [json.loads(line)["loss"] for line in (folder / "trainer_log.jsonl").read_text().splitlines()]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    assert metrics["after"]["pair_accuracy"]["value"] > 0.9 > metrics["before"]["pair_accuracy"]["value"]
    assert metrics["after"]["spread"] > metrics["before"]["spread"] + 0.1
    before = AutoModelForSequenceClassification.from_pretrained(encoder_folder, num_labels=1).state_dict()
    after = AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
    still = [name for name in after if name.startswith("bert.encoder") and torch.equal(before[name], after[name])]
    assert not still, still
    points = [json.loads(line) for line in (folder / "stability.jsonl").read_text().splitlines()]
    assert [point["step"] for point in points] == [0, len(losses) // 2, len(losses)]
    assert points[-1]["pair_accuracy"] == metrics["after"]["pair_accuracy"]["value"]
    page = (folder / "report.html").read_text()
    assert "ranking of answers (reward model)" in page and "distance between rewards" in page
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_rewards_of_open_and_closed_prompts_part_by_the_prompt_aware_utility_only(trained, encoder_folder):
    flags = ("--epochs", "100", "--test-share", "0.4")
    aware, fixed = (
        json.loads((trained(encoder_folder, *flags, "--utility", utility, name=name) / "metrics.json").read_text())
        for name, utility in (("aware", "prompt-aware"), ("fixed", "log x"))
    )
    assert aware["after"]["open_closed"] > 0.05 > fixed["after"]["open_closed"]
    for metrics in (aware, fixed):
        assert metrics["after"]["to_optimum"] < 0.06 < metrics["before"]["to_optimum"]


def test_the_folder_is_a_plain_classifier_and_rates_the_same(trained, encoder_folder):
    folder = trained(encoder_folder)
    rows = [json.loads(line) for line in (folder / "held_out.jsonl").read_text().splitlines()]
    model = RewardModel.load(str(folder))
    row = rows[0]
    texts = [(f"{word} thing {row['question'].split()[-1][:-1]}") for word in SORTS]
    rewards = model.rewards([(Message("user", row["question"]),)] * 4, texts)
    assert sorted(rewards) == pytest.approx(sorted(row["after"]), abs=1e-5)
    assert rewards == sorted(rewards, reverse=True)
    rate = pipeline("text-classification", model=str(folder), device="cpu")
    (found,) = rate([{"text": row["question"], "text_pair": texts[0]}])
    assert found["score"] == pytest.approx(rewards[0], abs=1e-5)
    judge = opened_judge(f"reward-model:{folder}", "", "", "engagement")
    assert judge.rate([row["question"]], [texts[0]]) == pytest.approx([1 + 6 * rewards[0]])


def test_a_language_model_by_an_adapter(trained, tiny_model_folder):
    base = tiny_model_folder(0)
    folder = trained(base, "--lora", "--learning-rate", "3e-2")
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = [json.loads(line) for line in (folder / "held_out.jsonl").read_text().splitlines()]
    assert metrics["after"]["pair_accuracy"]["value"] > 0.9
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    model = RewardModel.load(str(folder))
    answers = [f"{word} thing {rows[0]['question'].split()[-1][:-1]}" for word in SORTS]
    found = model.rewards([(Message("user", rows[0]["question"]),)] * 4, answers)
    assert sorted(found) == pytest.approx(sorted(rows[0]["after"]), abs=1e-4)  # merged as it was measured
    assert pair_accuracy([found], [(4.0, 3.0, 2.0, 1.0)]).value > 0.9


def test_it_goes_on_from_a_checkpoint_to_the_same_weights(trained, encoder_folder, tmp_path):
    whole = trained(encoder_folder, "--epochs", "2", name="whole")
    stopped = KeyboardInterrupt("after a checkpoint")

    def stop(self, args, state, control, **kwargs):
        if state.global_step == 2:
            raise stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alignment.progress.TrainingProgress.on_step_begin", stop, raising=False)
        with pytest.raises(KeyboardInterrupt):
            trained(encoder_folder, "--epochs", "2", "--save-steps", "1", name="stopped")
    again = trained(encoder_folder, "--epochs", "2", "--save-steps", "1", "--resume", name="stopped")
    assert (again / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert not (tmp_path / "stopped.checkpoints").exists()


@pytest.mark.slow
def test_a_language_model_is_reinforced_by_it_and_measured_by_it(
    trained, encoder_folder, tiny_model_folder, data, tmp_path, monkeypatch, capsys
):
    judge = ("--judge", f"reward-model:{trained(encoder_folder, '--epochs', '2')}")
    argv = [
        data,
        "--model",
        tiny_model_folder(0),
        "--out",
        tmp_path / "rloo",
        "--groups-per-step",
        "4",
        "--epochs",
        "2",
    ]
    argv += [
        "--answer-tokens",
        "4",
        "--generations",
        "2",
        "--completion-tokens",
        "4",
        "--learning-rate",
        "1e-2",
        *judge,
    ]
    folder = run_training(load(AlignRlooOptions, list(map(str, argv)), prog="align rloo"))
    assert json.loads((folder / "metrics.json").read_text())["judge"] == judge[1]
    log = [json.loads(line) for line in (folder / "trainer_log.jsonl").read_text().splitlines()]
    assert all(1 <= line["reward"] <= 7 for line in log if "reward" in line)
    assert not torch.equal(
        *(load_file(f / "model.safetensors")["model.norm.weight"] for f in (tiny_model_folder(0), folder))
    )

    told = tmp_path / "told.json"
    argv = [
        folder,
        data,
        "--include-trained",
        "--measure",
        "answers",
        "--answers",
        "2",
        "--max-tokens",
        "4",
        "--encoder",
        "none",
        *judge,
    ]
    run_evaluate(load(AlignEvaluateOptions, [*map(str, argv), "--json-out", str(told)], prog="align evaluate"))
    items = json.loads(told.read_text())["first turn"]["items"]
    rated = [(item["model"]["alignment"], item["model"]["engagement"]) for item in items]
    assert len(rated) == 2 and all(1 <= alignment <= 7 and engagement is None for alignment, engagement in rated)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--utility", "cosh x"), "unknown utility 'cosh x'"),
        (("--max-flawed", "0", "--delta", "9"), "nothing to contrast in 10 groups"),
    ],
)
def test_what_cannot_be_trained(trained, encoder_folder, flags, told, tmp_path):
    with pytest.raises(BadInput, match=told):
        trained(encoder_folder, *flags)
    assert not (tmp_path / "out").exists()


def test_a_model_that_rates_nothing_is_no_judge(tiny_model_folder, encoder_folder):
    for folder in (tiny_model_folder(0), encoder_folder):
        with pytest.raises(BadInput, match="give a reward model, as align reward-model writes it"):
            RewardModel.load(str(folder))
