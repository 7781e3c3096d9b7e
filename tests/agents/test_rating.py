from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.rating import (
    SCALE_LABELS,
    WORD_PAIRS,
    label_mass,
    label_rating,
    scale_rating,
    verdict_log_odds,
    verdict_rating,
    words_of,
)

LOGPROBS = st.floats(-60, 0)


def test_words_stand_pair_after_pair_dimension_after_dimension() -> None:
    words = words_of(("alignment", "engagement"))
    assert words[:4] == (" kind", " cruel", " good", " bad")
    assert words[10:12] == (" interesting", " boring")
    assert len(words) == len(set(words)) == 2 * sum(map(len, WORD_PAIRS.values()))
    assert words_of(("engagement",)) == words[10:]


def test_log_odds_are_the_mean_over_pairs() -> None:
    # (−1 − −3) = 2 and (−4 − −2) = −2 and (−1 − −1.75) = 0.75
    assert verdict_log_odds([-1.0, -3.0]) == 2.0
    assert verdict_log_odds([-1.0, -3.0, -4.0, -2.0, -1.0, -1.75]) == pytest.approx(0.25)


@pytest.mark.parametrize("logprobs", [[], [-1.0], [-1.0, -2.0, -3.0]])
def test_a_verdict_of_half_a_pair_is_refused(logprobs: list[float]) -> None:
    with pytest.raises(ValueError, match=f"needs pairs of log-probabilities, got {len(logprobs)}"):
        verdict_log_odds(logprobs)


@pytest.mark.parametrize(
    ("log_odds", "zero", "rating"),
    [
        (0.7, 0.7, 4.0),  # at the zero: the middle
        (math.log(3), 0.0, 5.5),  # σ(ln 3) = 3/4
        (-math.log(3), 0.0, 2.5),
        (2.0 + math.log(5), 2.0, 6.0),  # σ(ln 5) = 5/6
        (1000.0, 0.0, 7.0),  # no overflow
        (-1000.0, 0.0, 1.0),
    ],
)
def test_a_verdict_is_a_logistic_of_the_distance_from_zero(log_odds: float, zero: float, rating: float) -> None:
    assert verdict_rating(log_odds, zero) == pytest.approx(rating)


def test_a_wider_spread_brings_ratings_nearer_the_middle() -> None:
    assert verdict_rating(2 * math.log(3), 0.0, spread=2.0) == pytest.approx(5.5)


@given(st.floats(-30, 30), st.floats(-30, 30), st.floats(-5, 5))
def test_verdicts_rise_with_log_odds_and_stay_on_the_scale(a: float, b: float, zero: float) -> None:
    low, high = verdict_rating(min(a, b), zero), verdict_rating(max(a, b), zero)
    assert 1 <= low <= high <= 7


def test_a_scale_is_an_expected_value_over_what_the_labels_share() -> None:
    # Labels 2 and 6 with 0.1 and 0.3, the rest of the mass elsewhere: (2·0.1 + 6·0.3) / 0.4 = 5.
    never = -1e9
    logprobs = [never, math.log(0.1), never, never, never, math.log(0.3), never]
    assert scale_rating(logprobs) == pytest.approx(5.0)
    assert label_mass(logprobs) == pytest.approx(0.4)
    assert scale_rating([-2.0] * 7) == pytest.approx(4.0)
    assert scale_rating([-2000.0] * 6 + [-1000.0]) == 7.0  # no underflow to 0/0


@given(st.lists(LOGPROBS, min_size=7, max_size=7), st.floats(-20, 0))
def test_a_scale_stays_on_the_scale_and_ignores_what_all_labels_share(logprobs: list[float], shift: float) -> None:
    rating = scale_rating(logprobs)
    assert 1 <= rating <= 7
    assert scale_rating([value + shift for value in logprobs]) == pytest.approx(rating)
    assert scale_rating(logprobs[::-1]) == pytest.approx(8 - rating)


@pytest.mark.parametrize("count", [0, 6, 8])
def test_a_scale_needs_all_its_labels(count: int) -> None:
    with pytest.raises(ValueError, match=f"needs 7 log-probabilities, got {count}"):
        scale_rating([-1.0] * count)


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        *((label, float(label)) for label in SCALE_LABELS),
        (" 5.", 5.0),
        ("0", None),
        ("8", None),
        ("10", None),
        ("good", None),
        ("", None),
        ("**Rating:** 6\nIt is kind.", 6.0),
        ('"rating": 3', 3.0),
        ("6/7", 6.0),
        ("6 out of 7", 6.0),
        ("6, because", 6.0),
        ("Rating (1-7): 6", None),
        ("6.5", None),
        ("7/10", None),
        ("7 out of 10", None),
        ("4-5", None),
        ("-3", None),
        ("2nd", None),
        ("2-3 sentences", None),
        ("There are 2 issues", None),
    ],
)
def test_a_label_in_plain_text_is_read_and_nothing_else_is(text: str, rating: float | None) -> None:
    assert label_rating(text) == rating
