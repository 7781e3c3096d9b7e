"""How open a prompt is: whether it has many different good answers or one right one, read off sampled answers.

What is seen is how far the answers lie apart: a prompt that the model can't answer looks open too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from memory.encoder import Encoder

# Mean spreads of closed and of open prompts in half of data/openness.jsonl, with the embedded encoder; another encoder
# has its own: `python benchmarks/openness.py written --encoder NAME` tells them.
CLOSED, OPEN = 0.38, 0.74


def estimate_openness(responses: Sequence[str], encoder: Encoder) -> float:
    """The openness in [0, 1] of the prompt that `responses` (at least two) were sampled for; see `estimate_all`."""
    return estimate_all([responses], encoder)[0]


def estimate_all(groups: Sequence[Sequence[str]], encoder: Encoder) -> list[float]:
    """The openness of each group's prompt, all texts encoded in one call.

    It is the `spread` of the embeddings, on a line from 0 where closed prompts lie to 1 where open ones do, clipped.
    Raises ValueError where a group has fewer than two responses, or an empty one.
    """
    for number, responses in enumerate(groups):
        _check(number, responses)
    vectors = encoder.encode([text for responses in groups for text in responses])
    ends = np.cumsum([0, *map(len, groups)]).tolist()
    spreads = [spread(vectors[start:end]) for start, end in pairwise(ends)]
    openness: list[float] = np.clip((np.array(spreads) - CLOSED) / (OPEN - CLOSED), 0, 1).tolist()
    return openness


def spread(vectors: NDArray[np.floating]) -> float:
    """The mean of 1 − cosine over the pairs of vectors [N, D], N ≥ 2: 0 where all point one way.

    Its expectation doesn't depend on N, as that of the closest pair would.
    """
    units = np.asarray(vectors, dtype=np.float64)
    units = units / np.linalg.norm(units, axis=1, keepdims=True)
    count = len(units)
    whole = np.square(units.sum(axis=0)).sum()  # Σ cosines of all count² pairs, each vector with itself included
    return float((count**2 - whole) / (count * (count - 1)))


def _check(number: int, responses: Sequence[str]) -> None:
    if len(responses) < 2:
        raise ValueError(f"group {number}: a spread needs at least two responses, got {len(responses)}; sample more")
    for place, text in enumerate(responses):
        if not text.strip():
            raise ValueError(f"group {number}: response {place} is empty; leave it out")
