"""Diversity: numbers by hand, the one-pass formulas against all pairs, and intervals that cover what they should."""

from __future__ import annotations

from itertools import combinations
from math import isnan, nan, sqrt
from statistics import variance

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sandbox.compare.diversity import (
    Change,
    Estimate,
    Said,
    change,
    changes,
    distinct,
    diversity,
    jackknife_variance,
    similarity,
)

EAST, NORTH = np.array([1, 0], np.float32), np.array([0, 1], np.float32)


def unit(rows: list[list[float]]) -> NDArray[np.float32]:
    vectors = np.array(rows)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


# --- distinct n-grams


def test_distinct_by_hand() -> None:
    """be kind be kind | be good: 6 words, 3 different; 4 pairs, 3 different (be kind, kind be, be good)."""
    said = [("cup", "Be kind, be kind."), ("bus", "Be good")]
    assert distinct(said, 1).value == 3 / 6
    assert distinct(said, 2) == Estimate(3 / 4, {"cup": 1.0, "bus": round(2 / 3, 6)})
    assert distinct(said, 3).value == 1.0 and isnan(distinct(said, 3).without["cup"])
    assert isnan(distinct([("cup", "Yes.")], 2).value)


@given(st.lists(st.tuples(st.sampled_from("pqr"), st.text("ab ", max_size=12)), max_size=8), st.integers(1, 3))
def test_without_a_question_is_what_the_others_have(said: list[Said], n: int) -> None:
    for question, without in distinct(said, n).without.items():
        others = distinct([answer for answer in said if answer[0] != question], n)
        assert without == others.value or (isnan(without) and isnan(others.value))


# --- similarity


def all_pairs(questions: list[str], vectors: NDArray[np.float32]) -> tuple[float, float]:
    """(between, within), pair by pair."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for i, j in combinations(range(len(questions)), 2):
        found[questions[i] == questions[j]].append(float(vectors[i].astype(float) @ vectors[j].astype(float)))
    return tuple(float(np.mean(found[same])) if found[same] else nan for same in (False, True))  # type: ignore[return-value]


def test_similarity_by_hand() -> None:
    """Two answers to the cup, at right angles; one to the bus that is the first of them again: between (1 + 0) / 2."""
    between, within = similarity(["cup", "cup", "bus"], np.stack([EAST, NORTH, EAST]))
    assert (between.value, within.value) == (0.5, 0.0)
    assert isnan(between.without["bus"]) and isnan(within.without["cup"]) and within.without["bus"] == 0.0


vectors = st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda row: np.linalg.norm(row) > 0.1)


@given(st.lists(st.tuples(st.sampled_from("pqrs"), vectors), min_size=1, max_size=9))
def test_one_pass_equals_all_pairs(answers: list[tuple[str, list[float]]]) -> None:
    questions, units = [name for name, _ in answers], unit([row for _, row in answers])
    for estimate, expected in zip(similarity(questions, units), all_pairs(questions, units), strict=True):
        assert estimate.value == pytest.approx(expected, abs=2e-6, nan_ok=True)
    for left_out in set(questions):
        rest = [index for index, name in enumerate(questions) if name != left_out]
        expected_rest = all_pairs([questions[index] for index in rest], units[rest])
        for estimate, expected in zip(similarity(questions, units), expected_rest, strict=True):
            assert estimate.without[left_out] == pytest.approx(expected, abs=2e-6, nan_ok=True)


def test_answers_that_are_all_the_same() -> None:
    text = "Be kind and honest with everybody you meet."
    found = diversity([(f"q{k % 5}", text) for k in range(20)], {text: unit([[0.3, 0.1, 0.2]])[0]})
    assert (found["between"].value, found["within"].value) == (1.0, 1.0)
    assert found["distinct_2"].value == 7 / (20 * 7)


def test_what_is_not_defined_is_left_out() -> None:
    assert diversity([]) == {}
    assert diversity([("cup", "Yes.")], {"Yes.": EAST}).keys() == {"distinct_1"}
    assert diversity([("cup", "Yes."), ("bus", "No.")]).keys() == {"distinct_1"}
    assert diversity([("cup", "Yes."), ("bus", "No.")], {"Yes.": EAST, "No.": NORTH}).keys() == {
        "distinct_1",
        "between",
    }


# --- changes and their intervals


def estimate_of_mean(values: dict[str, float]) -> Estimate:
    """The mean of one value a question."""
    total, count = sum(values.values()), len(values)
    return Estimate(total / count, {name: (total - value) / (count - 1) for name, value in values.items()})


def test_of_a_mean_the_jackknife_is_the_standard_error() -> None:
    values = [1.0, 2.0, 4.0, 9.0]
    without = np.array(list(estimate_of_mean({str(k): value for k, value in enumerate(values)}).without.values()))
    assert jackknife_variance(without) == pytest.approx(variance(values) / 4)


def test_the_same_questions_are_left_out_of_both() -> None:
    """Differences 1, 1, 4 whatever the questions' own values: mean 2, s²/Q = 1, t = 4.303 with two degrees."""
    first = {"a": 0.0, "b": 50.0, "c": 7.0}
    second = {"c": 11.0, "a": 1.0, "b": 51.0}
    row = change("between", estimate_of_mean(first), estimate_of_mean(second))
    assert row.difference == pytest.approx(2.0) and row.words == "interval includes zero: no change shown"
    assert row.low == pytest.approx(2 - 4.303, abs=1e-3) and row.high == pytest.approx(2 + 4.303, abs=1e-3)


