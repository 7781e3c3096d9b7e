"""One agent's memory: remember a question with its answer, recall what is nearest to a new question."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from memory.encoder import Encoder


@dataclass(frozen=True, slots=True)
class Recollection:
    """A remembered question, the answer that was given to it, and its cosine similarity to what was asked."""

    question: str
    answer: str
    similarity: float


class QuestionTable:
    """All questions that a society can ask or remember, encoded once, in the order given; one row a distinct text."""

    def __init__(self, encoder: Encoder, texts: Iterable[str]) -> None:
        from memory.index import Index  # imports faiss, which readers of a Recollection do not need

        self.texts = tuple(dict.fromkeys(texts))
        self.index = Index(encoder.encode(self.texts))
        self._rows = {text: row for row, text in enumerate(self.texts)}

    def __len__(self) -> int:
        """How many questions there are."""
        return len(self.texts)

    def row(self, text: str) -> int:
        """The row of a question; raises KeyError for one that was not there at the start."""
        try:
            return self._rows[text]
        except KeyError:
            raise KeyError(f"question not in the table: {text!r}; give every question when the table is made") from None

    def vector(self, text: str) -> NDArray[np.float32]:
        """The unit vector [D] of a question."""
        vector: NDArray[np.float32] = self.index.vectors[self.row(text)]
        return vector


class Memory:
    """What one agent remembers, oldest first. An entry costs a row number and a reference to its answer."""

    def __init__(self, table: QuestionTable) -> None:
        self._table = table
        self._rows = array("q")
        self._answers: list[str] = []

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._answers)

    def remember(self, question: str, answer: str) -> None:
        """Add an entry; the same question may be remembered many times. Raises KeyError where the table lacks it."""
        self._rows.append(self._table.row(question))
        self._answers.append(answer)

    def recall(self, question: str, count: int = 3, threshold: float = 0.3) -> tuple[Recollection, ...]:
        """The `count` entries most similar to `question`, of those at `threshold` or above, the most similar last.

        The search is exact. Of equally similar entries the newest counts as nearer. Raises KeyError where the table
        lacks the question.
        """
        vector = self._table.vector(question)
        if count < 1 or not self._answers:
            return ()
        rows = np.asarray(self._rows)
        found, similarities = self._table.index.at_least(vector, rows, threshold)
        by_row = np.full(len(self._table), -np.inf, dtype=np.float32)
        by_row[found] = similarities
        by_entry = by_row[rows]
        near = np.flatnonzero(by_entry > -np.inf)
        nearest = near[np.argsort(by_entry[near], kind="stable")][-count:]
        return tuple(
            Recollection(self._table.texts[rows[entry]], self._answers[entry], float(by_entry[entry]))
            for entry in nearest.tolist()
        )
