"""One agent's memory: remember a question with its answer, recall what is nearest to a new question."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recollection:
    """A remembered question, the answer that was given to it, and its cosine similarity to what was asked."""

    question: str
    answer: str
    similarity: float
