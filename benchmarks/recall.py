"""What does a recall cost in a large society? Against a plain matrix product and partition, written in numpy.

    python benchmarks/recall.py [--repeats N] [--out FILE.json]

numpy's side holds a matrix of each agent's own vectors, multiplies it with the question's and takes the 3 nearest by
`argpartition`: row numbers, no texts. That takes 1,536 bytes an entry, where `Memory` reads from one table for all.
Vectors are random, 384 wide; no model is loaded. All memories pass the threshold, the dearest case. What is measured:

    society       10,000 agents with 50 memories each, 1,000 questions; a question is asked of its author and 4 raters,
                  by 4 authors in turn, and nothing is known of it at first
    few of many   agents with 50 memories each among 100,000 questions
    first         an agent with 100,000 memories among 100,000 questions is asked something new
    again         it is asked the same again

Times are in microseconds a recall, medians over repeats, in which the two sides take turns; so is their ratio (below 1:
faster than numpy). Bytes are an entry's in `Memory`, its share of the object included, texts not; "counted" is with a
limit and forgetting what is least recalled. The last line is the table as JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from memory.memory import Memory, QuestionTable

WIDTH = 384
COUNT = 3
SAMPLE = 2_000  # the agents of a society that are asked: numpy's matrices of all would take 770 MB

Asked = list[tuple[int, int]]  # (agent, row of the question)


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    case: str
    recalls: int
    recall_us: float
    numpy_us: float
    ratio: float
    bytes_an_entry: float
    bytes_counted: float


class Random:
    """Takes the place of memory.encoder.Encoder: seeded random unit vectors."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.random.default_rng(0).standard_normal((len(texts), WIDTH), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, help="write the table as JSON")
    options = parser.parse_args()
    print(f"{'case':12} {'recalls':>8} {'recall µs':>10} {'numpy µs':>10} {'ratio':>6} {'bytes':>6} {'counted':>8}")
    table = [*society(options.repeats), *many_questions(options.repeats)]
    text = json.dumps({"width": WIDTH, "count": COUNT, "repeats": options.repeats, "table": [asdict(t) for t in table]})
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


def society(repeats: int) -> list[Line]:
    agents, questions = 10_000, 1_000
    rng = np.random.default_rng(1)
    held = rng.integers(questions, size=(agents, 50))
    sample = rng.choice(agents, SAMPLE, replace=False).tolist()
    asked = [
        (agent, row % questions)
        for row, place in enumerate(range(0, SAMPLE, 4))
        for author in sample[place : place + 4]
        for agent in (author, *rng.choice(sample, 4, replace=False).tolist())
    ]
    vectors = Random().encode([""] * questions)
    own = {agent: vectors[held[agent]] for agent in sample}
    both = []
    for _ in range(repeats):
        table = fresh_table(questions)
        memories = filled(partial(Memory, table), held)
        both.append((timed(asked, recalling(memories, table)), timed(asked, multiplying(own, vectors))))
    check(memories, table, own, vectors, asked)
    return [line("society", len(asked), both, entry_bytes(table, held))]


def many_questions(repeats: int) -> list[Line]:
    questions = 100_000
    rng = np.random.default_rng(2)
    table = fresh_table(questions)
    vectors = Random().encode([""] * questions)
    lines = []

    few = rng.integers(questions, size=(SAMPLE, 50))
    memories, own = filled(partial(Memory, table), few), dict(enumerate(vectors[few]))
    asked = [(agent, row) for agent, row in enumerate(rng.integers(questions, size=SAMPLE).tolist())]
    both = [(timed(asked, recalling(memories, table)), timed(asked, multiplying(own, vectors))) for _ in range(repeats)]
    check(memories, table, own, vectors, asked)
    lines.append(line("few of many", len(asked), both, entry_bytes(table, few)))

    many = rng.permutation(questions)[None, :]
    memories, own = filled(partial(Memory, table), many), {0: vectors[many[0]]}
    new = iter(rng.permutation(questions).tolist())
    first, again = [], []
    for _ in range(repeats):
        asked = [(0, next(new)) for _ in range(10)]
        ours = [timed(asked, recalling(memories, table)) for _ in range(2)]
        numpys = timed(asked, multiplying(own, vectors))
        first.append((ours[0], numpys))
        again.append((ours[1], numpys))
    check(memories, table, own, vectors, asked)
    sizes = entry_bytes(table, many)
    lines.append(line("first", len(asked), first, sizes))
    lines.append(line("again", len(asked), again, sizes))
    return lines


def fresh_table(questions: int) -> QuestionTable:
    return QuestionTable(Random(), map(str, range(questions)))  # type: ignore[arg-type]


def filled(make: Callable[[], Memory], held: NDArray[np.int64]) -> list[Memory]:
    """A memory for each row of `held` [agents, entries], of the questions there."""
    memories = [make() for _ in held]
    for memory, rows in zip(memories, held.tolist(), strict=True):
        for row in rows:
            memory.remember(str(row), "an answer")
    return memories


def recalling(memories: list[Memory], table: QuestionTable) -> Callable[[int, int], list[float]]:
    def recall(agent: int, row: int) -> list[float]:
        return [r.similarity for r in memories[agent].recall(table.texts[row], COUNT, -1.0)]

    return recall


def multiplying(own: dict[int, NDArray[np.float32]], vectors: NDArray[np.float32]) -> Callable[[int, int], list[float]]:
    def nearest(agent: int, row: int) -> list[float]:
        products = own[agent] @ vectors[row]
        near = np.argpartition(products, -COUNT)[-COUNT:]
        near = near[np.argsort(products[near])]
        found: list[float] = products[near].tolist()
        return found

    return nearest


def timed(asked: Asked, recall: Callable[[int, int], list[float]]) -> float:
    """Microseconds a recall."""
    start = time.perf_counter()
    for agent, row in asked:
        recall(agent, row)
    return (time.perf_counter() - start) / len(asked) * 1e6


def check(
    memories: list[Memory],
    table: QuestionTable,
    own: dict[int, NDArray[np.float32]],
    vectors: NDArray[np.float32],
    asked: Asked,
) -> None:
    """Both sides find the same."""
    recall, nearest = recalling(memories, table), multiplying(own, vectors)
    for agent, row in asked[:100]:
        np.testing.assert_allclose(recall(agent, row), nearest(agent, row), atol=1e-6)


def entry_bytes(table: QuestionTable, held: NDArray[np.int64]) -> tuple[float, float]:
    """Bytes an entry of a plain memory, and of one that counts."""
    makes = (partial(Memory, table), partial(Memory, table, limit=held.shape[1], forget="least-recalled"))
    return traced(makes[0], held[:SAMPLE]), traced(makes[1], held[:SAMPLE])


def traced(make: Callable[[], Memory], held: NDArray[np.int64]) -> float:
    gc.collect()
    tracemalloc.start()
    memories = filled(make, held)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return round(taken / sum(map(len, memories)), 1)


def line(case: str, recalls: int, times: Sequence[tuple[float, float]], entry: tuple[float, float]) -> Line:
    """The table's line of a case, printed. `times` are (ours, numpy's), one a repeat."""
    ours, numpys = (round(median(side), 1) for side in zip(*times, strict=True))
    ratio = median(a / b for a, b in times)
    plain, counted = entry
    print(f"{case:12} {recalls:8d} {ours:10.1f} {numpys:10.1f} {ratio:6.2f} {plain:6.1f} {counted:8.1f}", flush=True)
    return Line(case, recalls, ours, numpys, round(ratio, 3), plain, counted)


if __name__ == "__main__":
    sys.exit(main())
