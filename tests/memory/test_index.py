from __future__ import annotations

import numpy as np
import pytest

from memory.index import Index


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.1, 0.5, 1.0])
def test_it_finds_what_brute_force_finds(threshold: float) -> None:
    rng = np.random.default_rng(3)
    vectors = unit(rng.normal(size=(203, 16)))
    vectors[50:60] = vectors[7]  # ties
    rows = rng.choice(203, size=120)  # with repeats, in no order
    index = Index(vectors)
    for asked in (7, 8, 202):
        found, similarities = index.at_least(vectors[asked], rows, threshold)
        products = vectors.astype(np.float64) @ vectors[asked]
        clear = {row for row in rows if products[row] > threshold + 1e-6}
        close = {row for row in rows if products[row] > threshold - 1e-6}
        assert len(found) == len(set(found.tolist()))
        assert clear <= set(found.tolist()) <= close
        np.testing.assert_allclose(similarities, products[found], atol=1e-6)


def test_the_threshold_itself_is_included() -> None:
    index = Index(np.eye(3, dtype=np.float32))
    found, similarities = index.at_least(np.float32([0.5, 0.25, 0.0]), np.array([0, 1, 2]), 0.25)
    assert dict(zip(found.tolist(), similarities.tolist(), strict=True)) == {0: 0.5, 1: 0.25}


def test_equal_vectors_get_equal_similarities_wherever_they_stand() -> None:
    rng = np.random.default_rng(5)
    vectors = unit(rng.normal(size=(301, 384)))
    vectors[::3] = vectors[0]
    rows = np.flatnonzero(rng.random(301) < 0.6)
    found, similarities = Index(vectors).at_least(vectors[1], rows, -1.0)
    assert len({s for row, s in zip(found.tolist(), similarities.tolist(), strict=True) if row % 3 == 0}) == 1
