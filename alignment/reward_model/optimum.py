"""The best rewards of n ranked responses: argmax Σ_{i<j} U(r_i − r_j) over 1 ≥ r_1 ≥ … ≥ r_n ≥ 0.

They depend on U and n alone, never on the prompt: that is reward collapse (arXiv 2305.17608, theorem 1).

The unknowns are the n − 1 gaps between neighbours, g ≥ 0 with Σ g = 1 (as U increases, r_1 = 1 and r_n = 0). The
utility is concave in them, and its gradient and Hessian are sums of terms of one sign: nothing cancels, so gaps are
right however small. A primal–dual interior-point method takes both kinds of U: where U'(0) is infinite the gaps stay
positive, else some are ties.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from agents.errors import BadInput
from alignment.reward_model.utilities import Utility, utility_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BARRIER = 1e-14  # complementarity at the end, per gap, in units where the price of length is about 1
TIE = 1e-11  # gaps the barrier alone keeps open
RESIDUAL = 1e-10
MOST_STEPS = 500
TO_THE_WALL = 0.99  # of the way to a gap of 0, at most, in one step


def optimal_rewards(utility: str | Utility, n: int) -> Floats:
    """The best rewards of `n` ranked responses, [n], best first: from 1 down to 0, with r_{n+1−i} = 1 − r_i.

    Exact to 1e-6 (in fact to about 1e-9). `utility`: a name that `utility_of` knows, or a Utility. For x and odd n the
    middle reward makes no difference and is ½. Raises BadInput for fewer than two responses or an unknown name.

    >>> optimal_rewards("log x", 8).round(6)
    array([1.     , 0.93587, 0.79585, 0.60465, 0.39535, 0.20415, 0.06413,
           0.     ])
    """
    if index(n) < 2:
        raise BadInput(f"optimal rewards of {n} responses: needs at least 2")
    gaps = _best_gaps(utility_of(utility), n - 1)
    gaps = np.where(gaps < TIE, 0.0, gaps + gaps[::-1])
    rewards = np.append(np.cumsum(gaps[::-1])[::-1], 0.0)
    return np.asarray(rewards / rewards[0])


def _best_gaps(utility: Utility, count: int) -> Floats:
    """`count` gaps with sum 1: where ∂F/∂g_k + z_k = λ, g_k z_k = 0 for some z ≥ 0 (Karush–Kuhn–Tucker)."""
    gaps = np.full(count, 1 / count)
    unit = _gradient(utility, gaps).mean()
    multipliers = np.ones(count)
    for _ in range(MOST_STEPS):
        gradient = _gradient(utility, gaps) / unit
        complementarity = gaps @ multipliers / count
        barrier = max(0.1 * complementarity, 0.1 * BARRIER)
        curvature = np.diag(multipliers / gaps) - _hessian(utility, gaps) / unit
        factor = cho_factor(curvature)
        towards, price = cho_solve(factor, np.stack([gradient + barrier / gaps, np.ones(count)], axis=1)).T
        price_of_length = towards.sum() / price.sum()
        if complementarity < BARRIER and np.abs(gradient + multipliers - price_of_length).max() < RESIDUAL:
            return gaps
        step = towards - price_of_length * price
        multiplier_step = barrier / gaps - multipliers - multipliers / gaps * step
        gaps = gaps + _length(gaps, step) * step
        multipliers = multipliers + _length(multipliers, multiplier_step) * multiplier_step
    raise ArithmeticError(f"no optimum for {utility.name} and {count + 1} responses in {MOST_STEPS} steps")


def _length(values: Floats, step: Floats) -> float:
    """How much of `step` leaves `values` positive."""
    return min(1.0, TO_THE_WALL / max(float((-step / values).max()), 1e-300))


def _gradient(utility: Utility, gaps: Floats) -> Floats:
    """∂F/∂g_k: the slopes of all spans that contain gap k, [count]."""
    return np.diagonal(_over_containing(np.triu(utility.slope(_spans(gaps)))))


def _hessian(utility: Utility, gaps: Floats) -> Floats:
    """∂²F/∂g_k∂g_l: the curvatures of all spans that contain both gaps, [count,count]."""
    upper = _over_containing(np.triu(utility.curvature(_spans(gaps))))
    return np.triu(upper) + np.triu(upper, 1).T


def _spans(gaps: Floats) -> Floats:
    """The length of each run of gaps, [first, last]; 1 where last < first."""
    lengths = np.cumsum(np.triu(np.broadcast_to(gaps, (len(gaps),) * 2)), axis=1)
    return np.where(np.tri(len(gaps), k=-1, dtype=bool), 1.0, lengths)


def _over_containing(values: Floats) -> Floats:
    """For each pair (k, l): the sum of `values[first, last]` over first ≤ k and last ≥ l."""
    return np.cumsum(np.cumsum(values, axis=0)[:, ::-1], axis=1)[:, ::-1]
