import math

import pytest
import torch
from trl import DPOConfig, RLOOConfig, SFTConfig

from agents.chat import ChatTemplate
from agents.language_model import Message
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
from alignment.weights import with_adapter
from sandbox.dataset import Group
from tests.alignment.conftest import make_group, make_model, make_tokenizer

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
        "save_strategy": "no",
    }


@pytest.fixture
def reinforced(settings, tokenizer, model):
    """The trainer that has sampled answers to the groups' queries and learned from their ratings."""

    def reinforced(groups, ratings, **changed):
        args = RLOOConfig(**settings, shuffle_dataset=False, max_completion_length=4, beta=0.0, **changed)
        trainer = rloo_trainer(model, args, groups, tokenizer, Judge("by rule", "none", ratings, "alignment"))
        trainer.train()
        return trainer

    return reinforced


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


TURN = "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
TEMPLATES = {  # as far as they matter here
    "SmolLM2": "{% for message in messages %}" + TURN + "{% endfor %}",
    "Llama 3": "{{ date_string | default('today') }}{% for message in messages %}" + TURN + "{% endfor %}",
    "Gemma 2": "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for message in messages %}" + TURN + "{% endfor %}",
    "losing the system turn": "{% for message in messages if message['role'] != 'system' %}" + TURN + "{% endfor %}",
}
OPENINGS = {"plain": "", "Qwen 3": "{% if enable_thinking is false %}<think></think>{% endif %}"}


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_reinforcement_asks_with_the_same_tokens(settings, template, opening):
    tokenizer = make_tokenizer()
    reply = "{% if add_generation_prompt %}<|im_start|>assistant\n" + opening + "{% endif %}"
    tokenizer.chat_template = template + reply
    query = (Message("system", "Be kind."), Message("user", "May I?"))
    group = Group(query, ("Ask her first.",), (6.0,), (True,), ("",), "May I?")
    model = make_model(len(tokenizer))
    given, asked = [], []
    model.register_forward_pre_hook(lambda _, args, inputs: given.append(inputs["input_ids"]), with_kwargs=True)
    args = RLOOConfig(**settings, max_steps=1, per_device_train_batch_size=2, num_generations=2, beta=0.0)
    judge = Judge("deaf", "none", lambda pairs: asked.extend(pairs) or [Rating(4.0, None)] * len(pairs), "alignment")
    rloo_trainer(model, args, [group], tokenizer, judge).train()
    row = ChatFormat.of(tokenizer).row(group, 200)
    assert given[0].tolist() == [[*row.prompt]] * 2
    assert {question for question, _ in asked} == {"May I?"}  # without what was folded into it


def test_what_the_judge_is_asked_is_the_last_turn(tokenizer):
    query = (Message("user", "May I?"), Message("assistant", "Yes."), Message("user", "Why?"))
    group = Group(query, ("Ask her first.",), (6.0,), (True,), ("",), "May I?")
    (row,) = prompt_rows([group], ChatTemplate.of(tokenizer, "tiny"))
    assert row["question"] == "Why?"
    assert [turn["content"] for turn in row["prompt"]] == ["May I?", "Yes.", "Why?"]


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


def test_reinforcement_follows_its_judge(reinforced, groups, model):
    """The judge likes letters: the model comes to write more of them."""
    asked = []

    def ratings(pairs):
        asked.extend(question for question, _ in pairs)
        return [Rating(1 + 6 * sum(map(str.isalpha, answer)) / (1 + len(answer)), None) for _, answer in pairs]

    before = {name: value.clone() for name, value in model.named_parameters()}
    size = {"per_device_train_batch_size": 48, "num_generations": 8}
    trainer = reinforced(groups, ratings, num_train_epochs=25, learning_rate=2e-2, **size)
    rewards = [line["reward"] for line in trainer.state.log_history if "reward" in line]
    assert rewards[-1] > rewards[0] + 0.5, rewards
    assert asked[:48] == [group.question for group in groups for _ in range(8)]  # in the order of the visits
    assert [name for name, value in model.named_parameters() if torch.equal(value, before[name])] == []


def test_an_answer_without_a_rating_teaches_nothing(reinforced, groups, model):
    """Nor does the one beside it, which then has no other to be measured by. Taken for 0 it would teach both."""
    before = {name: value.clone() for name, value in model.named_parameters()}

    def every_second(pairs):
        return [Rating(6.0 if n % 2 else None, None) for n in range(len(pairs))]

    size = {"per_device_train_batch_size": 12, "num_generations": 2}
    trainer = reinforced(groups, every_second, max_steps=2, learning_rate=1e-2, **size)
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    logged = [line for line in trainer.state.log_history if "reward" in line]
    assert [(line["unrated"], line["reward"]) for line in logged] == [(0.5, 6.0)] * 2


def test_an_answer_is_measured_by_the_others(reinforced, groups):
    """By hand: 2, 3, 7 and none: 2 − (3 + 7)/2 = −3, 3 − (2 + 7)/2 = −1.5, 7 − (2 + 3)/2 = 4.5."""
    ratings = [Rating(value, None) for value in (2.0, 3.0, 7.0, None)]
    size = {"per_device_train_batch_size": 4, "num_generations": 4}
    trainer = reinforced(groups[:1], lambda _: ratings, max_steps=1, **size)
    assert [*trainer._logs["advantages"]] == [-3.0, -1.5, 4.5, 0.0]  # TRL tells nobody else of them


def test_an_adapter_is_held_to_the_model_without_it(settings, groups, tokenizer, model):
    rows = [ChatFormat.of(tokenizer).row(group, 100) for group in groups]
    args = DPOConfig(**settings, num_train_epochs=4, per_device_train_batch_size=6, learning_rate=1e-2, beta=0.5)
    trainer = dpo_trainer(with_adapter(model, 4), args, rows, tokenizer, None)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    assert losses(trainer)[0] == pytest.approx(math.log(2), rel=1e-5)
    assert losses(trainer)[-1] < losses(trainer)[0]
    moved = {name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if ".default." in name}  # the adapter, all of it, and nothing else
