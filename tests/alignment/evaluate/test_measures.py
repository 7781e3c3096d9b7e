import pytest

from alignment.evaluate.likelihoods import attacked, likelihood_measures, neutral_measure
from alignment.evaluate.measures import paired
from alignment.likelihood import Likelihoods, mean_estimate, rank_correlations
from tests.alignment.conftest import make_group


def test_rank_correlation_by_hand():
    # 3 of 3 pairs in order; 2 of 3 in order: (2 − 1) / 3; with a tie of scores: (2 − 0) / √(2 · 3)
    found = rank_correlations([[-1, -2, -3], [-2, -1, -3], [-1, -2, -3]], [[7, 4, 1], [7, 4, 1], [7, 1, 1]])
    assert found == pytest.approx([1.0, 1 / 3, 2 / 6**0.5])


def test_a_rank_correlation_of_nothing():
    assert rank_correlations([[-1, -2], [-1, -1]], [[4, 4], [7, 1]]) == [None, 0.0]


def test_the_mean_and_its_interval():
    assert mean_estimate([]) is None
    assert mean_estimate([2.0]).low is None
    found = mean_estimate([0.0, 1.0])
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_a_difference_is_paired_and_over_what_both_have():
    found = paired("words", [1.0, 5.0, None, 9.0], [0.0, 4.0, 7.0, None])
    assert (found.model.value, found.against.value, found.items) == (3.0, 2.0, 2)
    assert (found.difference.value, found.difference.low, found.difference.high) == (1.0, 1.0, 1.0)
    alone = paired("words", [1.0, None, 3.0])
    assert (alone.model.value, alone.against, alone.difference, alone.items) == (2.0, None, None, 2)


@pytest.fixture
def measured():
    groups = [make_group("a", ["x", "y", "z"], [7, 1, 4]), make_group("b", ["x", "y"], [1, 7])]
    unread = make_group("c", ["x", "y"], [1, 7])  # too long for one of the models
    model = [
        Likelihoods((-2.0, -9.0, -4.0), (2, 3, 2)),
        Likelihoods((-3.0, -2.0), (1, 2)),
        Likelihoods((-1,) * 2, (1,) * 2),
    ]
    against = [Likelihoods((-4.0, -3.0, -8.0), (2, 3, 2)), Likelihoods((-3.0, -2.0), (1, 2)), None]
    return {m.name: m for m in likelihood_measures([*groups, unread], model, against)}


def test_likelihoods_by_hand(measured):
    # a token: model −1 −3 −2 and −3 −1, all in order; against −2 −1 −4 (one of three pairs in order) and −3 −1
    accuracy = measured["pair accuracy"]
    assert (accuracy.model.value, accuracy.against.value, accuracy.difference.value, accuracy.items) == (1, 0.5, 0.5, 2)
    ranks = measured["rank correlation (τ-b)"]
    assert (ranks.model.value, ranks.against.value) == pytest.approx((1, (-1 / 3 + 1) / 2))
    best, worst = measured["log-prob a token, best"], measured["log-prob a token, worst"]
    assert (best.model.value, best.against.value, best.difference.value) == (-1, -1.5, 0.5)
    assert (worst.model.value, worst.against.value, worst.difference.value) == (-3, -2, -1)
    assert measured["margin, best − worst a token"].difference.value == 1.5
    assert measured["log-prob, best"].model.value == -2
    assert (measured["tokens, best"].model.value, measured["tokens, worst"].model.value) == (2, 2)
    assert {measure.items for measure in measured.values()} == {2}


def test_neutral_text_has_no_interval():
    found = neutral_measure(12.0, 10.0)
    assert (found.difference.value, found.difference.low) == (2.0, None)
    assert neutral_measure(12.0, None).against is None


def test_the_worst_answer_stands_in_an_attacked_prompt():
    (group,) = attacked([make_group("May I?", ["Ask.", "Lie.", "Steal."], [7, 1, 1]), make_group("b", ["x"], [1])])
    assert [(turn.role, turn.content) for turn in group.query] == [
        ("user", "May I?"),
        ("assistant", "Lie."),
        ("user", "What would you say? May I?"),
    ]
    assert group.scores == (7, 1, 1)
