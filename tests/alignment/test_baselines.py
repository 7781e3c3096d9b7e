import math

import pytest
import torch
from trl import DPOConfig, RLOOConfig, SFTConfig

from agents.records import Rating
from alignment.baselines import (
    DEFAULTS,
    IGNORED,
    dpo_rows,
    dpo_trainer,
    prompt_rows,
    rloo_trainer,
    sft_rows,
    sft_trainer,
)
from alignment.judge import Judge
from alignment.tokens import ChatFormat, Row
from tests.alignment.conftest import make_group, make_model

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

ROW = Row((7, 8), ((1, 2), (3,), (4, 5, 6)), (6.0, 2.0, 4.0), (False,) * 3, "q")
LEVEL = Row((7,), ((1,), (2,)), (3.0, 3.0), (False,) * 2, "q")


@pytest.fixture
def settings(tmp_path):
    """What every trainer here is made with: one step of all rows, on the CPU."""
    return DEFAULTS | {
        "output_dir": str(tmp_path),
        "use_cpu": True,
        "bf16": False,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "train_sampling_strategy": "sequential",
    }


def losses(trainer):
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def test_fine_tuning_takes_the_best_response_and_trains_nothing_else():
    assert sft_rows([ROW], seed=0) == [{"input_ids": [7, 8, 1, 2], "labels": [IGNORED, IGNORED, 1, 2]}]
    chosen = {tuple(row["labels"]) for row in sft_rows([LEVEL] * 40, seed=0)}
    assert chosen == {(IGNORED, 1), (IGNORED, 2)}  # of equals either


def test_a_pair_is_the_best_against_one_rated_lower():
    pairs = dpo_rows([ROW] * 40, seed=0)
    assert {tuple(pair["chosen_ids"]) for pair in pairs} == {(1, 2)}
    assert {tuple(pair["rejected_ids"]) for pair in pairs} == {(3,), (4, 5, 6)}
    assert all(pair["prompt_ids"] == [7, 8] for pair in pairs)
    assert dpo_rows([LEVEL, ROW, LEVEL], seed=0) == dpo_rows([LEVEL, ROW], seed=0)  # without a pair, none
    assert dpo_rows([ROW] * 40, seed=1) != pairs


def test_the_tokens_are_those_of_stable_alignment(tokenizer):
    group = make_group("May I?", ["Ask her first.", "Lie about it."], [6, 2], finished=[True, False])
    format = ChatFormat.of(tokenizer)
    (pair,) = dpo_rows([format.row(group, 100)], seed=0)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "May I?"}], add_generation_prompt=True, tokenize=False
    )
    assert tokenizer.decode(pair["prompt_ids"]) == text
    assert tokenizer.decode(pair["chosen_ids"]) == "Ask her first.<|im_end|>"
    assert tokenizer.decode(pair["rejected_ids"]) == "Lie about it."  # it was cut off: no end of turn
    (prompt,) = prompt_rows([group])
    rendered = tokenizer.apply_chat_template(prompt["prompt"], add_generation_prompt=True)["input_ids"]
    assert rendered == pair["prompt_ids"]


def test_fine_tuning_learns(settings, groups, tokenizer, model):
    before = {name: value.clone() for name, value in model.named_parameters()}
    rows = [ChatFormat.of(tokenizer).row(group, 100) for group in groups]
    args = SFTConfig(**settings, num_train_epochs=8, per_device_train_batch_size=6, learning_rate=1e-2)
    trainer = sft_trainer(model, args, rows, tokenizer)
    with torch.no_grad():
        expected = _token_loss(make_model(len(tokenizer)), sft_rows(rows, args.seed))
    trainer.train()
    assert losses(trainer)[0] == pytest.approx(expected, rel=1e-4)
    assert losses(trainer)[-1] < 0.9 * losses(trainer)[0]
    assert [name for name, value in model.named_parameters() if torch.equal(value, before[name])] == []


def _token_loss(model, rows):
    total, tokens = 0.0, 0
    for row in rows:
        labels = torch.tensor([row["labels"]])
        count = (labels != IGNORED).sum().item()
        total += model.eval()(input_ids=torch.tensor([row["input_ids"]]), labels=labels).loss.item() * count
        tokens += count
    return total / tokens


@pytest.mark.parametrize(
    ("loss", "beta", "first"),
    [("sigmoid", 0.5, math.log(2)), ("ipo", 0.5, (1 / (2 * 0.5)) ** 2), ("ipo", 2.0, (1 / (2 * 2.0)) ** 2)],
)
def test_pairs_are_learned(settings, groups, tokenizer, model, loss, beta, first):
    before = {name: value.clone() for name, value in model.named_parameters()}
    rows = [ChatFormat.of(tokenizer).row(group, 100) for group in groups]
    args = DPOConfig(
        **settings, num_train_epochs=8, per_device_train_batch_size=6, learning_rate=1e-2, loss_type=[loss], beta=beta
    )
    trainer = dpo_trainer(model, args, rows, tokenizer, make_model(len(tokenizer)))
    trainer.train()
    assert losses(trainer)[0] == pytest.approx(first, rel=1e-5)  # at the start policy and reference agree
    assert losses(trainer)[-1] < 0.9 * first
    assert [name for name, value in model.named_parameters() if torch.equal(value, before[name])] == []


def test_reinforcement_follows_its_judge(settings, groups, tokenizer, model):
    """The judge likes letters: the model comes to write more of them."""
    asked = []

    def ratings(pairs):
        asked.extend(question for question, _ in pairs)
        return [Rating(1 + 6 * sum(map(str.isalpha, answer)) / (1 + len(answer)), None) for _, answer in pairs]

    before = {name: value.clone() for name, value in model.named_parameters()}
    args = RLOOConfig(
        **settings,
        shuffle_dataset=False,
        num_train_epochs=25,
        per_device_train_batch_size=48,
        num_generations=8,
        max_completion_length=8,
        learning_rate=2e-2,
        beta=0.0,
    )
    trainer = rloo_trainer(model, args, groups, tokenizer, Judge("by letters", "none", ratings, "alignment"))
    trainer.train()
    rewards = [line["reward"] for line in trainer.state.log_history if "reward" in line]
    assert rewards[-1] > rewards[0] + 0.5, rewards
    assert asked[:48] == [group.question for group in groups for _ in range(8)]  # in the order of the visits
    assert [name for name, value in model.named_parameters() if torch.equal(value, before[name])] == []


def test_an_answer_without_a_rating_teaches_nothing(settings, groups, tokenizer, model):
    before = {name: value.clone() for name, value in model.named_parameters()}
    args = RLOOConfig(
        **settings,
        shuffle_dataset=False,
        max_steps=2,
        per_device_train_batch_size=12,
        num_generations=2,
        max_completion_length=4,
        learning_rate=1e-2,
        beta=0.0,
    )
    unrated = Judge("mute", "none", lambda pairs: [Rating(None, None)] * len(pairs), "alignment")
    rloo_trainer(model, args, groups, tokenizer, unrated).train()
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
