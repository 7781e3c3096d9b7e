import json
import math

import pytest
import torch

from alignment.shared_prefix import best_collator
from alignment.stability import Point, StabilityWatch, Watched, divergence, next_tokens, points, steps_watched
from alignment.stable import StableAlignmentConfig, StableAlignmentTrainer
from alignment.tokens import ChatFormat
from tests.alignment.conftest import make_model


def test_divergence_by_hand():
    now, start = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log(), torch.tensor([[0.25, 0.75], [0.9, 0.1]]).log()
    first = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert divergence(now, start) == pytest.approx(first / 2, rel=1e-6)
    assert divergence(start, start) == 0.0


@pytest.mark.parametrize(
    ("steps", "between", "expected"),
    [(10, 0, {10}), (10, 1, {5, 10}), (10, 4, {2, 4, 6, 8, 10}), (2, 4, {1, 2}), (1, 4, {1}), (3, 1, {2, 3})],
)
def test_when_it_is_measured(steps, between, expected):
    assert steps_watched(steps, between) == expected


def test_next_tokens_are_those_of_the_reply(model, tokenizer, groups):
    format = ChatFormat.of(tokenizer)
    row = format.row(groups[0], 100)
    found = next_tokens(model, [row])
    ids = torch.tensor([row.prompt + row.replies[0]])
    with torch.no_grad():
        plain = model.eval()(input_ids=ids).logits.log_softmax(-1)[0, len(row.prompt) - 1 : -1]
    assert found.shape == (len(row.replies[0]), len(tokenizer))
    assert torch.allclose(found, plain, atol=1e-5)


@pytest.fixture
def watched(tmp_path, tokenizer, groups):
    """Trains the small model for six steps and returns the trainer, watched or not."""

    def train(watching=True, judge=None, held_out=groups[4:], prompts=()):
        model, format = make_model(len(tokenizer)), ChatFormat.of(tokenizer)
        args = StableAlignmentConfig(
            output_dir=str(tmp_path), max_length=100, disable_tqdm=True, learning_rate=1e-2, num_train_epochs=3
        )
        args.gradient_accumulation_steps = 2
        trainer = StableAlignmentTrainer(model, args, groups[:4], tokenizer)
        if watching:
            rows = [format.row(group, 100) for group in held_out]
            collate, _ = best_collator(model, format.pad, 100)
            trainer.add_callback(StabilityWatch(trainer, Watched(rows, collate, format, prompts, 8, judge), between=2))
        trainer.train()
        return trainer

    return train


def test_a_training_is_watched_from_its_start_to_its_end(watched):
    found = points(watched().state.log_history)
    assert [point.step for point in found] == [0, 2, 4, 6]
    assert found[0].kl == pytest.approx(0, abs=1e-6)
    assert 0 < found[1].kl < found[-1].kl
    assert found[-1].margin > found[0].margin
    assert all(point.margin == pytest.approx(point.best_per_token - point.worst_per_token) for point in found)
    assert all(point.neutral_perplexity > 1 for point in found)
    assert {(point.reward, point.answer_tokens) for point in found} == {(None, None)}


def test_watching_leaves_the_training_as_it_is(watched, groups):
    class Judge:
        def rate(self, questions, answers):
            return [4.0] * len(answers)

    def weights(trainer):
        return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])

    alone = watched(watching=False)
    beside = watched(judge=Judge(), prompts=[group.query for group in groups])
    assert torch.equal(weights(alone), weights(beside))
    losses = [[line["loss"] for line in t.state.log_history if "loss" in line] for t in (alone, beside)]
    assert losses[0] == losses[1]


def test_answers_are_rated_and_what_has_no_rating_is_left_out(watched, groups):
    class Judge:
        def rate(self, questions, answers):
            assert questions == [groups[0].question, groups[1].question]
            return [None, 5.0]

    found = points(watched(judge=Judge(), prompts=[group.query for group in groups[:2]]).state.log_history)
    assert {point.reward for point in found} == {5.0}
    assert all(0 < point.answer_tokens <= 8 for point in found)


def test_nothing_held_out(watched):
    found = points(watched(held_out=[]).state.log_history)
    assert {(point.margin, point.pair_accuracy, point.best_per_token) for point in found} == {(None, None, None)}
    assert found[-1].kl > 0  # on the neutral text


def test_points_are_read_back_from_a_log_kept_as_json(watched):
    log = watched().state.log_history
    assert points(json.loads(json.dumps(log))) == points(log)
    assert isinstance(points(log)[0], Point)
