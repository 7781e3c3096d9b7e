"""The meta-judge's verdicts: what a win counts by position, and how strong that makes each judgement."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from alignment.meta_judge import battle_matrix, elo_scores, position_weights

# Twelve verdicts on four judgements: eight wins of the one shown first, three of the second, one draw.
RESULTS = {
    (0, 1): 1,
    (1, 0): 1,
    (0, 2): 1,
    (2, 0): -1,
    (1, 2): -1,
    (2, 1): -1,
    (0, 3): 1,
    (3, 0): 0,
    (1, 3): 1,
    (3, 1): 1,
    (2, 3): 1,
    (3, 2): 1,
}
verdicts = st.integers(2, 5).flatmap(
    lambda count: st.fixed_dictionaries(
        {(m, n): st.sampled_from([1, 0, -1]) for m in range(count) for n in range(count) if m != n}
    )
)


def test_a_win_counts_by_how_rare_its_position_is():
    assert position_weights(RESULTS) == (3 / 11, 8 / 11)


def test_without_a_decided_comparison_positions_weigh_the_same():
    assert position_weights({}) == position_weights({(0, 1): 0}) == (0.5, 0.5)


def test_where_one_position_always_wins_its_wins_count_nothing():
    assert position_weights({(0, 1): 1, (1, 0): 1}) == (0.0, 1.0)
    assert not battle_matrix({(0, 1): 1, (1, 0): 1}, (0.0, 1.0)).any()


def test_a_result_is_a_win_a_draw_or_a_defeat():
    with pytest.raises(ValueError, match="1, 0 or -1, got 2"):
        position_weights({(0, 1): 2})


def test_the_battle_matrix_counts_wins_in_both_positions():
    first, second = 0.25, 0.75
    battle = battle_matrix({(0, 1): 1, (1, 0): -1, (2, 0): 1, (0, 2): 0}, (first, second))
    assert battle.tolist() == [[0, first + second, 0], [0, 0, 0], [first, 0, 0]]


def test_judgements_that_were_not_compared_have_a_place():
    assert battle_matrix({}, (0.5, 0.5), 3).shape == (3, 3)
    assert battle_matrix({}, (0.5, 0.5)).shape == (0, 0)
    with pytest.raises(ValueError, match="judgement 2 was compared, of 2"):
        battle_matrix({(0, 2): 1}, (0.5, 0.5), 2)


def test_the_strengths_are_those_worked_out_elsewhere():
    battle = battle_matrix(RESULTS, position_weights(RESULTS))
    for ridge in (0, 1e-12):  # each wins and loses, so that none is needed
        assert elo_scores(battle, ridge) == pytest.approx([1.29352, -0.20405, -0.56433, -0.52515], abs=1e-5)


def test_two_judgements_have_the_odds_of_their_wins():
    # σ(ε0 − ε1) = 3/4 where one has won three times and the other once: ε0 − ε1 = log 3.
    scores = elo_scores([[0, 3], [1, 0]], ridge=1e-12)
    assert scores == pytest.approx([np.log(3) / 2, -np.log(3) / 2], abs=1e-8)


@pytest.mark.parametrize("ridge", [1e-6, 1e-3, 1.0])
def test_one_that_never_loses_is_bounded_by_the_ridge(ridge):
    winner, loser = elo_scores([[0, 1], [0, 0]], ridge)
    assert winner == pytest.approx(-loser) and winner > 0
    assert 2 * ridge * winner == pytest.approx(expit(loser - winner), rel=1e-6)  # the slope is zero there


def test_without_any_win_all_are_equal():
    assert elo_scores(np.zeros((4, 4))).tolist() == [0, 0, 0, 0]
    assert elo_scores(np.zeros((0, 0))).shape == (0,)


@pytest.mark.parametrize(
    ("battle", "ridge", "told"),
    [
        ([[0, 1]], 1e-3, r"\[1, 2\]"),
        ([[0, 1], [0, 0]], 0, "ridge: 0 bounds"),
        ([[0]], -1, "ridge: -1 bounds"),
        ([[0]], np.inf, "ridge: inf bounds"),
    ],
)
def test_what_has_no_strengths_is_told(battle, ridge, told):
    with pytest.raises(ValueError, match=told):
        elo_scores(battle, ridge)


@given(verdicts)
def test_strengths_sum_to_nothing_and_do_not_depend_on_names(results):
    battle = battle_matrix(results, position_weights(results))
    scores = elo_scores(battle)
    assert scores.sum() == pytest.approx(0, abs=1e-9)
    order = np.random.default_rng(0).permutation(len(battle))
    assert elo_scores(battle[np.ix_(order, order)]) == pytest.approx(scores[order], abs=1e-6)


@given(verdicts)
def test_turning_every_verdict_turns_the_strengths(results):
    turned = {pair: -result for pair, result in results.items()}
    battle = battle_matrix(results, position_weights(results))
    assert battle_matrix(turned, position_weights(turned)) == pytest.approx(battle.T)
    assert elo_scores(battle.T) == pytest.approx(-elo_scores(battle), abs=1e-6)
