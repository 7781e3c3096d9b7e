"""The creator: which prompts an iteration has, from the rewards of the one before it and what evolved from that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import Any

from alignment.eva.curriculum import chosen, next_tasks
from alignment.eva.filters import Candidate, sifted
from alignment.eva.informativeness import informativeness
from alignment.eva.operators import Operator, parsed
from alignment.iterative.prompts import Task
from sandbox.compare.diversity import Encode

Row = dict[str, Any]


def weights_of(rewards: Sequence[Mapping[str, Any]], metric: str) -> list[float | None]:
    """The informativeness of each task by the rewards of its responses; None where fewer than two are known."""
    known = [[reward for reward in row["rewards"] if reward is not None] for row in rewards]
    return [informativeness(values, metric) if len(values) > 1 else None for values in known]


def parents_of(
    tasks: Sequence[Task], weights: Sequence[float | None], share: float, *, seed: int, iteration: int, greedy: bool
) -> list[tuple[Task, float]]:
    """The tasks that are chosen to evolve, with their informativeness, the most informative first."""
    known = {task.id: (task, weight) for task, weight in zip(tasks, weights, strict=True) if weight is not None}
    pairs = list(known.values())
    count = max(1, round(share * len(tasks)))
    places = chosen([weight for _, weight in pairs], count, seed=seed, iteration=iteration, greedy=greedy)
    return [pairs[place] for place in places]


def evolved_rows(
    replies: Sequence[Row],
    parents: Mapping[str, tuple[Task, float]],
    operators: Mapping[str, Operator],
    encode: Encode,
    known: Sequence[str],
    iteration: int,
    max_words: int,
) -> Iterator[Row]:
    """Every evolution with its text and its flaw; one without a flaw has the `id` of a new task."""
    candidates = [_candidate(row, parents[row["parent"]][0].text, operators[row["operator"]]) for row in replies]
    flaws = sifted(candidates, encode, known, max_words=max_words)
    number = 0
    for row, candidate, flaw in zip(replies, candidates, flaws, strict=True):
        number += flaw is None
        parent, weight = parents[row["parent"]]
        yield {
            "id": f"{iteration}-{number}" if flaw is None else None,
            "parent": parent.id,
            "other": row["other"],
            "operator": row["operator"],
            "informativeness": weight,
            "text": candidate.text,
            "flaw": row["outcome"] if row["outcome"] != "ok" else flaw,
        }


def evolved_tasks(rows: Sequence[Row], earlier: Sequence[Task], iteration: int) -> list[Task]:
    """The tasks among the evolutions; each is of its parent's topic."""
    topics = {task.id: task.topic for task in earlier}
    return [
        Task(
            row["id"],
            row["text"],
            topics[row["parent"]],
            iteration,
            row["parent"],
            row["other"],
            row["operator"],
            row["informativeness"],
        )
        for row in rows
        if row["id"] is not None
    ]


def repeated(parents: Sequence[Task], buffer: Sequence[Task], size: int, share: float, seed: int, n: int) -> list[Task]:
    """An iteration of the informative prompts themselves, in turn, as often as evolved ones would be there."""
    return next_tasks([*islice(cycle(parents), round(size * share))], buffer, size, share=share, seed=seed, iteration=n)


def _candidate(row: Row, parent: str, operator: Operator) -> Candidate:
    """The prompt in a reply, which is None where the call failed."""
    read = parsed(row["text"], operator, parent, finished=row["finished"]) if row["text"] else None
    return Candidate(parent, None) if read is None else Candidate(parent, read.text, read.cut)
