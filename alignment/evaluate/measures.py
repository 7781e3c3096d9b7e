"""What is told of two models: each number of both, and the paired difference with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alignment.likelihood import Estimate, mean_estimate


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of the model and of the one beside it, over the same `items`; None where there is nothing to measure.

    `difference` is model − against, paired by item.
    """

    name: str
    model: Estimate | None
    against: Estimate | None
    difference: Estimate | None
    items: int


def paired(name: str, model: Sequence[float | None], against: Sequence[float | None] | None = None) -> Measure:
    """The means of the values of both models, over the items (in parallel) that each model has a value of."""
    if against is None:
        known = [value for value in model if value is not None]
        return Measure(name, mean_estimate(known), None, None, len(known))
    both = [
        (ours, theirs) for ours, theirs in zip(model, against, strict=True) if ours is not None and theirs is not None
    ]
    return Measure(
        name,
        mean_estimate([ours for ours, _ in both]),
        mean_estimate([theirs for _, theirs in both]),
        mean_estimate([ours - theirs for ours, theirs in both]),
        len(both),
    )
