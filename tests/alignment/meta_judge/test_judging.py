"""What a judge and a meta-judge are asked, and what is read in their replies."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignment.meta_judge.judging import (
    JUDGE,
    META_JUDGE,
    POINTS,
    RUBRIC,
    SCORE_END,
    SIDES,
    WINNER_END,
    expected_score,
    judge_messages,
    meta_messages,
    reasoning,
    score_in,
    verdicts_of,
    winner_in,
)


@pytest.mark.parametrize(
    ("judgement", "score"),
    [
        ("It helps, and is short.\nScore: 4", 4),
        ("Score: 2 at first sight.\nBut it is rude.\nScore: 1", 1),
        ("score 3.5", 3.5),
        ("SCORE: 0.", 0),
        ("Score: 4/5", 4),
        ("Score: 3 points, two are withheld", 3),
        ("**Score:** 4", 4),
        ("**Score**: **4**", 4),
        ("Total score = 5", 5),
        ("Score: <2>", 2),
        ("Score:\n3", 3),
        ("Score: 3\n\n- 1 point for its manner", 3),
        ("So the final score is 2.", 2),
        ("It helps. Score: 4", 4),
        ("- Score: 4 (a score of 5 would be too much)", 4),
        ("I would set score 1 for relevance.\nFinal score: 2", 2),
    ],
)
def test_the_last_score_counts(judgement, score):
    assert score_in(judgement) == score


@pytest.mark.parametrize(
    "judgement",
    [
        "",
        "It helps, 4 points.",
        "Score: four",
        "Score: 6",
        "Score: 5.5",
        "Score: 40",
        "Score: -1",
        "Score: −2",
        "Score: 4\nNo, it deserves more.\nScore: 10",
        "Score: 3rd",
        "Score: 1.2.3",
        "Score: 1 + 1 + 1 = 3",
        "Score: 3-4",
        "Score: 3,5",
        "What makes the score:\n- 1 point for its manner",
        "An underscore: 3",
        "I would set score 1 for relevance, and then the respo",
        "Score 1. Final score: 3+1 = 4",
        "A score 5 answer would give reasons.",
        "A response of score 5 would be better.\nScore: three",
        "Score: 3\nScore: none",
    ],
)
def test_what_is_no_score_within_five_points_is_missing(judgement):
    assert score_in(judgement) is None


@given(st.text(), st.integers(0, 50))
def test_a_judgement_that_ends_as_it_was_asked_to_is_read(text, tenths):
    assert score_in(f"{text}\n{SCORE_END}{tenths / 10:g}") == tenths / 10


@pytest.mark.parametrize(
    ("reply", "winner"),
    [
        ("A is too kind.\nWinner: B", -1),
        ("Winner: A", 1),
        ("winner: a", 1),
        ("Winner: A?\nNo, it overlooks the insult.\nWinner: B.", -1),
        ("**Winner:** A", 1),
        ("**Winner**: **B**", -1),
        ("Winner: Judgement A", 1),
        ("Winner: **Judgment B**", -1),
        ("Winner: [B]", -1),
        ("Winner: tie", 0),
        ("Winner: a tie", 0),
        ("Winner: neither", 0),
        ("Winner: both are fair", 0),
        ("The winner is B", -1),
        ("Winner: A because it counts every point", 1),
        ("The winner has more points.\nWinner: B", -1),
    ],
)
def test_the_last_winner_counts(reply, winner):
    assert winner_in(reply) == winner


@pytest.mark.parametrize("reply", ["", "A is better.", "Winner: C", "Winner: Anna", "Winner:", "The winners: A",
                                   "The winner: a close call, but B", "Winner: A or B", "Winner: A/B",
                                   "I see no winner: A is as good", "Winner: A\nWinner: nobody"])  # fmt: skip
def test_what_names_no_winner_is_missing(reply):
    assert winner_in(reply) is None


@pytest.mark.parametrize(("side", "winner"), [*zip(SIDES, (1, -1), strict=True)])
def test_what_the_meta_judge_is_to_end_with_is_read(side, winner):
    assert winner_in(WINNER_END + side) == winner
    assert f'"{WINNER_END}{side}"' in META_JUDGE and f'"{SCORE_END}"' in JUDGE


def test_the_expected_score_weighs_points_by_their_renormalised_probabilities():
    chances = [0.05, 0.0, 0.1, 0.2, 0.1, 0.05]  # half of the mass lies elsewhere
    logprobs = [math.log(chance) if chance else -math.inf for chance in chances]
    assert expected_score(logprobs) == pytest.approx((2 * 0.1 + 3 * 0.2 + 4 * 0.1 + 5 * 0.05) / 0.5)
    assert expected_score([-9.0] * 6) == pytest.approx((0 + 1 + 2 + 3 + 4 + 5) / 6)
    assert expected_score([-2000.0, -1000.0, -2000.0, -2000.0, -2000.0, -2000.0]) == 1


@given(st.lists(st.floats(-50, 0), min_size=6, max_size=6), st.floats(-500, 500))
def test_an_expected_score_is_one_whatever_mass_the_points_have(logprobs, shift):
    score = expected_score(logprobs)
    assert 0 <= score <= 5
    assert expected_score([value + shift for value in logprobs]) == pytest.approx(score, abs=1e-9)


def test_a_score_needs_all_points():
    assert len(POINTS) == 6
    with pytest.raises(ValueError, match="needs 6 log-probabilities, got 5"):
        expected_score([-1.0] * 5)


def test_the_likelier_side_wins_when_what_a_position_gains_is_taken_off():
    # On the average the first side leads by (2 + 1 − 1 + 2) / 4 = 1.
    assert verdicts_of([2.0, None, 1.0, -1.0, 2.0]) == [1, None, 0, -1, 1]
    assert verdicts_of([3.0, 3.0]) == [0, 0], "nothing but the position decides"
    assert verdicts_of([None, None]) == [None, None]
    assert verdicts_of([]) == []


@pytest.mark.parametrize(
    ("reply", "before"),
    [
        ("It helps.\nScore: 4", "It helps."),
        ("It helps.\n\nSCORE: 4, or\nScore: 3", "It helps."),
        ("It helps.", "It helps."),
        ("Score: 4", ""),
    ],
)
def test_the_reasoning_stands_before_the_score(reply, before):
    assert reasoning(reply, SCORE_END) == before


def test_texts_are_shown_as_they_are():
    odd = r"{response} {rubric} {0} {{x}} \1 \g<0> }{"
    (asked,) = judge_messages("{prompt}?" + odd, odd)
    assert asked.role == "user" and RUBRIC in asked.content
    assert asked.content.count(odd) == 2 and "{prompt}?" in asked.content
    (asked,) = meta_messages("Why?", odd, "{second} is worse", "so be it: {first}")
    assert asked.content.count(RUBRIC) == 1 and odd in asked.content
    first, second = asked.content.index("{second} is worse"), asked.content.index("so be it: {first}")
    assert asked.content.index("Judgement A:") < first < asked.content.index("Judgement B:") < second


@pytest.mark.parametrize("asked", [judge_messages("Why?", "So."), meta_messages("Why?", "So.", "Good.", "Bad.")])
def test_no_place_is_left_open(asked):
    assert "{" not in asked[0].content and "}" not in asked[0].content
