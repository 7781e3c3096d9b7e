"""Exact inner products of a table's rows, by faiss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Index:
    """A table of unit vectors [N, D] that many memories share, each with rows of its own."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        # For some widths up to 12 faiss has code of its own, whose last bits depend on a row's place; zeros avoid it.
        padding = -vectors.shape[1] % 16
        self._vectors = np.ascontiguousarray(np.pad(vectors, ((0, 0), (0, padding))), dtype=np.float32)

    def products(self, row: int, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """The inner products [K] of one row with K `rows` (all in 0…N−1, repeats allowed), in their order; or with all.

        Equal vectors have bit-equal products wherever they stand, so that ties are ties.
        """
        others = self._vectors if rows is None else self._vectors[rows]
        products = np.empty(len(others), dtype=np.float32)
        # Not by row numbers (`…_by_idx`): that wakes a team of threads each time, milliseconds beside a busy server.
        faiss.fvec_inner_products_ny(  # type: ignore[attr-defined]  # not in its stub
            faiss.swig_ptr(products),
            faiss.swig_ptr(self._vectors[row]),
            faiss.swig_ptr(others),
            others.shape[1],
            len(others),
        )
        return products
