"""When a society stops improving: the one rule that ends a run and that finished runs are compared by."""

from __future__ import annotations

from collections.abc import Sequence


def reached(scores: Sequence[float | None], *, gain: float, patience: int) -> bool:
    """Whether the best of the last `patience` scores is not at least `gain` above the best before.

    One score a round; missing ones are passed over.
    """
    present = [score for score in scores if score is not None]
    return len(present) > patience and max(present[-patience:]) - max(present[:-patience]) < gain


def rounds_to_plateau(scores: Sequence[float | None], *, gain: float, patience: int) -> int | None:
    """After how many rounds the plateau is first `reached`; None where it is not."""
    played = range(1, len(scores) + 1)
    return next((rounds for rounds in played if reached(scores[:rounds], gain=gain, patience=patience)), None)
