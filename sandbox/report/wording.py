"""How answers are worded, measured as they come by, so that a long run need not be held in memory."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from sandbox.texts import copied_share, runs_of, words_of


class Wording:
    """The measures of `sandbox.texts.describe` over all answers added so far."""

    def __init__(self) -> None:
        self._answers = self._words = self._pairs = self._measured = 0
        self._copied = 0.0
        self._distinct: set[tuple[str, ...]] = set()

    def add(self, answers: Iterable[tuple[str, Sequence[str]]]) -> None:
        """Add answers, each given with the texts that its author was shown."""
        for text, shown in answers:
            words = list(map(sys.intern, words_of(text)))  # one copy of each word, however many pairs have it
            pairs = runs_of(words, 2)
            self._answers += 1
            self._words += len(words)
            self._pairs += len(pairs)
            self._distinct.update(pairs)
            if (share := copied_share(text, shown)) is not None:
                self._measured += 1
                self._copied += share

    def measures(self) -> dict[str, int | float | None]:
        """`answers`, `words`, `distinct_2` and `copied`; None where there is nothing to measure on."""
        return {
            "answers": self._answers,
            "words": self._words / self._answers if self._answers else None,
            "distinct_2": len(self._distinct) / self._pairs if self._pairs else None,
            "copied": self._copied / self._measured if self._measured else None,
        }
