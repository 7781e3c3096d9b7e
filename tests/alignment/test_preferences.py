import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import log_softmax

from agents.errors import BadInput
from alignment.arguments import training_arguments
from alignment.baselines import dpo_rows
from alignment.config import AlignDpoOptions
from alignment.methods import Lesson
from alignment.preferences import (
    OPTIMISERS,
    best_worst,
    optimiser_method,
    optimiser_trainer,
    orpo_loss,
    simpo_loss,
)
from alignment.tokens import ChatFormat
from alignment.weights import with_adapter
from sandbox.config import load
from tests.alignment.conftest import make_model

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

LOSSES = {
    "simpo": lambda *pairs: simpo_loss(*pairs, beta=2.0, gamma=1.0),
    "orpo": lambda *pairs: orpo_loss(*pairs, beta=0.5),
}
STRENGTH = {"dpo": 0.5, "sppo": 0.5, "simpo": 2.0, "orpo": 1.0}  # β with which the tiny model learns in few steps


# Pairs


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        pytest.param([0.2, 0.9, 0.1], (1, 2), id="best and worst"),
        pytest.param([1.0, 3.0, 3.0, 1.0], (1, 0), id="the first of equals"),
        pytest.param([None, 2.0, None, 5.0], (3, 1), id="what is unknown is passed over"),
        pytest.param([-4.0, None, 0.0], (2, 0), id="unknown is not 0"),
        pytest.param([2.0, 2.0, 2.0], None, id="all equal"),
        pytest.param([None, 2.0], None, id="one known"),
        pytest.param([], None, id="none"),
    ],
)
def test_a_pair_is_the_best_and_the_worst(rewards, expected):
    assert best_worst(rewards) == expected


def test_near_rewards_may_count_as_tied():
    assert best_worst([1.0, 1.25], tie=0.25) is None
    assert best_worst([1.0, 1.5], tie=0.25) == (1, 0)


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=8))
def test_no_answer_lies_outside_a_pair(rewards):
    found, known = best_worst(rewards), [reward for reward in rewards if reward is not None]
    if found is None:
        assert len(set(known)) < 2
    else:
        assert rewards[found[0]] == max(known) > min(known) == rewards[found[1]]


def test_a_reward_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="rewards must be finite, or None"):
        best_worst([1.0, float("nan"), 2.0])


# Losses


def test_simpo_by_hand():
    """Mean log-probabilities −1 and −2, β 2, γ 0.5: −log σ(2 · 1 − 0.5)."""
    (loss,) = simpo_loss([-3.0], [-8.0], [3], [4], beta=2.0, gamma=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1.5)), rel=1e-6)


def test_orpo_by_hand():
    """Likelihoods 1/2 and 1/4: odds 1 and 1/3, their ratio 3, −log σ(log 3) = log(4/3)."""
    (loss,) = orpo_loss([2 * math.log(1 / 2)], [3 * math.log(1 / 4)], [2], [3], beta=0.1)
    assert loss.item() == pytest.approx(math.log(2) + 0.1 * math.log(4 / 3), rel=1e-6)


def test_of_equal_answers_only_what_does_not_contrast_is_left():
    equal = [-4.0], [-8.0], [2], [4]
    assert simpo_loss(*equal, beta=2.0, gamma=0.0).item() == pytest.approx(math.log(2))
    assert simpo_loss(*equal, beta=2.0, gamma=1.5).item() == pytest.approx(math.log(1 + math.exp(1.5)))
    assert orpo_loss(*equal, beta=0.1).item() == pytest.approx(2.0 + 0.1 * math.log(2))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_chosen_is_drawn_up_and_the_rejected_down(loss):
    chosen, rejected = (torch.tensor([-6.0, -1.0], requires_grad=True) for _ in range(2))
    loss(chosen, rejected, torch.tensor([3, 4]), torch.tensor([5, 2])).sum().backward()
    assert (chosen.grad < 0).all()
    assert (rejected.grad > 0).all()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_extremes_are_finite(loss, dtype):
    """A sure answer against a hopeless one, both ways round, and two sure ones."""
    chosen = torch.tensor([0.0, -1e4, 0.0, -1e-4, -500.0], dtype=dtype, requires_grad=True)
    rejected = torch.tensor([-1e4, 0.0, 0.0, -500.0, -1e-4], dtype=dtype, requires_grad=True)
    once = torch.ones(5, dtype=torch.long)
    found = loss(chosen, rejected, once, once)
    found.sum().backward()
    assert found.dtype == torch.float32
    assert all(torch.isfinite(value).all() for value in (found, chosen.grad, rejected.grad))


@pytest.mark.parametrize("logp", [-1e-3, -0.1, -1.0, -5.0, -30.0])
def test_log_odds_are_exact(logp):
    """Against the textbook's log(p / (1 − p)), in double precision. The other's odds are 1."""
    (loss,) = orpo_loss([math.log(1 / 2)], [logp], [1], [1], beta=1.0)
    odds = math.exp(logp) / (1 - math.exp(logp))
    assert loss.item() == pytest.approx(math.log(2) + math.log(1 + odds), rel=1e-5)


