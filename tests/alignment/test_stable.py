import copy

import pytest
import torch

from agents.errors import BadInput
from alignment.losses import active_hinges, stable_alignment_loss
from alignment.stable import StableAlignmentConfig, StableAlignmentTrainer
from alignment.tokens import ChatFormat, Collator, reply_nll
from tests.alignment.conftest import make_group, make_model


@pytest.fixture
def train(tmp_path, tokenizer):
    """Trains a copy of the small model and returns the trainer."""

    def train(groups, model=None, **settings):
        args = StableAlignmentConfig(
            **{"output_dir": str(tmp_path), "max_length": 100, "disable_tqdm": True} | settings
        )
        trainer = StableAlignmentTrainer(model or make_model(len(tokenizer)), args, groups, tokenizer)
        trainer.train()
        return trainer

    return train


ONE_STEP = {"optim": "sgd", "learning_rate": 0.1, "warmup_steps": 0, "max_grad_norm": 0.0, "num_train_epochs": 1}


def weights(trainer):
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


def losses(trainer):
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def test_every_parameter_moves_and_the_loss_falls(train, groups, tokenizer):
    before = dict(make_model(len(tokenizer)).named_parameters())
    trainer = train(groups, num_train_epochs=15, learning_rate=1e-2, gradient_accumulation_steps=6)
    still = [name for name, parameter in trainer.model.named_parameters() if torch.equal(parameter, before[name])]
    assert still == []
    assert losses(trainer)[-1] < 0.8 * losses(trainer)[0]


def test_the_loss_is_that_of_the_formula(train, groups, tokenizer, model):
    trainer = train(groups, gradient_accumulation_steps=3, weight=0.5, margin=20.0, rating_scale=6.0, max_steps=2)
    format = ChatFormat.of(tokenizer)
    rows = [format.row(group, 100) for group in groups]
    with torch.no_grad():
        nll, tokens = reply_nll(model.eval(), Collator(format.pad)(rows))
    nll, ratings = (nll / tokens).reshape(6, 3), [row.scores for row in rows]
    of_each = stable_alignment_loss(nll, ratings, [[True] * 3] * 6, weight=0.5, margin=20.0, scale=6.0)
    first, second = (line for line in trainer.state.log_history if "loss" in line)
    # the first step's learning rate is 0 while it warms up: both steps see the same model, and together all groups
    assert (first["loss"] + second["loss"]) / 2 == pytest.approx(of_each.mean().item(), rel=1e-5)
    best = stable_alignment_loss(nll, ratings, [[True] * 3] * 6, weight=0.0)
    assert (first["nll_best"] + second["nll_best"]) / 2 == pytest.approx(best.mean().item(), rel=1e-5)
    active, total = active_hinges(nll, ratings, [[True] * 3] * 6, margin=20.0, scale=6.0)
    assert active.sum() == total.sum() == 12
    assert first["active_hinges"] == second["active_hinges"] == 1.0


def test_active_hinges_are_logged_as_a_share(train, groups):
    # To the untrained model all answers are about as likely: this margin is active at the far ratings only.
    log = train(groups, max_steps=1, margin=0.005, gradient_accumulation_steps=6).state.log_history
    assert log[0]["active_hinges"] == 0.5


@pytest.mark.parametrize("shared", [True, False], ids=["a prompt once", "line by line"])
@pytest.mark.parametrize(("at_once", "accumulated"), [(1, 5), (2, 3), (3, 2), (4, 2)], ids=lambda value: str(value))
def test_batches_do_not_matter(train, groups, at_once, accumulated, shared):
    settings = ONE_STEP | {"shared_prefix": shared}
    whole = train(groups[:5], per_device_train_batch_size=5, **settings)
    parts = train(groups[:5], per_device_train_batch_size=at_once, gradient_accumulation_steps=accumulated, **settings)
    assert ("response" in parts.data_collator(list(parts.train_dataset)[:at_once])) == shared
    assert whole.state.global_step == parts.state.global_step == 1
    assert torch.allclose(weights(whole), weights(parts), atol=1e-6)
    assert losses(whole) == pytest.approx(losses(parts), rel=1e-5)


