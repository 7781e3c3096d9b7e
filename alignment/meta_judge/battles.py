"""Which judgement of an answer is the best, from the meta-judge's comparisons of two (arXiv 2407.19594, section 2.3).

A result is 1 where the judgement shown first wins, −1 where the second does, 0 where neither does. N judgements.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, log_expit

Results = Mapping[tuple[int, int], int]  # by (shown first, shown second)


def position_weights(results: Results) -> tuple[float, float]:
    """(ω1, ω2), what a win in the first and in the second position counts: the less, the more of them there are.

        ω1 = win2nd / (win1st + win2nd),   ω2 = win1st / (win1st + win2nd)

    so that a meta-judge that prefers a position gains nothing for it. Both are ½ where nothing was decided. Raises
    ValueError where a result is none of 1, 0 and −1.
    """
    outcomes = list(results.values())
    if unknown := set(outcomes) - {1, 0, -1}:
        raise ValueError(f"a result is 1, 0 or -1, got {sorted(unknown)[0]}")
    first, second = outcomes.count(1), outcomes.count(-1)
    if first + second == 0:
        return 0.5, 0.5
    return second / (first + second), first / (first + second)


def battle_matrix(results: Results, weights: tuple[float, float], count: int | None = None) -> NDArray[np.float64]:
    """B[N, N], how much each judgement m won over each n, in both positions:

        B_mn = ω1 · 1[r^mn = 1] + ω2 · 1[r^nm = −1]

    `count` is N; without it the judgements are those that were compared. Raises ValueError where one is not below it.
    """
    size = 1 + max((max(pair) for pair in results), default=-1)
    if count is not None and size > count:
        raise ValueError(f"judgement {size - 1} was compared, of {count}")
    first_wins, second_wins = weights
    battle = np.zeros((size if count is None else count,) * 2)
    for (first, second), result in results.items():
        if result == 1:
            battle[first, second] += first_wins
        elif result == -1:
            battle[second, first] += second_wins
    return battle


def elo_scores(battle: Any, ridge: float = 1e-3) -> NDArray[np.float64]:
    """ε[N], the strength of each judgement, with mean 0: the Bradley–Terry fit of B[N, N],

        ε = argmax Σ_mn B_mn log σ(ε_m − ε_n) − ridge · Σ ε²

    Unless each judgement has won over each other one, if only by way of others, it takes a `ridge` to bound them:
    raises ValueError where that is 0 then, below, or not finite.
    """
    wins = np.asarray(battle, dtype=np.float64)
    if wins.ndim != 2 or wins.shape[0] != wins.shape[1]:
        raise ValueError(f"battle: need [N, N], got {list(wins.shape)}")
    if not np.isfinite(ridge) or ridge < 0 or (ridge == 0 and not _bounded(wins)):
        raise ValueError(f"ridge: {ridge:g} bounds nothing; give a positive one")

    def loss(scores: NDArray[np.float64]) -> float:
        return float(ridge * (scores**2).sum() - (wins * log_expit(_gaps(scores))).sum())

    def gradient(scores: NDArray[np.float64]) -> NDArray[np.float64]:
        losing = wins * expit(-_gaps(scores))  # how surprising each win is
        slopes: NDArray[np.float64] = 2 * ridge * scores - losing.sum(1) + losing.sum(0)
        return slopes

    def hessian(scores: NDArray[np.float64]) -> NDArray[np.float64]:
        chance: NDArray[np.float64] = expit(_gaps(scores))
        curvature = (wins + wins.T) * chance * (1 - chance)
        return np.diag(2 * ridge + curvature.sum(1)) - curvature

    if not len(wins):
        return np.zeros(0)
    found = minimize(
        loss, np.zeros(len(wins)), jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-10}
    )
    scores: NDArray[np.float64] = found.x - found.x.mean()
    return scores


def _bounded(wins: NDArray[np.float64]) -> bool:
    """Whether each judgement has won over each other one, if only by way of others (Ford, 1957)."""
    return bool(len(wins) == 0 or connected_components(wins > 0, connection="strong")[0] == 1)


def _gaps(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return scores[:, None] - scores[None, :]
