"""Which questions are held out for testing, paraphrases kept on one side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from agents.canonical import seed_of

# Cosine similarity from which two questions count as the same one; docs/datasets.md tells how it was measured.
PARAPHRASE = 0.65
TEST_SHARE = 0.2


def split(
    questions: Sequence[str],
    vectors: NDArray[np.float32],
    *,
    test_share: float = TEST_SHARE,
    threshold: float = PARAPHRASE,
    seed: int = 0,
) -> dict[str, bool]:
    """Whether each question belongs to the test split; `vectors[N, D]` are unit rows in the order of `questions`.

    Questions linked by similarities of `threshold` or more form a cluster, which stays on one side. A cluster's side
    comes from the least hash of its questions' texts, so neither order nor the other clusters matter: the same
    question falls on the same side in every run. `test_share` is therefore met on average only; where there are two
    clusters or more, neither side is left empty.
    """
    draws = np.array([seed_of(seed, 0, 0, "split", question) / 2**63 for question in questions])
    _, clusters = connected_components(_links(vectors, threshold), directed=False)
    least = np.full(clusters.max(initial=-1) + 1, np.inf)
    np.minimum.at(least, clusters, draws)
    if least.size > 1:
        test_share = min(max(test_share, math.nextafter(least.min(), 1)), least.max())
    return {q: bool(least[cluster] < test_share) for q, cluster in zip(questions, clusters, strict=True)}


def _links(vectors: NDArray[np.float32], threshold: float, rows: int = 1024) -> coo_array:
    """Which questions are that similar, as a sparse [N, N] matrix; block by block, since N² floats may not fit."""
    size = len(vectors)
    pairs = [np.empty((0, 2), np.intp)]
    for start in range(0, size, rows):
        pairs.append(np.argwhere(vectors[start : start + rows] @ vectors.T >= threshold))
        pairs[-1][:, 0] += start
    one, other = np.concatenate(pairs).T
    return coo_array((np.ones(len(one), bool), (one, other)), shape=(size, size))