def test_order_does_not_matter(train, groups):
    def turned(group):
        return make_group(group.question, group.responses[::-1], group.scores[::-1])

    trained = train(groups, per_device_train_batch_size=6, **ONE_STEP)
    again = train([turned(group) for group in reversed(groups)], per_device_train_batch_size=6, **ONE_STEP)
    assert torch.allclose(weights(trained), weights(again), atol=1e-6)


def test_the_seed_decides_everything(train, groups):
    settings = {"responses": 2, "num_train_epochs": 3, "learning_rate": 1e-2}
    first, same, other = (train(groups, seed=seed, **settings) for seed in (3, 3, 4))
    assert torch.equal(weights(first), weights(same))
    assert losses(first) == losses(same)
    assert not torch.equal(weights(first), weights(other))


def test_every_epoch_draws_anew(train, groups):
    dataset = train(groups, responses=2, num_train_epochs=4).train_dataset
    assert dataset.epoch == 3
    assert all(len(row.replies) == 2 and 6.5 in row.scores for row in dataset)
    drawn = set()
    for dataset.epoch in range(10):
        drawn.add(tuple(row.scores for row in dataset))
    assert len(drawn) > 1


def test_a_dataset_of_rows_trains_as_groups_do(train, groups):
    from datasets import Dataset

    rows = [{"query": g.question, "responses": list(g.responses), "scores": list(g.scores)} for g in groups]
    assert torch.equal(weights(train(groups, **ONE_STEP)), weights(train(Dataset.from_list(rows), **ONE_STEP)))


def test_what_does_not_fit_is_counted_and_named(train, groups, tokenizer):
    long = make_group("why " * 60 + "?", ["Yes!", "No?"], [6, 2])
    rows = train([*groups, long], max_steps=1, max_length=60).train_rows
    assert (len(rows.rows), rows.dropped, rows.truncated) == (6, (long,), 0)
    prompt = len(rows.rows[0].prompt)
    assert train(groups, max_steps=1, max_length=prompt + 8).train_rows.truncated == 6 * 2
    with pytest.raises(BadInput, match="--max-length 10: every prompt is at least that long; choose more"):
        train(groups, max_length=10)


def test_one_response_is_plain_fine_tuning(train, model):
    single = [make_group("May I?", ["Yes!"], [6])]
    plain, contrasted = train(single, weight=0.0, **ONE_STEP), train(single, weight=5.0, **ONE_STEP)
    assert torch.equal(weights(plain), weights(contrasted))
    assert losses(plain) == [line["nll_best"] for line in contrasted.state.log_history if "loss" in line]


def test_evaluation_reports_the_loss(tmp_path, tokenizer, groups, model):
    args = StableAlignmentConfig(output_dir=str(tmp_path), max_length=100, disable_tqdm=True)
    untouched = copy.deepcopy(model.state_dict())
    trainer = StableAlignmentTrainer(model, args, groups, tokenizer, eval_dataset=groups[:2])
    per_group = [
        StableAlignmentTrainer(model, args, groups, tokenizer, eval_dataset=[group]).evaluate()["eval_loss"]
        for group in groups[:2]
    ]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(sum(per_group) / 2, rel=1e-5)
    assert all(torch.equal(value, untouched[name]) for name, value in model.state_dict().items())


def test_a_loss_that_is_no_number_stops_the_training(train, groups, model):
    torch.nn.init.constant_(model.model.norm.weight, float("nan"))
    with pytest.raises(BadInput, match="training diverged in step 1; choose a lower --learning-rate"):
        train(groups, model)


def test_published_settings_are_the_defaults(tmp_path):
    args = StableAlignmentConfig(output_dir=str(tmp_path))
    assert (args.learning_rate, args.lr_scheduler_type, args.get_warmup_steps(1000)) == (2e-5, "cosine", 30)
    assert (args.weight, args.margin, args.rating_scale, args.responses) == (0.2, 1.0, 7.0, 3)
