from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.memory import Memory, QuestionTable, Recollection


class Signs:
    """An encoder of texts like "+-++ north": the signs, halved. All products are exact, and ties abound."""

    digest = "signs"

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.encoded.extend(texts)
        return np.array([[0.5 if sign == "+" else -0.5 for sign in text[:4]] for text in texts], np.float32)


QUESTIONS = [f"{''.join(signs)} {word}" for signs in product("+-", repeat=4) for word in ("north", "star")]
TABLE = QuestionTable(Signs(), QUESTIONS)  # type: ignore[arg-type]


def modelled(entries: list[tuple[str, str]], asked: str, count: int, threshold: float) -> list[tuple[str, str, float]]:
    """Brute force: all entries by similarity, then by age; the last `count` of them."""
    scored = [
        (sum(0.25 if a == b else -0.25 for a, b in zip(question[:4], asked[:4], strict=True)), age, question, answer)
        for age, (question, answer) in enumerate(entries)
    ]
    near = sorted(entry for entry in scored if entry[0] >= threshold)
    return [(question, answer, similarity) for similarity, _, question, answer in near[max(0, len(near) - count) :]]


@given(
    st.lists(st.sampled_from(QUESTIONS), max_size=60),
    st.sampled_from(QUESTIONS),
    st.integers(0, 8),
    st.sampled_from([-1.0, -0.5, 0.0, 0.3, 0.5, 1.0]),
)
def test_recall_agrees_with_brute_force_and_keeps_answers_with_their_questions(
    questions: list[str], asked: str, count: int, threshold: float
) -> None:
    entries = [(question, f"{question}, said {place}") for place, question in enumerate(questions)]
    memory = Memory(TABLE)
    for entry in entries:
        memory.remember(*entry)
    recalled = memory.recall(asked, count, threshold)
    assert len(memory) == len(entries)
    assert [(r.question, r.answer, r.similarity) for r in recalled] == modelled(entries, asked, count, threshold)


def test_the_most_similar_comes_last_and_of_equals_the_newest() -> None:
    memory = Memory(TABLE)
    memory.remember("+++- north", "near")  # similarity 1/2
    memory.remember("++++ north", "old")
    memory.remember("++++ star", "new")  # the same vector
    memory.remember("---- north", "opposite")
    recalled = memory.recall("++++ north", count=3, threshold=0.3)
    assert [r.answer for r in recalled] == ["near", "old", "new"]
    assert [r.similarity for r in recalled] == [0.5, 1, 1]
    assert memory.recall("++++ north", count=1) == (Recollection("++++ star", "new", 1.0),)


def test_the_same_question_may_be_remembered_with_several_answers() -> None:
    memory = Memory(TABLE)
    memory.remember("++++ north", "first")
    memory.remember("++++ north", "second")
    assert [r.answer for r in memory.recall("++++ north", count=5)] == ["first", "second"]


def test_agents_share_the_table_but_not_their_memories() -> None:
    one, other = Memory(TABLE), Memory(TABLE)
    one.remember("++++ north", "mine")
    assert other.recall("++++ north") == ()
    assert len(other) == 0


def test_each_distinct_question_is_encoded_once_in_the_order_given() -> None:
    encoder = Signs()
    table = QuestionTable(encoder, ["+--- b", "++-- a", "+--- b", "---- c", "++-- a"])  # type: ignore[arg-type]
    assert encoder.encoded == ["+--- b", "++-- a", "---- c"]
    assert [table.row(text) for text in ("+--- b", "++-- a", "---- c")] == [0, 1, 2]
    assert len(table) == 3


def test_a_question_that_is_not_in_the_table_is_named() -> None:
    with pytest.raises(KeyError, match="not in the table: 'Who are you"):
        Memory(TABLE).recall("Who are you?")
    with pytest.raises(KeyError, match="not in the table: 'Who are you"):
        Memory(TABLE).remember("Who are you?", "Me.")
