"""The curriculum: which prompts a model meets, where they come from, and which of them are chosen to evolve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agents.canonical import generator
from alignment.iterative.prompts import Task


@dataclass(frozen=True, slots=True)
class Evolution:
    """What is asked of the creator: to evolve `parent` by the operator of that name, `other` beside it for some."""

    parent: Task
    operator: str
    other: Task | None


def chosen(weights: Sequence[float], count: int, *, seed: int, iteration: int, greedy: bool = False) -> list[int]:
    """The places of `count` prompts, the most informative first: drawn without replacement ∝ `weights` (≥ 0).

    With `greedy` those of the largest weights, of equal ones the first. Prompts without weight are drawn only when
    there are no others left, all alike.
    """
    values = np.asarray(weights, dtype=np.float64)
    if values.size and (not np.isfinite(values).all() or values.min() < 0):
        raise ValueError(f"weights must be finite and at least 0, got {values.min()}")
    count = min(count, len(values))
    if not greedy:
        # The largest of u^(1/w), u uniform, are such a draw (Efraimidis and Spirakis, 2006); in logarithms.
        uniform = generator(seed, iteration, 0, "chosen").random(len(values))
        with np.errstate(divide="ignore", over="ignore"):
            keys = np.where(values > 0, np.log(uniform) / values, -np.inf)
        places = np.lexsort((-uniform, -keys))[:count]
    else:
        places = np.argsort(-values, kind="stable")[:count]
    return sorted(places.tolist(), key=lambda place: (-values[place], place))


def evolutions(
    parents: Sequence[Task],
    pool: Sequence[Task],
    operators: Mapping[str, bool],
    each: int,
    *,
    seed: int,
    iteration: int,
) -> list[Evolution]:
    """`each` evolutions of every parent, by different operators as long as there are, in turn over the parents.

    `operators` says by name whether one takes another prompt beside the parent, which is drawn from `pool`. The first
    evolution of every parent comes before any second one.
    """
    order = {
        task.id: generator(seed, iteration, 0, "operators", task.id).permutation(list(operators)) for task in parents
    }
    found = []
    for turn in range(each):
        for task in parents:
            operator = str(order[task.id][turn % len(operators)])
            other = _other(task, pool, seed, iteration, turn) if operators[operator] else None
            if other is not None or not operators[operator]:
                found.append(Evolution(task, operator, other))
    return found


def next_tasks(
    evolved: Sequence[Task], buffer: Sequence[Task], size: int, *, share: float, seed: int, iteration: int
) -> list[Task]:
    """`size` prompts for an iteration: the `share` of it evolved, first ones first, the others drawn from `buffer`.

    Where too few have evolved the buffer fills up, and where that is too small the evolved ones; fewer than `size`
    where both are.
    """
    wanted = round(size * share)
    old = min(len(buffer), max(size - wanted, size - len(evolved)))
    order = generator(seed, iteration, 0, "buffer").permutation(len(buffer))[:old].tolist()
    return [*evolved[: size - old], *(buffer[place] for place in sorted(order))]


def lineage_of(task: Task, tasks: Iterable[Task]) -> list[Task]:
    """From the first prompt, which was given, down to `task`, parent by parent."""
    by_id = {each.id: each for each in tasks}
    line = [task]
    while line[0].parent is not None:
        line.insert(0, by_id[line[0].parent])
    return line


def _other(task: Task, pool: Sequence[Task], seed: int, iteration: int, turn: int) -> Task | None:
    """A prompt of the pool beside `task`; None where there is no other."""
    others = [each for each in pool if each.id != task.id]
    if not others:
        return None
    return others[int(generator(seed, iteration, turn, "other", task.id).integers(len(others)))]
