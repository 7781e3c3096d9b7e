"""One agent's memory: remember a question with its answer, recall what is nearest to a new question, forget."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from memory.encoder import Encoder

Forget: TypeAlias = Literal["oldest", "least-recalled"]

KEPT_BYTES = 128 * 2**20  # of similarities, a table: all of up to 5,792 questions, 335 of 100,000
ASKED_AGAIN = 20  # how often a question comes back while it is kept: its 4 authors (--share), each with 4 raters
SORTED_WHOLE = 200  # so few numbers are sorted sooner than the largest are looked out


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
        self._rows = {text: row for row, text in enumerate(self.texts)}
        self._index = Index(encoder.encode(self.texts))
        kept = max(1, KEPT_BYTES // (4 * max(1, len(self.texts))))
        self._to_all = lru_cache(maxsize=kept)(self._products_with_all)

    def __len__(self) -> int:
        """N, how many questions there are."""
        return len(self.texts)

    def row(self, text: str) -> int:
        """The row of a question; raises KeyError for one that was not there at the start."""
        try:
            return self._rows[text]
        except KeyError:
            raise KeyError(f"question not in the table: {text!r}; give every question when the table is made") from None

    def similarities(self, text: str) -> NDArray[np.float32]:
        """The exact cosine similarities [N] of a question to every row, read-only; the latest are kept.

        Raises KeyError where the table lacks the question.
        """
        return self._to_all(self.row(text))

    def similarities_to(self, text: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The similarities [K] of a question to K `rows`, the same bits as `similarities` has there.

        Raises KeyError where the table lacks the question.
        """
        if len(rows) * ASKED_AGAIN < len(self):  # few of many rows: cheaper each time than all of them once
            return self._index.products(self.row(text), rows)
        return self.similarities(text)[rows]

    def _products_with_all(self, row: int) -> NDArray[np.float32]:
        products = self._index.products(row)
        products.setflags(write=False)
        return products


class Memory:
    """What one agent remembers, oldest first. An entry costs a row number and a reference to its answer.

    With a `limit`, each entry beyond it drives one out, never itself: the oldest, or the one recalled least often (of
    equals the oldest). Recalls count only by `reinforce`, so that concurrent ones cannot change what is forgotten.
    """

    def __init__(self, table: QuestionTable, limit: int | None = None, forget: Forget = "oldest") -> None:
        if limit is not None and limit < 1:
            raise ValueError(f"a memory's limit is {limit}; give 1 or more, or None to forget nothing")
        self._table = table
        self._limit = limit
        self._rows = array("q")
        self._answers: list[str] = []
        self._times_recalled = array("q") if limit is not None and forget == "least-recalled" else None

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._answers)

    def remember(self, question: str, answer: str) -> None:
        """Add an entry; the same question may be remembered many times. Raises KeyError where the table lacks it."""
        self._rows.append(self._table.row(question))
        self._answers.append(answer)
        if self._times_recalled is not None:
            self._times_recalled.append(0)
        if self._limit is not None and len(self) > self._limit:
            self._forget_one()

    def recall(self, question: str, count: int = 3, threshold: float = 0.3) -> tuple[Recollection, ...]:
        """The `count` entries most similar to `question`, of those at `threshold` or above, the most similar last.

        The search is exact. Of equally similar entries the newest counts as nearer. Raises KeyError where the table
        lacks the question.
        """
        return tuple(
            Recollection(self._table.texts[self._rows[entry]], self._answers[entry], similarity)
            for entry, similarity in self._nearest(question, count, threshold)
        )

    def reinforce(self, question: str, count: int = 3, threshold: float = 0.3) -> None:
        """Count one recall of each entry that `recall` would give, where that decides what is forgotten."""
        if self._times_recalled is not None:
            for entry, _ in self._nearest(question, count, threshold):
                self._times_recalled[entry] += 1

    def _nearest(self, question: str, count: int, threshold: float) -> list[tuple[int, float]]:
        """(entry, similarity) of what is recalled, the most similar last."""
        similarities = self._table.similarities_to(question, np.asarray(self._rows))
        entries = _last_sorted(similarities, count)
        least = float(np.float32(threshold))
        found = zip(entries.tolist(), similarities[entries].tolist(), strict=True)
        return [(entry, similarity) for entry, similarity in found if similarity >= least]

    def _forget_one(self) -> None:
        if self._times_recalled is None:
            gone = 0
        else:
            gone = int(np.argmin(np.asarray(self._times_recalled)[:-1]))  # the first of equals
            del self._times_recalled[gone]
        del self._rows[gone], self._answers[gone]


def _last_sorted(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The last `count` places of a stable sort of `values`."""
    if count < 1:
        return np.empty(0, dtype=np.int64)
    if len(values) <= max(count, SORTED_WHOLE):
        return values.argsort(kind="stable")[-count:]
    least = np.partition(values, -count)[-count]
    places = np.flatnonzero(values >= least)
    return places[values[places].argsort(kind="stable")[-count:]]
