from __future__ import annotations

import numpy as np
import pytest

from memory.index import Index


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("rows", [np.arange(203), np.array([7, 0, 202, 7, 55]), np.array([], dtype=np.int64)])
def test_it_finds_what_brute_force_finds(rows: np.ndarray) -> None:
    vectors = unit(np.random.default_rng(3).normal(size=(203, 16)))
    index = Index(vectors)
    for asked in (7, 8, 202):
        products = index.products(asked, rows)
        assert products.dtype == np.float32 and products.shape == rows.shape
        np.testing.assert_allclose(products, vectors.astype(np.float64)[rows] @ vectors[asked], atol=1e-6)


def test_rows_and_vectors_may_lie_anyhow_in_memory() -> None:
    vectors = unit(np.random.default_rng(4).normal(size=(16, 40))).T.astype(np.float64)
    rows = np.arange(40)[::-3]
    np.testing.assert_allclose(Index(vectors).products(2, rows), vectors[rows] @ vectors[2], atol=1e-6)


@pytest.mark.parametrize("width", [2, 4, 8, 12, 26, 384])  # faiss has a code path of its own for some
def test_equal_vectors_get_equal_products_wherever_they_stand(width: int) -> None:
    rng = np.random.default_rng(5)
    vectors = unit(rng.normal(size=(301, width)))
    vectors[::3] = vectors[0]
    whole = Index(vectors).products(1)
    assert len(set(whole[::3].tolist())) == 1
    rows = rng.choice(301, size=50)
    np.testing.assert_array_equal(Index(vectors).products(1, rows), whole[rows])
