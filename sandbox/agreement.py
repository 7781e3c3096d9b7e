"""How far observers agree: Krippendorff's alpha."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import krippendorff
import numpy as np
from numpy.typing import NDArray

from agents.observers import DIMENSIONS
from agents.rating import Dimension
from agents.records import Rating
from sandbox.interaction import Interaction

_UNRATED = Rating(None, None)


def agreements(interactions: Iterable[Interaction], observers: Sequence[str]) -> dict[Dimension, float | None]:
    """The `agreement` of `observers` by dimension, over every draft and revision."""
    answers = [ratings for said in interactions for ratings in (said.before, *(step.after for step in said.steps))]
    return {dimension: agreement(_matrix(answers, observers, dimension)) for dimension in DIMENSIONS}


def agreement(ratings: NDArray[np.float64]) -> float | None:
    """Krippendorff's alpha, ordinal, of `ratings[observer, answer]` rounded to whole numbers (NaN: missing).

    None where it is not defined: no answer with two ratings, or one value only. (On unrounded ratings the ordinal
    metric would take gigabytes.)
    """
    rounded = np.rint(ratings)
    paired = rounded[:, (~np.isnan(rounded)).sum(axis=0) > 1]
    if np.unique(paired[~np.isnan(paired)]).size < 2:
        return None
    return float(krippendorff.alpha(paired, level_of_measurement="ordinal"))


def _matrix(
    answers: Sequence[Mapping[str, Rating]], observers: Sequence[str], dimension: Dimension
) -> NDArray[np.float64]:
    rows = [[getattr(ratings.get(name, _UNRATED), dimension) for ratings in answers] for name in observers]
    return np.array(rows, dtype=np.float64)  # None becomes NaN
