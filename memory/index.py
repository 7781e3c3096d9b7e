"""Exact similarity search over some rows of a table of vectors, by faiss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Index:
    """A table of unit vectors [N, D] that many searches share, each over rows of its own."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self._flat = faiss.IndexFlatIP(self.vectors.shape[1])
        self._flat.add(self.vectors)

    def __len__(self) -> int:
        """N."""
        return int(self._flat.ntotal)

    def at_least(
        self, vector: NDArray[np.float32], rows: NDArray[np.int64], threshold: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """All of `rows` (repeats allowed) whose inner product with `vector` [D] is ≥ `threshold`.

        Returns the rows found, each once, in no particular order, and their products.
        """
        chosen = np.zeros(len(self), dtype=bool)
        chosen[rows] = True
        bits = np.packbits(chosen, bitorder="little")
        only = faiss.SearchParameters()
        only.sel = faiss.IDSelectorBitmap(bits.size, faiss.swig_ptr(bits))
        below = np.nextafter(np.float32(threshold), np.float32(-np.inf))  # faiss wants "greater than"
        _, similarities, found = self._flat.range_search(vector[None, :], float(below), params=only)
        return found, similarities
