"""The pairs that an actor and a judge learn from (arXiv 2407.19594, sections 2.2 and 2.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CLOSE = 1e-9  # numbers this near are equal: bounds of tiers are sums of products, strengths are fitted


def actor_pair(scores: Sequence[float | None], lengths: Sequence[int], rho: float) -> tuple[int, int] | None:
    """The places of the chosen and of the rejected response, with their lengths controlled by ρ = `rho` in [0, 1].

    Of those whose score is in the upper tier, S ≥ (1 − ρ) S_max + ρ S_min, the shortest is chosen; of those in the
    lower one, S ≤ (1 − ρ) S_min + ρ S_max, the longest is rejected; of equally long ones the better and the worse. At
    ρ = 0 they are the best and the worst. None where fewer than two have a score, all are equal, or the chosen one
    would not be better: from ρ = ½ on the tiers overlap. Raises ValueError.
    """
    if len(scores) != len(lengths):
        raise ValueError(f"{len(scores)} scores but {len(lengths)} lengths; give one each")
    if not 0 <= rho <= 1:
        raise ValueError(f"rho: {rho:g} is not within 0 and 1")
    known = {place: score for place, score in enumerate(scores) if score is not None}
    if not all(map(np.isfinite, known.values())):
        raise ValueError(f"scores must be finite, or None where there is none, got {[*scores]}")
    if not known:
        return None
    best, worst = max(known.values()), min(known.values())
    upper, lower = (1 - rho) * best + rho * worst - CLOSE, (1 - rho) * worst + rho * best + CLOSE
    chosen = min((p for p in known if known[p] >= upper), key=lambda p: (lengths[p], -known[p], p))
    rejected = min((p for p in known if known[p] <= lower), key=lambda p: (-lengths[p], known[p], p))
    return (chosen, rejected) if known[chosen] - known[rejected] > CLOSE else None


def most_uncertain(judgements: Sequence[Sequence[float | None]]) -> int | None:
    """The place of the response whose judgements' scores vary the most, of equals the first.

    `judgements[k]` are the scores of response k, None where one could not be read. None where no response has two
    different ones. Raises ValueError where a score is not finite.
    """
    known = [[score for score in scores if score is not None] for scores in judgements]
    if not all(np.isfinite(scores).all() for scores in known):
        raise ValueError(f"scores must be finite, or None where there is none, got {[*map(list, judgements)]}")
    variances = {place: np.var(scores) for place, scores in enumerate(known) if scores and np.ptp(scores) > CLOSE}
    widest = max(variances.values(), default=0.0)
    return next((place for place, variance in variances.items() if variance >= widest - CLOSE), None)


def judge_pair(elo: Sequence[float], lengths: Sequence[int], max_length: int | None = None) -> tuple[int, int] | None:
    """The places of the chosen and of the rejected judgement: those of the highest and the lowest `elo`, first ones.

    None where all are equally good, or the chosen one is longer than `max_length`: a judge that learned from it would
    write ever longer. Raises ValueError.
    """
    if len(elo) != len(lengths):
        raise ValueError(f"{len(elo)} scores but {len(lengths)} lengths; give one each")
    if not np.isfinite(elo).all():
        raise ValueError(f"elo must be finite, got {[*elo]}")
    if len(elo) < 2 or max(elo) - min(elo) < CLOSE:
        return None
    chosen, rejected = int(np.argmax(elo)), int(np.argmin(elo))
    return None if max_length is not None and lengths[chosen] > max_length else (chosen, rejected)
