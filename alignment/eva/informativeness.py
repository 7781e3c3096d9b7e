"""How much a prompt can teach, read off the rewards of several responses to it (arXiv 2411.00062, section 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Rewards = NDArray[np.float64]


def _best_second(rewards: _Rewards) -> float:
    second, best = np.sort(rewards)[-2:]
    return float(best - second)


METRICS: dict[str, Callable[[_Rewards], float]] = {
    "max-min": lambda rewards: float(rewards.max() - rewards.min()),
    "max-mean": lambda rewards: float(rewards.max() - rewards.mean()),
    "best-second": _best_second,
    "variance": lambda rewards: float(rewards.var()),  # over n: the rewards are all there are
    "mean": lambda rewards: float(rewards.mean()),
    "uniform": lambda rewards: 1.0,
}


def informativeness(rewards: Any, metric: str = "max-min") -> float:
    """The informativeness of a prompt whose responses have these `rewards` [n], n ≥ 2: list, array or tensor.

    `max-min` is the paper's: the regret that is left between the best and the worst response, A_min*. `max-mean` and
    `best-second` are its variants A_avg* and A_dts*; `variance`, `mean` and `uniform` (all prompts alike) are what
    it compares with. Raises ValueError where a metric is unknown, rewards are fewer than two, or one is not finite.
    """
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r}: unknown; known: {', '.join(METRICS)}")
    plain = rewards.detach().double().cpu() if hasattr(rewards, "detach") else rewards  # a tensor, without its graph
    values = np.asarray(plain, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"rewards: need those of at least two responses to a prompt, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"rewards must be finite, got {values.tolist()}; leave out responses without one")
    return METRICS[metric](values)
