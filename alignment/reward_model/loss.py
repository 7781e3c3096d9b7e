"""The loss of a reward model over groups of ranked responses, as a pure function of its rewards.

Shapes: G groups, K responses a group. `present[G,K]` is true where a group has a response; what stands in the other
places (NaN included) touches neither loss nor gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from alignment.losses import as_tensors
from alignment.reward_model.utilities import Utility, prompt_aware_utility


def ranking_loss(
    rewards: Any,
    ratings: Any,
    present: Any,
    utility: Utility | None,
    *,
    openness: Any = None,
    delta: float = 0.0,
) -> Tensor:
    """Minus the mean utility of the reward gaps over a group's ranked pairs (arXiv 2305.17608): loss[G].

        loss = − mean of U(r_i − r_j) over the pairs (i, j) with rating_i − rating_j > delta

    With r = `rewards[G,K]` in [0, 1] and U the `utility`, or, where that is None, each group's prompt-aware utility at
    its `openness[G]` in [0, 1]. A group without a ranked pair costs 0 and has no gradient. U is `Utility.of`:
    powers in Box–Cox form, with slope 1 at a gap of 1 whatever the openness, and a tangent below TANGENT_BELOW. Raises
    ValueError on unequal shapes, on ratings that are not finite, and unless one of `utility` and `openness` is given.

    >>> from alignment.reward_model.utilities import utility_of
    >>> ranking_loss([[0.25, 0.75]], [[2, 6]], [[True, True]], utility_of("log x"))
    tensor([0.6931])
    """
    given, rated, there = as_tensors("rewards", rewards, ratings, present)
    rated = rated.masked_fill(~there, torch.nan)  # which is better than nothing, nor worse
    ranked = _differences(rated) > delta
    gaps = _differences(given).masked_fill(~ranked, 1.0)
    utilities = _utilities(gaps, utility, openness).masked_fill(~ranked, 0.0)
    return -utilities.sum((-2, -1)) / ranked.sum((-2, -1)).clamp(min=1)


def _differences(values: Tensor) -> Tensor:
    """values_i − values_j, [G,K,K]."""
    return values.unsqueeze(-1) - values.unsqueeze(-2)


def _utilities(gaps: Tensor, utility: Utility | None, openness: Any) -> Tensor:
    """U of gaps[G,K,K], by one utility or by each group's openness[G]."""
    if (utility is None) == (openness is None):
        raise ValueError("give a utility, or None and the openness of each group, not both")
    if utility is not None:
        return utility.of(gaps)
    how_open = torch.as_tensor(openness, dtype=gaps.dtype, device=gaps.device)
    if how_open.shape != gaps.shape[:1] or not ((how_open >= 0) & (how_open <= 1)).all():
        raise ValueError(f"openness needs one number in [0, 1] for each of {len(gaps)} groups, got {openness!r}")
    return prompt_aware_utility(gaps, how_open[:, None, None])