def test_other_questions_are_independent() -> None:
    first, second = {"a": 0.0, "b": 2.0, "c": 4.0}, {"d": 10.0, "e": 12.0, "f": 14.0}
    row = change("distinct_2", estimate_of_mean(first), estimate_of_mean(second))
    assert row.high == pytest.approx(10 + 4.303 * sqrt(4 / 3 + 4 / 3), abs=1e-3)


def test_one_question_has_no_interval() -> None:
    one = Estimate(0.5, {"cup": nan})
    row = change("distinct_2", one, Estimate(0.2, {"cup": nan}))
    assert (row.low, row.high, row.words) == (None, None, "too few questions: no interval")


@pytest.mark.parametrize(
    ("measure", "low", "high", "words"),
    [
        ("distinct_1", -0.2, -0.1, "more alike"),
        ("distinct_3", 0.1, 0.2, "less alike"),
        ("between", 0.1, 0.2, "more alike"),
        ("within", -0.2, -0.1, "less alike"),
    ],
)
def test_words_say_whether_answers_are_more_alike(measure: str, low: float, high: float, words: str) -> None:
    middle = (low + high) / 2
    assert Change(measure, 0.5, 0.5 + middle, middle, low, high).words == words  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("same_questions", [True, False])
def test_the_interval_covers_the_change_of_the_societies(same_questions: bool) -> None:
    """95 % intervals of two societies that fall back on stock phrases, the second one oftener.

    With 300 pairs of them, 64 questions each, a true coverage of 95 % is seen below 91 % or above 99 % once in a
    thousand times. The change that is to be covered is the mean over all of them.
    """
    random = np.random.default_rng(0)
    stock = [" ".join(random.choice(list("abcdefgh"), 6)) for _ in range(4)]
    word = 1 / np.arange(1, 400)  # words as frequent as words are
    word /= word.sum()

    def answers(rate: float, names: range) -> list[Said]:
        said = []
        for name in names:
            own = [f"w{k}" for k in random.choice(len(word), 18, p=word)]
            phrase = [stock[random.integers(4)]] if random.random() < rate else []
            said.append((f"q{name}", " ".join([*own, *phrase])))
        return said

    rows: list[Change] = []
    for _ in range(300):
        first, second = answers(0.2, range(64)), answers(0.6, range(64) if same_questions else range(64, 128))
        rows += [row for row in changes(diversity(first), diversity(second)) if row.measure == "distinct_2"]
    expected = np.mean([row.difference for row in rows])
    assert expected < -0.05
    covered = np.mean([row.low <= expected <= row.high for row in rows])  # type: ignore[operator]
    assert 0.91 <= covered <= 0.99
