import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignment.likelihood import (
    NEUTRAL_TEXT,
    Likelihoods,
    accuracy_gain,
    likelihoods,
    neutral_perplexity,
    pair_accuracy,
    quality,
)
from alignment.shared_prefix import SharedCollator
from alignment.tokens import ChatFormat, Collator, Row


def test_pair_accuracy_by_hand():
    # first group: 3 > 2 right, 3 > 1 right, 2 > 1 wrong; second: one pair, right; third: a tie of scores, left out
    loglik = [[-1.0, -3.0, -2.0], [-2.0, -1.0], [-1.0, -2.0]]
    scores = [[3, 2, 1], [1, 2], [5, 5]]
    found = pair_accuracy(loglik, scores)
    assert found.value == 3 / 4
    assert (found.low, found.high) == (2 / 3, 1.0)  # of two groups: resampled, only the one or only the other


def test_equal_likelihoods_count_half_and_near_scores_make_no_pair():
    assert pair_accuracy([[-1.0, -1.0], [-1.0, -2.0]], [[1, 2], [2, 1]]).value == (0.5 + 1) / 2
    assert pair_accuracy([[-1.0, -2.0, -3.0]], [[1.0, 1.2, 3.0]], delta=0.25).value == 0.0
    assert pair_accuracy([[-1.0, -2.0]], [[1.0, 1.2]], delta=0.25) is None
    assert pair_accuracy([], []) is None


def test_one_group_has_no_interval():
    found = pair_accuracy([[-1.0, -2.0]], [[2, 1]])
    assert (found.value, found.low, found.high, found.interval) == (1.0, None, None, "–")


pairs = st.lists(
    st.lists(st.tuples(st.floats(-5, 0), st.integers(1, 7)), min_size=2, max_size=4), min_size=2, max_size=5
)


@given(pairs)
def test_accuracy_turns_round_with_the_likelihoods(groups):
    loglik = [[value for value, _ in group] for group in groups]
    scores = [[score for _, score in group] for group in groups]
    found = pair_accuracy(loglik, scores)
    turned = pair_accuracy([[-value for value in group] for group in loglik], scores)
    assert (found is None) == (turned is None) == all(len(set(group)) == 1 for group in scores)
    if found is not None:
        assert found.value == pytest.approx(1 - turned.value)
        if found.low is not None:
            assert found.low <= found.value + 1e-12 and found.value <= found.high + 1e-12


def test_the_gain_pairs_the_groups():
    scores = [[2, 1], [2, 1], [1, 2], [3, 3]]
    before = [[-2.0, -1.0], [-1.0, -2.0], [-2.0, -1.0], [-1.0, -2.0]]  # wrong, right, right
    after = [[-1.0, -2.0], [-1.0, -2.0], [-2.0, -1.0], [-2.0, -1.0]]  # right, right, right
    gain = accuracy_gain(before, after, scores)
    assert gain.value == pytest.approx(1 / 3)
    assert (gain.low, gain.high) == (0.0, 1.0)
    assert accuracy_gain(before, before, scores).value == accuracy_gain(before, before, scores).high == 0.0


def test_quality_by_hand():
    rows = [
        Row((0,), ((1, 2), (3,), (4, 5)), (6.0, 2.0, 6.0), (False,) * 3, "a"),
        Row((0,), ((1,), (2,)), (3.0, 3.0), (False,) * 2, "b"),
    ]
    found = [Likelihoods((-4.0, -1.0, -2.0), (2, 1, 2)), Likelihoods((-3.0, -5.0), (1, 1))]
    measured = quality(rows, found, neutral=12.0)
    assert (measured.groups, measured.pairs, measured.neutral_perplexity) == (2, 2, 12.0)
    assert measured.pair_accuracy.value == (0 + 0.5) / 2  # −2 a token below −1; −1 a token equal to −1
    assert measured.best_per_token == (-2.0 + -1.0) / 2
    assert measured.best_sum == (-4.0 + -2.0) / 2
    assert (measured.worst_per_token, measured.worst_sum) == (-1.0, -1.0)
    assert measured.best_perplexity == pytest.approx(math.exp((4 + 2 + 3 + 5) / (2 + 2 + 1 + 1)))


def test_quality_of_nothing_is_missing():
    measured = quality([], [], neutral=12.0)
    assert (measured.pairs, measured.pair_accuracy, measured.best_per_token, measured.best_perplexity) == (0,) + (
        None,
    ) * 3


def test_likelihoods_leave_the_model_as_it_was(model, tokenizer, groups):
    format = ChatFormat.of(tokenizer)
    rows = [format.row(group, 100) for group in groups]
    model.train()
    found = likelihoods(model, rows, Collator(format.pad))
    shared = likelihoods(model, rows, SharedCollator(Collator(format.pad), width=10**6, positions=None))
    assert "response" in SharedCollator(Collator(format.pad), width=10**6, positions=None)(rows[:1])
    for line, long in zip(found, shared, strict=True):
        assert long.tokens == line.tokens and long.sums == pytest.approx(line.sums, abs=1e-4)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [f.tokens for f in found] == [tuple(map(len, row.replies)) for row in rows]
    assert found[0].per_token[0] == found[0].sums[0] / found[0].tokens[0]


def test_neutral_perplexity_of_a_model_that_knows_nothing(model, tokenizer):
    torch.nn.init.zeros_(model.lm_head.weight)  # every token equally likely
    assert neutral_perplexity(model, ChatFormat.of(tokenizer)) == pytest.approx(len(tokenizer))
    assert len(NEUTRAL_TEXT) == len(set(NEUTRAL_TEXT)) == 15
