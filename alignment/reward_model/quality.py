"""What a reward model is on held-out groups: whether it ranks, whether its rewards collapse, and what they follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from statistics import fmean, pstdev
from typing import Any

import numpy as np
import torch
from scipy.stats import wasserstein_distance

from alignment.likelihood import Estimate, mean_estimate, pair_accuracy, rank_correlations
from alignment.reward_model.limits import limit_distribution, wasserstein_to
from alignment.reward_model.optimum import optimal_rewards
from alignment.reward_model.rows import RankedRow
from alignment.reward_model.trainer import group_rewards
from alignment.reward_model.utilities import Utility, prompt_aware
from alignment.stability import LOGGED, is_point
from sandbox.dataset import Group

Rewards = tuple[float, ...]  # of one group's responses

HALF_OPEN = 0.5  # openness from which a prompt counts as open


@dataclass(frozen=True, slots=True)
class Observed:
    """What rewards are compared with: of each group, the lengths of its responses and another observer's ratings.

    `ratings` is None where nobody was asked; a group whose ratings are not all there has None too.
    """

    lengths: Sequence[tuple[int, ...]]
    ratings: Sequence[tuple[float, ...] | None] | None


@dataclass(frozen=True, slots=True)
class RewardQuality:
    """A reward model on held-out groups. None where the data has nothing to measure it on.

    `spread`: standard deviation of a prompt's rewards, mean. `open_closed`: Wasserstein-1 distance between all rewards
    of open and of closed prompts; 0 is collapse. `to_optimum`: W1 between a prompt's rewards and the best ones for the
    utility at as many responses, mean; `to_limit`: to the limit law. `length`, `judge`: Kendall's τ-b of a prompt's
    rewards with lengths in characters, and with another observer's ratings; `rated_length` that of the ratings
    trained on with lengths, which rewards should not exceed.
    """

    groups: int
    pairs: int
    pair_accuracy: Estimate | None
    rank_correlation: Estimate | None
    spread: float | None
    open_closed: float | None
    to_optimum: float | None
    to_limit: float | None
    length: float | None
    rated_length: float | None
    judge: float | None


def rewards_of(model: Any, rows: Sequence[RankedRow], collate: Callable[[Sequence[RankedRow]], Any]) -> list[Rewards]:
    """The rewards of every response of `rows`, one group at a time, without dropout."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        batches = ({k: v.to(model.device) for k, v in collate([row]).items()} for row in rows)
        found = [tuple(group_rewards(model, batch)[0].tolist()) for batch in batches]
    model.train(was_training)
    return found


def observed_of(
    groups: Sequence[Group], rate: Callable[[Sequence[str], Sequence[str]], list[float | None]]
) -> Observed:
    """Lengths, and what `rate` says of each (question, response)."""
    asked = [(group.query[-1].content, response) for group in groups for response in group.responses]
    given = iter(rate([question for question, _ in asked], [response for _, response in asked]))
    ratings = [tuple(next(given) for _ in group.responses) for group in groups]
    return Observed(
        [tuple(map(len, group.responses)) for group in groups],
        [tuple(r for r in rated if r is not None) if None not in rated else None for rated in ratings],
    )


def quality(
    rows: Sequence[RankedRow], rewards: Sequence[Rewards], utility: Utility | None, observed: Observed, *, delta: float
) -> RewardQuality:
    """`rewards[i]` are those of `rows[i]`; ratings within `delta` make no pair. `utility` None is prompt-aware."""
    scores = [row.scores for row in rows]
    utilities = [prompt_aware(row.openness) if utility is None else utility for row in rows]
    open_, closed = ([r for row, given in zip(rows, rewards, strict=True) if (row.openness >= HALF_OPEN) == side
                      for r in given] for side in (True, False))  # fmt: skip
    ratings = observed.ratings or [None] * len(rows)
    judged = [(ours, theirs) for ours, theirs in zip(rewards, ratings, strict=True) if theirs is not None]
    return RewardQuality(
        groups=len(rows),
        pairs=sum(abs(one - other) > delta for group in scores for k, one in enumerate(group) for other in group[:k]),
        pair_accuracy=pair_accuracy(rewards, scores, delta=delta),
        rank_correlation=mean_estimate([c for c in rank_correlations(rewards, scores) if c is not None]),
        spread=fmean(map(pstdev, rewards)) if rewards else None,
        open_closed=float(wasserstein_distance(open_, closed)) if open_ and closed else None,
        to_optimum=_mean(
            wasserstein_distance(given, _best(best, len(given))) for given, best in zip(rewards, utilities, strict=True)
        ),
        to_limit=_mean(
            wasserstein_to(np.array(given), _law(best)) for given, best in zip(rewards, utilities, strict=True)
        ),
        length=_mean(rank_correlations(rewards, observed.lengths)),
        rated_length=_mean(rank_correlations(scores, observed.lengths)),
        judge=_mean(rank_correlations([ours for ours, _ in judged], [theirs for _, theirs in judged])),
    )


def numbers_of(found: RewardQuality) -> dict[str, float | None]:
    """What was found as plain numbers, without intervals."""
    return {name: value["value"] if isinstance(value, dict) else value for name, value in asdict(found).items()}


def points(log: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The points in a trainer's log, in its order."""
    return [
        {"step": line["step"]} | {n.removeprefix(LOGGED): v for n, v in line.items() if n.startswith(LOGGED)}
        for line in log
        if is_point(line)
    ]


# The same for all prompts of as many answers, and at every point of a training.
_best, _law = cache(optimal_rewards), cache(limit_distribution)


def _mean(values: Any) -> float | None:
    known = [float(value) for value in values if value is not None]
    return fmean(known) if known else None
