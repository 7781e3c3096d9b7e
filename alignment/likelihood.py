"""How well a model's likelihoods agree with ratings it was not trained on, and what training cost its language."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import bootstrap, kendalltau
from torch import Tensor

from alignment.shared_prefix import batch_nll
from alignment.tokens import ChatFormat, Collator, Row

RESAMPLES = 5000

# Plain statements without advice or judgement: what a model should still read as easily after it was aligned.
NEUTRAL_TEXT = (
    "The train to the coast leaves every hour from the second platform.",
    "Water boils at a lower temperature in the mountains than at the sea.",
    "The library keeps its newspapers in a room on the ground floor.",
    "In autumn the leaves of the maple turn red before they fall.",
    "The recipe needs two eggs, a cup of flour and a little butter.",
    "A bridge of stone crosses the river near the old mill.",
    "The second half of the film was shot in a village in the north.",
    "Most bicycles have a chain that drives the rear wheel.",
    "The meeting was moved from Tuesday morning to Thursday afternoon.",
    "Copper is used for wires because it conducts electricity well.",
    "The museum opened a new wing with paintings from the last century.",
    "Rain is expected in the west, with some sun later in the day.",
    "Her brother works as an electrician in a town by the lake.",
    "The keyboard stands on a wooden desk in front of the window.",
    "Every evening the lighthouse sends a beam across the bay.",
)


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """Of one group's responses: summed log-probability (nats) and number of tokens, end of turn included."""

    sums: tuple[float, ...]
    tokens: tuple[int, ...]

    @property
    def per_token(self) -> tuple[float, ...]:
        """Mean log-probability of a token, per response."""
        return tuple(total / count for total, count in zip(self.sums, self.tokens, strict=True))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % bootstrap interval over groups; no interval where there are fewer than two groups."""

    value: float
    low: float | None
    high: float | None

    @property
    def interval(self) -> str:
        """The interval for a person."""
        return "–" if self.low is None else f"{self.low:.3f} … {self.high:.3f}"


@dataclass(frozen=True, slots=True)
class Quality:
    """A model on held-out groups. None where the data has nothing to measure it on.

    Log-probabilities (nats) are means over groups with different ratings, of all of a group's best or worst.
    """

    groups: int
    pairs: int
    pair_accuracy: Estimate | None
    best_per_token: float | None
    best_sum: float | None
    worst_per_token: float | None
    worst_sum: float | None
    best_perplexity: float | None
    neutral_perplexity: float


def likelihoods(
    model: Any, rows: Sequence[Row], collate: Callable[[Sequence[Row]], dict[str, Tensor]]
) -> list[Likelihoods]:
    """The likelihoods of every response of `rows`, one group at a time, without dropout.

    `collate`: a `Collator`, or a `SharedCollator` for a model that reads shared rows.
    """
    found = []
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for row in rows:
            nll, tokens = batch_nll(model, {k: v.to(model.device) for k, v in collate([row]).items()})
            found.append(Likelihoods(tuple((-nll).tolist()), tuple(tokens.tolist())))
    model.train(was_training)
    return found


def neutral_perplexity(model: Any, format: ChatFormat) -> float:
    """exp of the mean token loss on the neutral text, sentence by sentence, without chat template."""
    rows = [format.text_row(sentence) for sentence in NEUTRAL_TEXT]
    return _perplexity([(found.sums[0], found.tokens[0]) for found in likelihoods(model, rows, Collator(format.pad))])


def quality(rows: Sequence[Row], found: Sequence[Likelihoods], neutral: float, *, delta: float = 0.0) -> Quality:
    """`found[i]` are the likelihoods of `rows[i]`; ratings within `delta` of each other make no pair."""
    scores = [row.scores for row in rows]
    best = [_places(group, max(group)) for group in scores]
    contrast = [i for i, group in enumerate(scores) if min(group) < max(group)]
    worst = [_places(group, min(group)) for group in scores]
    return Quality(
        groups=len(rows),
        pairs=int(sum(_pairs(found[i].per_token, scores[i], delta)[1] for i in range(len(rows)))),
        pair_accuracy=pair_accuracy([f.per_token for f in found], scores, delta=delta),
        best_per_token=_mean([fmean(found[i].per_token[k] for k in best[i]) for i in contrast]),
        best_sum=_mean([fmean(found[i].sums[k] for k in best[i]) for i in contrast]),
        worst_per_token=_mean([fmean(found[i].per_token[k] for k in worst[i]) for i in contrast]),
        worst_sum=_mean([fmean(found[i].sums[k] for k in worst[i]) for i in contrast]),
        best_perplexity=_perplexity(
            [(f.sums[k], f.tokens[k]) for f, places in zip(found, best, strict=True) for k in places]
        )
        if rows
        else None,
        neutral_perplexity=neutral,
    )


def pair_accuracy(
    loglik: Sequence[Sequence[float]], scores: Sequence[Sequence[float]], *, delta: float = 0.0, seed: int = 0
) -> Estimate | None:
    """Share of a group's pairs with different scores that the mean token log-likelihood puts in the same order.

    `loglik[i][k]` and `scores[i][k]` belong to response k of group i. Pairs whose scores differ by no more than
    `delta` are left out, equal likelihoods count half. All pairs of all groups weigh the same; the interval resamples
    groups. None where no pair has different scores.
    """
    counts = [_pairs(ours, theirs, delta) for ours, theirs in zip(loglik, scores, strict=True)]
    kept = np.array([count for count in counts if count[1]], dtype=float).reshape(-1, 2).T
    return estimate(list(kept), lambda right, pairs, axis=-1: right.sum(axis) / pairs.sum(axis), seed)


def accuracy_gain(
    before: Sequence[Sequence[float]],
    after: Sequence[Sequence[float]],
    scores: Sequence[Sequence[float]],
    *,
    delta: float = 0.0,
    seed: int = 0,
) -> Estimate | None:
    """Pair accuracy of `after` minus that of `before`, on the same groups, which are resampled together."""
    counts = [
        (*_pairs(new, theirs, delta), _pairs(old, theirs, delta)[0])
        for old, new, theirs in zip(before, after, scores, strict=True)
    ]
    kept = np.array([count for count in counts if count[1]], dtype=float).reshape(-1, 3).T
    return estimate(
        list(kept), lambda new, pairs, old, axis=-1: (new.sum(axis) - old.sum(axis)) / pairs.sum(axis), seed
    )


def rank_correlations(loglik: Sequence[Sequence[float]], scores: Sequence[Sequence[float]]) -> list[float | None]:
    """Kendall's τ-b of each group's mean token log-likelihoods with its scores, from −1 to 1.

    `loglik[i][k]` and `scores[i][k]` belong to response k of group i. None where all scores of a group are equal;
    0 where all its likelihoods are, which tell nothing.
    """
    return [_tau(ours, theirs) for ours, theirs in zip(loglik, scores, strict=True)]


def mean_estimate(values: Sequence[float], *, seed: int = 0) -> Estimate | None:
    """The mean of `values`, one of each group or question, which the interval resamples. None where there are none."""
    return estimate([np.array(values, dtype=float)], lambda column, axis=-1: column.mean(axis), seed)


def _tau(loglik: Sequence[float], scores: Sequence[float]) -> float | None:
    if min(scores) == max(scores):
        return None
    return 0.0 if min(loglik) == max(loglik) else float(kendalltau(loglik, scores).statistic)


def _pairs(loglik: Sequence[float], scores: Sequence[float], delta: float) -> tuple[float, int]:
    """(pairs in the right order, pairs with different scores) of one group."""
    different = [(i, j) for i, j in combinations(range(len(scores)), 2) if abs(scores[i] - scores[j]) > delta]
    signs = [np.sign(loglik[i] - loglik[j]) * np.sign(scores[i] - scores[j]) for i, j in different]
    return sum((1 + float(sign)) / 2 for sign in signs), len(different)


def estimate(
    columns: Sequence[NDArray[Any]],
    statistic: Callable[..., Any],
    seed: int,
    *,
    vectorized: bool = True,
    resamples: int = RESAMPLES,
) -> Estimate | None:
    """`statistic` of the columns, which are resampled together by item; None where they are empty."""
    items = columns[0].size
    if items == 0:
        return None
    value = float(statistic(*columns))
    if items == 1:
        return Estimate(value, None, None)
    interval = bootstrap(
        columns,
        statistic,
        paired=True,
        vectorized=vectorized,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))


def _places(scores: Sequence[float], score: float) -> list[int]:
    return [place for place, other in enumerate(scores) if other == score]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _perplexity(found: Sequence[tuple[float, int]]) -> float:
    return math.exp(-sum(total for total, _ in found) / sum(tokens for _, tokens in found))
