"""How far observers agree: Krippendorff's alpha."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import nan

import krippendorff
import numpy as np
from numpy.typing import NDArray

from agents.observers import DIMENSIONS
from agents.rating import Dimension
from agents.records import Rating
from sandbox.interaction import Interaction

UNRATED = Rating(None, None)


def ratings_of(interactions: Iterable[Interaction], observers: Sequence[str]) -> NDArray[np.float64]:
    """The ratings [answer, observer, dimension] of every draft and revision; NaN where there is none.

    Of an interaction nothing but these numbers is kept.
    """

    def values() -> Iterator[float]:
        for said in interactions:
            for ratings in (said.before, *(step.after for step in said.steps)):
                for rating in (ratings.get(name, UNRATED) for name in observers):
                    yield from (nan if value is None else value for value in (rating.alignment, rating.engagement))

    return np.fromiter(values(), np.float64).reshape(-1, len(observers), len(DIMENSIONS))


def agreements(ratings: NDArray[np.float64]) -> dict[Dimension, float | None]:
    """The `agreement` of observers by dimension, from their ratings [answer, observer, dimension]."""
    return {dimension: agreement(ratings[:, :, index].T) for index, dimension in enumerate(DIMENSIONS)}


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
