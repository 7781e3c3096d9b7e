from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.prefixes import Chunk, chunks, common_length

few = st.integers(0, 2)
some_sequences = st.lists(st.lists(few, min_size=1, max_size=8).map(tuple), min_size=1, max_size=12)


def read(cut: list[Chunk]) -> dict[int, list[tuple[int, int]]]:
    """Follow every row's path: its (token, position) pairs."""
    rows: dict[int, list[tuple[int, int]]] = {}
    known: list[tuple[int, int]] = []
    for chunk in cut:
        known = [known[place] for place in chunk.carried] + list(zip(chunk.ids, chunk.positions, strict=True))
        for row, path in zip(chunk.rows, chunk.paths, strict=True):
            rows[row] = [known[place] for place in path]
    return rows


@given(some_sequences, st.integers(1, 20))
def test_every_row_finds_its_tokens_at_their_positions(sequences: list[tuple[int, ...]], limit: int) -> None:
    rows = read(chunks(sequences, limit))
    assert rows == {row: list(zip(ids, range(len(ids)), strict=True)) for row, ids in enumerate(sequences)}


@given(some_sequences, st.integers(1, 20))
def test_each_prefix_is_computed_once_and_chunks_keep_to_the_limit(
    sequences: list[tuple[int, ...]], limit: int
) -> None:
    cut = chunks(sequences, limit)
    prefixes = {ids[:end] for ids in sequences for end in range(1, len(ids) + 1)}
    assert sum(len(chunk.ids) for chunk in cut) == len(prefixes)
    assert all(len(chunk.ids) <= limit or len(chunk.rows) == 1 or set_of_one(chunk, sequences) for chunk in cut)


def set_of_one(chunk: Chunk, sequences: list[tuple[int, ...]]) -> bool:
    return len({sequences[row] for row in chunk.rows}) == 1


@given(some_sequences, st.integers(1, 20))
def test_a_token_sees_its_own_path_and_nothing_else(sequences: list[tuple[int, ...]], limit: int) -> None:
    for chunk in chunks(sequences, limit):
        visible = chunk.visible()
        start = len(chunk.carried)
        for path in chunk.paths:
            for depth, place in enumerate(path):
                if place >= start:
                    assert set(visible[place - start].nonzero()[0]) == set(path[: depth + 1])


def test_two_reviews_of_one_draft_by_hand() -> None:
    cut = chunks([(5, 6, 7), (5, 6, 8, 9), (5, 6, 7)], limit=100)
    (chunk,) = cut
    assert (chunk.ids, chunk.positions, chunk.rows) == ([5, 6, 7, 8, 9], [0, 1, 2, 2, 3], [0, 2, 1])
    assert chunk.paths == [(0, 1, 2), (0, 1, 2), (0, 1, 3, 4)]
    assert chunk.visible().astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]


def test_the_shared_path_is_carried_into_the_next_chunk() -> None:
    first, second = chunks([(5, 6, 7), (5, 6, 8, 9)], limit=3)
    assert (first.carried, first.ids) == ((), [5, 6, 7])
    assert (second.carried, second.ids, second.positions) == ((0, 1), [8, 9], [2, 3])


def test_common_length() -> None:
    assert [common_length(a, b) for a, b in [((), (1,)), ((1, 2), (1, 2)), ((1, 2), (1, 3)), ((2,), (1,))]] == [
        0,
        2,
        1,
        0,
    ]
