"""The losses of the trainers, as pure functions of what a model and its raters said.

Shapes: G groups, K responses a group. `present[G,K]` is true where a group has a response; what stands in the other
places (NaN included) touches neither loss nor gradient. Arguments may be lists, arrays or tensors.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

Reduction = Literal["sum", "mean", "max"]


def stable_alignment_loss(
    nll: Any,
    ratings: Any,
    present: Any,
    *,
    weight: float = 0.2,
    margin: float = 1.0,
    scale: float = 7.0,
    reduction: Reduction = "sum",
) -> Tensor:
    """Stable Alignment's loss, contrastive imitation (arXiv 2305.16960), one value a group: loss[G].

    With ℓ = `nll[G,K]` the mean token negative log-likelihoods (nats), r = `ratings[G,K]`, b the best rated response
    and S = `scale` the span of the rating scale:

        loss = ℓ_b + weight · R_{i≠b} max(0, ℓ_b − ℓ_i + margin · (r_b − r_i) / S),   R = sum, mean or max over i

    Where several share the best rating, ℓ_b is the mean over them and no term stands between them. A group without a
    hinge is plain fine-tuning on its best; an empty one costs 0. Raises ValueError on unequal shapes, on ratings that
    are not finite, and on an unknown `reduction`.

    >>> stable_alignment_loss([[2.0, 1.5]], [[2, 6]], [[True, True]])
    tensor([1.5143])
    """
    best, hinges, rated_lower = _contrast(nll, ratings, present, margin, scale)
    match reduction:
        case "sum":
            penalty = hinges.sum(-1)
        case "mean":
            penalty = hinges.sum(-1) / rated_lower.sum(-1).clamp(min=1)
        case "max":
            penalty = hinges.amax(-1)
        case _:
            raise ValueError(f"reduction is sum, mean or max, got {reduction!r}")
    return best + weight * penalty


class Hinges(NamedTuple):
    """Per group: how many hinges cost something, and how many there are (long[G] each)."""

    active: Tensor
    total: Tensor


def active_hinges(nll: Any, ratings: Any, present: Any, *, margin: float = 1.0, scale: float = 7.0) -> Hinges:
    """Count the hinges above zero. Their share, `active.sum() / total.sum()`, says how much contrast still teaches.

    At 0 the loss is plain fine-tuning on the best.
    """
    _, hinges, rated_lower = _contrast(nll, ratings, present, margin, scale)
    return Hinges((hinges > 0).sum(-1), rated_lower.sum(-1))


def as_tensors(name: str, values: Any, ratings: Any, present: Any) -> tuple[Tensor, Tensor, Tensor]:
    """`values` called `name`, `ratings` and `present`, [G,K] each, as tensors of at least float32 on one device.

    Raises ValueError on unequal shapes, and on ratings that are not finite where a response is present.
    """
    given = torch.as_tensor(values)
    given = given.to(torch.promote_types(given.dtype, torch.float32))  # half precision would make ties
    rated = torch.as_tensor(ratings, dtype=given.dtype, device=given.device)
    there = torch.as_tensor(present, dtype=torch.bool, device=given.device)
    if not given.shape == rated.shape == there.shape:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (given, rated, there))
        raise ValueError(f"{name}, ratings and present need one shape [G,K], got {shapes}")
    if not torch.isfinite(rated[there]).all():
        raise ValueError("ratings must be finite where a response is present; mark the unrated ones as absent")
    return given, rated, there


def _contrast(nll: Any, ratings: Any, present: Any, margin: float, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """ℓ_b[G], the hinges[G,K] (0 where there is none), and where a response is rated lower than the best, [G,K]."""
    losses, rated, there = as_tensors("nll", nll, ratings, present)
    losses = losses.masked_fill(~there, 0.0)
    top = rated.masked_fill(~there, -torch.inf).amax(-1, keepdim=True)
    is_best = there & (rated == top)
    rated_lower = there & ~is_best
    best = losses.masked_fill(~is_best, 0.0).sum(-1) / is_best.sum(-1).clamp(min=1)
    gaps = (top - rated).masked_fill(~rated_lower, 0.0)
    hinges = (best.unsqueeze(-1) - losses + margin * gaps / scale).clamp(min=0).masked_fill(~rated_lower, 0.0)
    return best, hinges, rated_lower