# Training


@pytest.fixture(scope="module")
def rows(groups, tokenizer):
    """Pairs of different lengths."""
    return dpo_rows([ChatFormat.of(tokenizer).row(group, 100) for group in groups], seed=0)


@pytest.fixture
def prepare(tokenizer, small_model, rows, tmp_path):
    """Makes the trainer of an optimiser as `align` does, on the tiny model, one step over all pairs."""

    def prepare(name, *flags, model=None, pairs=rows, beta=None, gamma=None, table=None, **given):
        argv = ["none.jsonl", "--model", str(small_model), "--out", str(tmp_path / "out"), "--max-length", "100"]
        argv += ["--groups-per-step", str(len(pairs)), "--learning-rate", "1e-2", *flags]
        options = load(AlignDpoOptions, argv, prog="align").model_copy(update={"trainer": table or given})
        method = optimiser_method(
            name, beta=beta, gamma=gamma, lora=options.lora, max_length=options.max_length, model=options.model
        )
        model = model or make_model(len(tokenizer))
        lesson = Lesson(with_adapter(model, 4) if options.lora else model, tokenizer, [], pairs, None)
        return method.trainer(lesson, training_arguments(options, method))

    return prepare


def log_of(trainer, name):
    return [line[name] for line in trainer.state.log_history if name in line]


def states(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def likelihoods(model, rows):
    """Summed log-probabilities and lengths, one answer at a time without padding: for chosen, then rejected."""
    found = {"chosen": [], "rejected": []}
    for side, made in found.items():
        for row in rows:
            prompt, answer = row["prompt_ids"], row[f"{side}_ids"]
            with torch.no_grad():
                logits = model.eval()(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
            made.append(log_softmax(logits, -1).gather(-1, torch.tensor(answer).unsqueeze(-1)).sum().item())
    lengths = [[len(row[f"{side}_ids"]) for row in rows] for side in found]
    return found["chosen"], found["rejected"], *lengths


def first_loss(name, model, rows):
    """By the published formula; at the start policy and reference agree."""
    beta = STRENGTH[name]
    match name:
        case "dpo":
            return math.log(2)
        case "sppo":
            return 2 * (0.5 / beta) ** 2
        case "simpo":
            return simpo_loss(*likelihoods(model, rows), beta=beta, gamma=1.0).mean().item()
    return orpo_loss(*likelihoods(model, rows), beta=beta).mean().item()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_optimiser_learns(prepare, rows, tokenizer, name):
    model = make_model(len(tokenizer))
    expected = first_loss(name, model, rows)
    trainer = prepare(name, model=model, beta=STRENGTH[name], max_steps=8)
    before = states(model)
    reference = OPTIMISERS[name].needs_reference and states(trainer.ref_model)
    trainer.train()
    losses, margins = log_of(trainer, "loss"), log_of(trainer, "rewards/margins")
    assert losses[0] == pytest.approx(expected, rel=1e-4)
    assert losses[-1] < 0.9 * losses[0]
    assert margins[-1] > margins[0]
    assert log_of(trainer, "rewards/accuracies")[-1] == 1.0
    assert [key for key, value in model.named_parameters() if torch.equal(value, before[key])] == []
    if reference:
        assert all(torch.equal(value, reference[key]) for key, value in trainer.ref_model.named_parameters())


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_adapter_learns_alone(prepare, name):
    trainer = prepare(name, "--lora", beta=STRENGTH[name], max_steps=4)
    before = states(trainer.model)
    trainer.train()
    moved = {key for key, value in trainer.model.named_parameters() if not torch.equal(value, before[key])}
    assert moved == {key for key in before if ".default." in key}  # the adapter, all of it, and nothing else
    assert log_of(trainer, "loss")[-1] < log_of(trainer, "loss")[0]
    assert log_of(trainer, "rewards/margins")[-1] > log_of(trainer, "rewards/margins")[0]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_batches_and_padding_change_nothing(prepare, rows, name):
    """A step of six pairs at once, one very long, against one pair at a time."""
    long = {**rows[0], "rejected_ids": rows[0]["rejected_ids"] * 8}
    pairs = [*rows[1:], long]
    once = {"optim": "sgd", "max_steps": 1, "warmup_steps": 0}
    first, *others = (
        prepare(name, pairs=pairs, beta=STRENGTH[name], per_device_train_batch_size=size, **once) for size in (6, 2, 1)
    )
    untrained = states(first.model)
    first.train()
    assert any(not torch.equal(value, untrained[key]) for key, value in first.model.named_parameters())
    for other in others:
        other.train()
        for key in ("loss", "rewards/margins", "grad_norm"):
            assert log_of(other, key) == pytest.approx(log_of(first, key), rel=1e-4, abs=1e-5), key
        weights = zip(first.model.parameters(), other.model.parameters(), strict=True)
        assert all(torch.allclose(one, two, atol=1e-6) for one, two in weights)


@pytest.mark.parametrize("flags", [[], ["--lora"]], ids=["all weights", "adapter"])
@pytest.mark.parametrize(("name", "passes"), [("dpo", 2), ("simpo", 1), ("orpo", 1)])
def test_without_a_reference_none_is_there(prepare, tokenizer, monkeypatch, flags, name, passes):
    """The embedding is asked once a step; the reference's, or the model's own without its adapter, once more."""
    asked, loaded = [], []
    load_reference = lambda name: loaded.append(name) or (make_model(len(tokenizer)), tokenizer)  # noqa: E731
    monkeypatch.setattr("alignment.preferences.whole_model", load_reference)
    trainer = prepare(name, *flags, max_steps=1, per_device_train_batch_size=6)
    models = [trainer.model] if trainer.ref_model is None else [trainer.model, trainer.ref_model]
    for model in models:
        model.get_input_embeddings().register_forward_hook(lambda *_: asked.append(1))
    trainer.train()
    assert len(asked) == passes
    assert len(loaded) == (1 if name == "dpo" and not flags else 0)
    assert any(".ref." in key for key in states(trainer.model)) == (name == "dpo" and bool(flags))


def test_rewards_are_those_of_the_formula(prepare, rows, tokenizer):
    chosen, rejected, of_chosen, of_rejected = map(torch.tensor, likelihoods(make_model(len(tokenizer)), rows))
    trainer = prepare("simpo", beta=3.0, max_steps=1)
    trainer.train()
    gap = 3.0 * (chosen / of_chosen - rejected / of_rejected)
    assert log_of(trainer, "rewards/margins") == pytest.approx([gap.mean().item()], abs=1e-5)
    assert log_of(trainer, "rewards/accuracies") == pytest.approx([(gap > 0).float().mean().item()])
    assert log_of(trainer, "logps/chosen") == pytest.approx([chosen.mean().item()], rel=1e-4)


# Settings


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("dpo", {"beta": 0.1, "loss_type": ["sigmoid"]}),
        ("sppo", {"beta": 0.001, "loss_type": ["sppo_hard"]}),
        ("simpo", {"beta": 2.0, "gamma": 1.0}),
        ("orpo", {"beta": 0.1}),
    ],
)
def test_published_settings_reach_the_trainer(prepare, name, own):
    args = prepare(name).args
    assert {key: getattr(args, key) for key in own} == own
    assert (args.max_length, args.lr_scheduler_type) == (100, "cosine")


