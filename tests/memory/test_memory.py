from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory import memory as module
from memory.memory import Forget, Memory, QuestionTable, Recollection


class Signs:
    """An encoder of texts like "+-++ north": the signs, halved. All products are exact, and ties abound."""

    digest = "signs"

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.encoded.extend(texts)
        return np.array([[0.5 if sign == "+" else -0.5 for sign in text[:4]] for text in texts], np.float32)


class Scattered:
    """An encoder of texts that are numbers: random unit vectors, 24 wide, where every fifth text is like its first."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.random.default_rng(7).normal(size=(len(texts), 24))
        vectors[::5] = vectors[0]
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


QUESTIONS = [f"{''.join(signs)} {word}" for signs in product("+-", repeat=4) for word in ("north", "star")]
TABLE = QuestionTable(Signs(), QUESTIONS)  # type: ignore[arg-type]
NUMBERS = [str(number) for number in range(700)]
SCATTERED = QuestionTable(Scattered(), NUMBERS)  # type: ignore[arg-type]
VECTORS = Scattered().encode(NUMBERS).astype(np.float64)


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


@given(
    st.lists(st.integers(0, 699), max_size=200),
    st.integers(0, 699),
    st.integers(0, 250),
    st.sampled_from([-1.0, 0.0, 0.2, 0.9]),
)
def test_recall_agrees_with_brute_force_from_few_and_from_many_rows_of_the_table(
    rows: list[int], asked: int, count: int, threshold: float
) -> None:
    memory = Memory(SCATTERED)
    for place, row in enumerate(rows):
        memory.remember(str(row), f"said {place}")
    similarities = [float(np.dot(VECTORS[row], VECTORS[asked])) for row in rows]
    near = sorted((s, place) for place, s in enumerate(similarities) if s >= threshold)
    expected = near[max(0, len(near) - count) :]
    recalled = memory.recall(str(asked), count, threshold)
    assert [(r.question, r.answer) for r in recalled] == [(str(rows[place]), f"said {place}") for _, place in expected]
    np.testing.assert_allclose([r.similarity for r in recalled], [s for s, _ in expected], atol=1e-6)


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


def test_similarities_are_to_every_row_and_nobody_can_write_into_them() -> None:
    similarities = SCATTERED.similarities("3")
    np.testing.assert_allclose(similarities, VECTORS @ VECTORS[3], atol=1e-6)
    for rows in ([4, 0, 4], [*range(700), 8]):
        np.testing.assert_array_equal(SCATTERED.similarities_to("3", np.array(rows)), similarities[rows])
    with pytest.raises(ValueError, match="read-only"):
        similarities[0] = 1


def test_similarities_are_kept_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 2 * 4 * len(QUESTIONS))  # room for those of two questions
    table = QuestionTable(Signs(), QUESTIONS)  # type: ignore[arg-type]
    first = table.similarities(QUESTIONS[0])
    second = table.similarities(QUESTIONS[1])
    assert table.similarities(QUESTIONS[0]) is first
    table.similarities(QUESTIONS[2])  # the second was asked longest ago
    assert table.similarities(QUESTIONS[0]) is first
    again = table.similarities(QUESTIONS[1])
    assert again is not second
    np.testing.assert_array_equal(again, second)


def answers(memory: Memory) -> set[str]:
    return {r.answer for r in memory.recall(QUESTIONS[0], count=1000, threshold=-1)}


def test_without_a_limit_nothing_is_forgotten() -> None:
    memory = Memory(TABLE, forget="least-recalled")
    for place in range(100):
        memory.remember("++++ north", f"{place}")
        memory.reinforce("++++ north")
    assert len(memory) == len(answers(memory)) == 100


def test_beyond_the_limit_the_oldest_goes() -> None:
    memory = Memory(TABLE, limit=2)
    for answer in "abc":
        memory.remember("++++ north", answer)
        memory.reinforce("++++ north", count=1)  # how often does not matter here
    assert len(memory) == 2
    assert [r.answer for r in memory.recall("++++ north")] == ["b", "c"]


def test_beyond_the_limit_the_least_recalled_goes_and_of_equals_the_oldest() -> None:
    memory = Memory(TABLE, limit=3, forget="least-recalled")
    memory.remember("++++ north", "a")
    memory.remember("---- north", "b")
    memory.remember("-+-+ north", "c")
    memory.reinforce("++++ north")  # only "a" is near
    memory.remember("---- star", "d")
    assert answers(memory) == {"a", "c", "d"}
    memory.reinforce("-+-+ north")
    memory.remember("++-- star", "e")
    assert answers(memory) == {"a", "c", "e"}
    memory.reinforce("++-- star")
    memory.remember("++++ star", "f")  # all others were recalled once, and yet the new one stays
    assert answers(memory) == {"c", "e", "f"}


def test_looking_does_not_count_as_recall() -> None:
    memory = Memory(TABLE, limit=2, forget="least-recalled")
    memory.remember("++++ north", "a")
    memory.remember("---- north", "b")
    memory.recall("++++ north")
    memory.remember("---- star", "c")
    assert answers(memory) == {"b", "c"}


@given(
    st.sampled_from(get_args(Forget)),
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from(["remember", "reinforce", "recall"]), st.sampled_from(QUESTIONS)), max_size=60),
)
def test_forgetting_agrees_with_a_naive_memory(forget: Forget, limit: int, steps: list[tuple[str, str]]) -> None:
    memory = Memory(TABLE, limit, forget)
    kept: list[list] = []  # [question, answer, times recalled], oldest first
    for place, (step, question) in enumerate(steps):
        if step == "remember":
            memory.remember(question, str(place))
            kept.append([question, str(place), 0])
            if len(kept) > limit:
                kept.remove(min(kept[:-1], key=lambda entry: entry[2]) if forget == "least-recalled" else kept[0])
        elif step == "reinforce":
            memory.reinforce(question, 2, 0.5)
            reached = [answer for _, answer, _ in modelled([(q, a) for q, a, _ in kept], question, 2, 0.5)]
            for entry in kept:
                entry[2] += entry[1] in reached
        else:
            memory.recall(question, 2, 0.5)
    assert len(memory) == len(kept)
    everything = memory.recall(QUESTIONS[0], 100, -1)
    expected = modelled([(q, a) for q, a, _ in kept], QUESTIONS[0], 100, -1)
    assert [(r.question, r.answer, r.similarity) for r in everything] == expected


def test_a_memory_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="limit is 0; give 1 or more"):
        Memory(TABLE, limit=0)


def test_a_question_that_is_not_in_the_table_is_named() -> None:
    with pytest.raises(KeyError, match="not in the table: 'Who are you"):
        Memory(TABLE).recall("Who are you?")
    with pytest.raises(KeyError, match="not in the table: 'Who are you"):
        Memory(TABLE).remember("Who are you?", "Me.")
