"""Win rates as they would be if both answers were equally long (after AlpacaEval 2, arXiv 2404.04475)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from alignment.likelihood import Estimate, estimate

RESAMPLES = 1000  # a fit each
SHRINKAGE = 0.1  # pulls the effect of length to 0, so that it stays finite where length alone decides


def controlled_win_rate(wins: Sequence[float], lengths: Sequence[float], *, seed: int = 0) -> Estimate | None:
    """The win rate where both answers are equally long, with its 95 % bootstrap interval over duels.

    `wins` in [0, 1]; `lengths` are the differences of the two answers' lengths, in any unit. In a logistic regression
    of wins with the terms 1 and tanh(length / its standard deviation), it is σ(the first coefficient). None where
    there are no duels, no interval where there are fewer than two.
    """
    columns = np.array(wins, dtype=float), np.array(lengths, dtype=float)
    return estimate(columns, _win_rate, seed, vectorized=False, resamples=RESAMPLES)


def _win_rate(wins: NDArray[np.float64], lengths: NDArray[np.float64]) -> float:
    spread = lengths.std()
    term = np.tanh(lengths / spread) if spread > 0 else np.zeros_like(lengths)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = weights[0] + weights[1] * term
        errors = 1 / (1 + np.exp(-logits)) - wins
        value = (np.logaddexp(0, logits) - wins * logits).sum() + SHRINKAGE * weights[1] ** 2 / 2
        return value, np.array([errors.sum(), (errors * term).sum() + SHRINKAGE * weights[1]])

    found: Any = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-20, 20), (-20, 20)])
    return float(1 / (1 + np.exp(-found.x[0])))
