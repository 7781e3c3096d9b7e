"""How different answers are from each other: distinct n-grams and similarity, so that collapse to sameness shows.

Intervals leave out one question at a time (the jackknife). A bootstrap would not be honest here: it draws a question
several times, and each copy would count as answers that repeat each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from sandbox.texts import runs_of, words_of

Measure: TypeAlias = Literal["distinct_1", "distinct_2", "distinct_3", "between", "within"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
DIGITS = 6  # float32 vectors are no more exact; so the same answers are equally alike, not by 1e-8 more
N_GRAMS: dict[Measure, int] = {"distinct_1": 1, "distinct_2": 2, "distinct_3": 3}

Said: TypeAlias = tuple[str, str]  # a question and an answer to it
Vectors: TypeAlias = Mapping[str, NDArray[np.float32]]  # unit vectors [D] by text
Encode: TypeAlias = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure of a set of answers, and what it is without each of its questions (NaN where it is not defined)."""

    value: float
    without: dict[str, float]


@dataclass(frozen=True, slots=True)
class Change:
    """A measure of two sets of answers and their difference, `second` − `first`, with its 95 % interval.

    `low` and `high` are None where a set has too few questions to tell.
    """

    measure: Measure
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None

    @property
    def words(self) -> str:
        """What the interval says."""
        if self.low is None or self.high is None:
            return "too few questions: no interval"
        if self.low <= 0 <= self.high:
            return "interval includes zero: no change shown"
        fewer_words = self.measure in N_GRAMS and self.difference < 0
        nearer = self.measure not in N_GRAMS and self.difference > 0
        return "more alike" if fewer_words or nearer else "less alike"


def diversity(answers: Sequence[Said], vectors: Vectors | None = None) -> dict[Measure, Estimate]:
    """The measures of `answers` that are defined; those of similarity need `vectors`.

    `distinct_n`: different n-grams of words per n-gram, over all answers. `between`, `within`: mean cosine similarity
    of pairs of answers to different questions, and of pairs to the same one.
    """
    found = {measure: distinct(answers, n) for measure, n in N_GRAMS.items()}
    if vectors is not None and len(answers) > 1:
        questions = [question for question, _ in answers]
        found["between"], found["within"] = similarity(questions, np.stack([vectors[text] for _, text in answers]))
    return {measure: estimate for measure, estimate in found.items() if not np.isnan(estimate.value)}


def changes(first: Mapping[Measure, Estimate], second: Mapping[Measure, Estimate]) -> list[Change]:
    """The changes of the measures that both have."""
    return [change(name, first[name], second[name]) for name in MEASURES if name in first and name in second]


def change(measure: Measure, first: Estimate, second: Estimate) -> Change:
    """The difference of two sets of answers, with Student's t interval from the jackknife over questions.

    Sets with the same questions lose each from both at once. Else the sets are taken as independent.
    """
    difference = second.value - first.value
    without = [np.array([estimate.without[name] for name in sorted(estimate.without)]) for estimate in (first, second)]
    if first.without.keys() == second.without.keys():
        without = [without[1] - without[0]]
    error = float(np.sqrt(sum(map(jackknife_variance, without))))
    margin = error * float(student.ppf(0.975, max(1, min(map(len, without)) - 1)))
    low, high = (None, None) if np.isnan(margin) else (difference - margin, difference + margin)
    return Change(measure, first.value, second.value, difference, low, high)


def jackknife_variance(without: NDArray[np.float64]) -> float:
    """The variance of a statistic, from its values [Q] without each question; NaN below two, or where one is NaN.

    (Q − 1)/Q · Σ (θ₋q − mean θ₋)²: for a mean this is s²/Q.
    """
    count = len(without)
    return float((count - 1) / count * ((without - without.mean()) ** 2).sum()) if count > 1 else float("nan")


def distinct(answers: Sequence[Said], n: int) -> Estimate:
    """Different n-grams per n-gram: 1 where nothing is said twice, near 0 where everything is the same."""
    grams: dict[str, Counter[tuple[str, ...]]] = {question: Counter() for question, _ in answers}
    for question, text in answers:
        grams[question].update(runs_of(words_of(text), n))
    questions_with = Counter(gram for counted in grams.values() for gram in counted)
    total = sum(map(Counter.total, grams.values()))

    def without(counted: Counter[tuple[str, ...]]) -> float:
        own = sum(questions_with[gram] == 1 for gram in counted)
        return _ratio(len(questions_with) - own, total - counted.total())

    return Estimate(
        _ratio(len(questions_with), total), {question: without(counted) for question, counted in grams.items()}
    )


def similarity(questions: Sequence[str], vectors: NDArray[np.float32]) -> tuple[Estimate, Estimate]:
    """Mean cosine similarity of answers with unit vectors [N, D], between questions and within one.

    In one pass, without the N² similarities: over all pairs of a set of n their sum is ‖Σv‖² − n. Those between
    questions are the pairs of the whole set less the pairs of each question.
    """
    names, which = np.unique(np.array(questions, dtype=object), return_inverse=True)
    counts = np.bincount(which).astype(np.float64)  # n of each question [Q]
    sums = np.zeros((len(names), vectors.shape[1]))
    np.add.at(sums, which, vectors.astype(np.float64))
    squares = (sums**2).sum(axis=1)  # ‖Σv‖² of each question [Q]
    total = sums.sum(axis=0)

    between = _ratio(total @ total - squares.sum(), counts.sum() ** 2 - (counts**2).sum())
    rest = ((total - sums) ** 2).sum(axis=1) - (squares.sum() - squares)
    rest_pairs = (counts.sum() - counts) ** 2 - ((counts**2).sum() - counts**2)
    alike, pairs = squares - counts, counts * (counts - 1)
    within = _ratio(alike.sum(), pairs.sum())
    return (
        Estimate(between, dict(zip(names, map(_ratio, rest, rest_pairs), strict=True))),
        Estimate(within, dict(zip(names, map(_ratio, alike.sum() - alike, pairs.sum() - pairs), strict=True))),
    )


def _ratio(part: float, whole: float) -> float:
    return round(float(part / whole), DIGITS) if whole > 0 else float("nan")