def test_given_settings_do_too(prepare, rows, tokenizer):
    trainer = prepare("simpo", beta=4.0, gamma=3.0, max_steps=1)
    trainer.train()
    expected = simpo_loss(*likelihoods(make_model(len(tokenizer)), rows), beta=4.0, gamma=3.0).mean().item()
    assert log_of(trainer, "loss") == pytest.approx([expected], rel=1e-4)


@pytest.mark.parametrize("lora", [False, True])
def test_what_is_held_in_memory(lora):
    held = {
        name: optimiser_method(name, beta=None, gamma=None, lora=lora, max_length=100, model="m").models
        for name in OPTIMISERS
    }
    compared = ("policy",) if lora else ("policy", "reference")
    assert held == {"dpo": compared, "sppo": compared, "simpo": ("policy",), "orpo": ("policy",)}


def test_only_simpo_has_a_margin(prepare):
    with pytest.raises(BadInput, match="--gamma: dpo has none; leave it out, or choose --optimiser simpo"):
        prepare("dpo", gamma=1.0)


@pytest.mark.parametrize(
    ("name", "table", "told"),
    [
        ("simpo", {"gamma": 1.0}, r"\[trainer\] gamma: has an option of its own; use --gamma"),
        ("orpo", {"loss_type": ["sigmoid"]}, "use --optimiser"),
        ("orpo", {"ld_alpha": 0.5}, r"\[trainer\]: ld_alpha: orpo has no such setting; mend the table"),
        ("dpo", {"gamma": 1.0}, r"\[trainer\]: unknown key 'gamma'"),
    ],
)
def test_a_table_with_settings_that_are_not_its_own_is_refused(prepare, name, table, told):
    with pytest.raises(BadInput, match=told):
        prepare(name, table=table)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: [], "no pair to train on"),
        (lambda rows: [rows[0], {**rows[1], "rejected_ids": []}], "pair 2 of 2: an answer has no tokens"),
    ],
    ids=["no pair", "an empty answer"],
)
def test_pairs_that_teach_nothing_are_refused(rows, change, told):
    with pytest.raises(BadInput, match=told):
        optimiser_trainer(OPTIMISERS["simpo"], None, None, change(rows), None, None)
