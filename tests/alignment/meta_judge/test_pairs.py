"""Pairs that an actor and a judge learn from, worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignment.meta_judge import actor_pair, judge_pair, most_uncertain

SCORES = [5.0, 4.5, 3.0, 1.5, 1.0]
LENGTHS = [90, 40, 20, 80, 30]


@pytest.mark.parametrize(
    ("rho", "pair"),
    [
        (0.0, (0, 4)),  # the best against the worst
        (0.125, (1, 3)),  # tiers from 4.5 and to 1.5, bounds included
        (0.32, (1, 3)),  # from 3.72 and to 2.28
        (0.4, (1, 3)),
    ],
)
def test_the_shortest_of_the_good_against_the_longest_of_the_bad(rho, pair):
    assert actor_pair(SCORES, LENGTHS, rho) == pair


def test_of_equally_long_ones_the_better_and_the_worse():
    assert actor_pair([5, 4.9, 1.1, 1], [10, 10, 10, 10], 0.1) == (0, 3)
    assert actor_pair([4, 4, 1, 1], [10, 10, 20, 20], 0) == (0, 2)


def test_a_bound_that_is_no_exact_sum_belongs_to_its_tier():
    assert (1 - 0.2) * 4 + 0.2 * 1 > 3.4  # in floats
    assert actor_pair([4, 3.4, 1], [50, 10, 10], 0.2) == (1, 2)


@pytest.mark.parametrize(
    ("scores", "rho"), [([3, 3, 3], 0.0), ([3, 3, 3], 0.4), ([4, None, None], 0.0), ([None, None], 0.1), ([], 0.1)]
)
def test_without_a_difference_there_is_no_pair(scores, rho):
    assert actor_pair(scores, [10] * len(scores), rho) is None


def test_scores_that_differ_by_rounding_are_equal():
    assert actor_pair([0.1 + 0.2, 0.3], [1, 2], 0) is None
    assert most_uncertain([[0.1] * 3, [3.3] * 5]) is None, "their variance is not exactly 0"
    assert most_uncertain([[0.3, 2.3], [1, 3]]) == 0, "of equals the first"


@pytest.mark.parametrize("found", [lambda: most_uncertain([[1, 2], [float("nan"), 3]]),
                                   lambda: judge_pair([1, float("nan"), 0], [1, 1, 1])])  # fmt: skip
def test_what_is_not_finite_is_told(found):
    with pytest.raises(ValueError, match="must be finite"):
        found()


def test_where_tiers_overlap_a_worse_response_is_never_chosen():
    # At ρ = 0.75 the upper tier begins at 2 and the lower one ends at 4: the shortest has 2, the longest 4.
    assert actor_pair([5, 4, 2, 1], [30, 50, 10, 20], 0.75) is None
    assert actor_pair([5, 4, 2, 1], [10, 20, 50, 30], 0.75) == (0, 2)


def test_what_has_no_score_is_neither():
    assert actor_pair([None, 4, 2, None], [1, 10, 10, 99], 0.4) == (1, 2)


@pytest.mark.parametrize(
    ("scores", "lengths", "rho", "told"),
    [
        ([1, 2], [1], 0, "2 scores but 1 lengths"),
        ([1, 2], [1, 1], 1.5, "rho: 1.5"),
        ([1, float("nan")], [1, 1], 0, "finite"),
    ],
)
def test_what_makes_no_pair_is_told(scores, lengths, rho, told):
    with pytest.raises(ValueError, match=told):
        actor_pair(scores, lengths, rho)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 99)), min_size=2, max_size=8), st.floats(0, 1))
def test_the_chosen_one_is_better_and_in_its_tier(drawn, rho):
    scores, lengths = [tenths / 10 for tenths, _ in drawn], [length for _, length in drawn]
    pair = actor_pair(scores, lengths, rho)
    if pair is None:
        assert min(scores) == max(scores) or rho >= 0.5 - 1e-6
        return
    chosen, rejected = pair
    assert scores[chosen] > scores[rejected]
    upper = (1 - rho) * max(scores) + rho * min(scores)
    assert scores[chosen] >= upper - 1e-8
    assert not any(s >= upper + 1e-8 and n < lengths[chosen] for s, n in zip(scores, lengths, strict=True))


def test_the_response_whose_judges_disagree_most():
    # Variances 0, ((4 − 3)² + (2 − 3)²)/2 = 1, and (1 + 1 + 4)/3 − … = 2/9 of 3, 3, 4.
    assert most_uncertain([[5, 5], [4, 2], [3, 3, 4]]) == 1
    assert most_uncertain([[1, 3], [5, 3]]) == 0  # of equals the first
    assert most_uncertain([[1, None, 3], [None, 5]]) == 0


@pytest.mark.parametrize("judgements", [[], [[]], [[3, 3], [4]], [[None, 2], [None]]])
def test_where_judges_agree_there_is_no_such_response(judgements):
    assert most_uncertain(judgements) is None


def test_the_strongest_judgement_against_the_weakest():
    assert judge_pair([0.5, -1.0, 0.9, -0.4], [10, 20, 30, 40]) == (2, 1)
    assert judge_pair([1.0, 1.0, -1.0, -1.0], [10] * 4) == (0, 2)


def test_a_judgement_that_is_too_long_is_not_learned_from():
    assert judge_pair([1, -1], [30, 99], max_length=30) == (0, 1)
    assert judge_pair([1, -1], [31, 9], max_length=30) is None


@pytest.mark.parametrize("elo", [[], [0.0], [0.2, 0.2], [1e-12, -1e-12]])
def test_equally_strong_judgements_make_no_pair(elo):
    assert judge_pair(elo, [1] * len(elo)) is None


def test_lengths_belong_to_judgements():
    with pytest.raises(ValueError, match="2 scores but 3 lengths"):
        judge_pair([1, 2], [1, 2, 3])
