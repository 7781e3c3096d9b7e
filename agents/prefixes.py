"""Which tokens of many prompts are the same, and in what portions to compute them: a token tree, cut into chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(slots=True)
class Chunk:
    """A portion of the tree as one sequence: `carried` tokens computed in the chunk before, then new ones.

    `carried` are the places of those tokens in the chunk before. `ids` and `positions` (depth in the tree) are of the
    new tokens. `paths` has the place of each token of a row, one path for each of `rows`.
    """

    carried: tuple[int, ...]
    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    paths: list[tuple[int, ...]] = field(default_factory=list)

    def visible(self) -> npt.NDArray[np.bool_]:
        """[new, carried + new]: what each new token sees, which is its own path up to itself."""
        start = len(self.carried)
        seen = np.zeros((len(self.ids), start + len(self.ids)), dtype=bool)
        done = start
        for path in self.paths:
            fresh = [place for place in path if place >= done]
            shared = len(path) - len(fresh)
            seen[np.ix_([place - start for place in fresh], path)] = np.tri(len(fresh), len(path), shared, dtype=bool)
            done += len(fresh)
        return seen


def chunks(sequences: Sequence[tuple[int, ...]], limit: int) -> list[Chunk]:
    """Cut the token tree of `sequences` into chunks of at most `limit` new tokens (more only for one long sequence).

    Every token of the tree is new exactly once. Sequences must not be empty; rows are their numbers.
    """
    cut: list[Chunk] = []
    last: tuple[int, ...] = ()
    path: tuple[int, ...] = ()
    for row in sorted(range(len(sequences)), key=lambda row: sequences[row]):
        ids = sequences[row]
        shared = common_length(last, ids)
        new = len(ids) - shared
        if not cut or (new and len(cut[-1].ids) + new > limit):
            cut.append(Chunk(carried=path[:shared]))
            path = tuple(range(shared))
        chunk = cut[-1]
        start = len(chunk.carried) + len(chunk.ids)
        path = path[:shared] + tuple(range(start, start + new))
        chunk.ids += ids[shared:]
        chunk.positions += range(shared, len(ids))
        chunk.rows.append(row)
        chunk.paths.append(path)
        last = ids
    return cut


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens both begin with."""
    for n, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return n
    return min(len(a), len(b))
