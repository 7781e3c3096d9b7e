"""How models read rated answers: which they find likelier, and by how much, beside another model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from agents.local import pretrained
from agents.models import model_folder
from agents.prompts import adversarial_messages
from alignment.evaluate.material import worst_of
from alignment.evaluate.measures import Measure, paired
from alignment.harness import Score, run_harness
from alignment.likelihood import (
    Estimate,
    Likelihoods,
    accuracy_gain,
    likelihoods,
    neutral_perplexity,
    pair_accuracy,
    rank_correlations,
)
from alignment.shared_prefix import SharedCollator, unshareable
from alignment.tokens import ChatFormat, Collator, Row
from sandbox.dataset import Group


@dataclass(frozen=True, slots=True)
class Reader:
    """A model in this process, which tells how likely answers are to it."""

    model: Any
    format: ChatFormat
    collate: Callable[[Sequence[Row]], dict[str, Tensor]]
    max_length: int

    @classmethod
    def of(cls, name: str, max_length: int) -> Reader:
        """The model of that name: float32 on a CPU, bfloat16 on a GPU. Raises BadInput."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model, tokenizer = pretrained(name, model_folder(name), torch.float32 if device == "cpu" else torch.bfloat16)
        format = ChatFormat.of(tokenizer)
        model = model.to(device).eval()
        lines = Collator(format.pad)
        shared = unshareable(model, max_length) is None
        return cls(model, format, SharedCollator.of(model.config, lines) if shared else lines, max_length)

    def read(self, groups: Sequence[Group]) -> list[Likelihoods | None]:
        """The likelihoods of each group's responses; None where its prompt leaves no room for them."""
        rows = [self.format.row(group, self.max_length) for group in groups]
        found = iter(likelihoods(self.model, [row for row in rows if row is not None], self.collate))
        return [None if row is None else next(found) for row in rows]

    def scores(self, tasks: Sequence[str], data: Path | None, items: int | None) -> list[Score]:
        """What the model reaches in benchmarks. See `run_harness`."""
        return run_harness(self.model, self.format.tokenizer, tasks, data, limit=items)

    def neutral(self) -> float:
        """Perplexity of neutral text."""
        return neutral_perplexity(self.model, self.format)


def attacked(groups: Sequence[Group]) -> list[Group]:
    """The groups that have a worst answer, with it in their prompt."""
    return [
        replace(group, query=adversarial_messages(group.query, worst))
        for group in groups
        if (worst := worst_of(group)) is not None
    ]


def likelihood_measures(
    groups: Sequence[Group],
    model: Sequence[Likelihoods | None],
    against: Sequence[Likelihoods | None] | None,
    *,
    delta: float = 0.0,
) -> list[Measure]:
    """What the likelihoods (of each of `groups`, in parallel) say, over the groups that all models could read.

    Ratings within `delta` of each other make no pair. Log-probabilities are in nats: means over a group's best, or
    its worst, then over groups with different ratings.
    """
    read = [None not in found for found in zip(model, against if against is not None else model, strict=True)]
    kept = list(compress(groups, read))
    ours = [found for found in compress(model, read) if found is not None]
    theirs = None if against is None else [found for found in compress(against, read) if found is not None]
    scores = [group.scores for group in kept]

    def measure(name: str, values: Callable[[Likelihoods, Sequence[float]], float | None]) -> Measure:
        return paired(
            name,
            *(
                [values(found, rated) for found, rated in zip(side, scores, strict=True)]
                for side in (ours, theirs)
                if side is not None
            ),
        )

    return [
        _accuracy(ours, theirs, scores, delta),
        measure("rank correlation (τ-b)", lambda found, rated: rank_correlations([found.per_token], [rated])[0]),
        measure("log-prob a token, best", lambda found, rated: _of(max, found.per_token, rated)),
        measure("log-prob a token, worst", lambda found, rated: _of(min, found.per_token, rated)),
        measure("margin, best − worst a token", _margin),
        measure("log-prob, best", lambda found, rated: _of(max, found.sums, rated)),
        measure("log-prob, worst", lambda found, rated: _of(min, found.sums, rated)),
        measure("tokens, best", lambda found, rated: _of(max, found.tokens, rated)),
        measure("tokens, worst", lambda found, rated: _of(min, found.tokens, rated)),
    ]


def task_measures(model: Sequence[Score], against: Sequence[Score] | None = None) -> list[Measure]:
    """Each metric of each benchmark, over its items. Both sides hold the same ones in the same order."""
    sides = [[score.values for score in side] for side in (model, against) if side is not None]
    names = [f"{score.task} {score.metric}" for score in model]
    return [paired(name, *values) for name, *values in zip(names, *sides, strict=True)]


def neutral_measure(model: float, against: float | None) -> Measure:
    """Perplexity of neutral text, single numbers without an interval."""
    theirs = None if against is None else Estimate(against, None, None)
    difference = None if against is None else Estimate(model - against, None, None)
    return Measure("perplexity, neutral text", Estimate(model, None, None), theirs, difference, 1)


def _accuracy(
    ours: Sequence[Likelihoods], theirs: Sequence[Likelihoods] | None, scores: Sequence[Sequence[float]], delta: float
) -> Measure:
    first = [found.per_token for found in ours]
    contrasted = sum(max(rated) - min(rated) > delta for rated in scores)
    found = pair_accuracy(first, scores, delta=delta)
    if theirs is None:
        return Measure("pair accuracy", found, None, None, contrasted)
    second = [found.per_token for found in theirs]
    gain = accuracy_gain(second, first, scores, delta=delta)
    return Measure("pair accuracy", found, pair_accuracy(second, scores, delta=delta), gain, contrasted)


def _of(which: Callable[[Sequence[float]], float], values: Sequence[float], scores: Sequence[float]) -> float | None:
    """The mean of the values of a group's best or worst; None where all are rated alike."""
    if min(scores) == max(scores):
        return None
    wanted = which(scores)
    return fmean(value for value, score in zip(values, scores, strict=True) if score == wanted)


def _margin(found: Likelihoods, scores: Sequence[float]) -> float | None:
    best, worst = _of(max, found.per_token, scores), _of(min, found.per_token, scores)
    return None if best is None or worst is None else best - worst
