"""The curriculum of a training by eva, as its page tells it: families of prompts, and what was left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from alignment.eva.creator import weights_of
from alignment.eva.record import Record
from alignment.iterative.prompts import Task

Row = dict[str, Any]

FAMILIES, PROMPTS = 10, 12  # that are shown, and prompts of each
EXAMPLES = 5  # of each flaw
LONGEST = 600  # characters of a text; the whole one is in its iteration's folder


@dataclass(frozen=True, slots=True)
class Meeting:
    """A prompt in an iteration: how informative it was, its responses (reward, text) as far as they have a reward."""

    iteration: int
    weight: float | None
    rated: tuple[tuple[float, str], ...]


def meetings_of(record: Record) -> dict[str, list[Meeting]]:
    """By prompt its meetings, in the order of the iterations."""
    found: dict[str, list[Meeting]] = defaultdict(list)
    for iteration in record.iterations[1:]:
        weights = weights_of(iteration.rewards, record.settings["metric"])
        parts = zip(iteration.tasks, iteration.responses, iteration.rewards, weights, strict=True)
        for task, said, rated, weight in parts:
            pairs = zip(rated["rewards"], said["responses"], strict=True)
            known = tuple((reward, reply["text"]) for reward, reply in pairs if reward is not None)
            found[task.id].append(Meeting(iteration.number, weight, known))
    return found


def families(record: Record) -> Row:
    """First prompts with what evolved from them, longest lineages and then most informative ones first.

    So many `families`, of each so many prompts, and how many `more` there are.
    """
    met = meetings_of(record)
    tasks = {task.id: task for iteration in record.iterations for task in iteration.tasks}
    rank: dict[str, tuple[int, float]] = {}  # the longest line from a prompt down, and what was most informative in it
    children: dict[str | None, list[Task]] = defaultdict(list)
    for task in reversed(tasks.values()):  # a prompt comes after its parent
        below = [rank[each.id] for each in children[task.id]]
        depth = 1 + max((depth for depth, _ in below), default=0)
        rank[task.id] = (depth, max([_weight(_most(met[task.id])), *(weight for _, weight in below)]))
        children[task.parent].append(task)
    for line in children.values():
        line.sort(key=lambda task: rank[task.id])
        line.reverse()
    first = children[None]
    return {
        "families": [_family(root, children, met) for root in first[:FAMILIES]],
        "more": len(first[FAMILIES:]),
        "alone": sum(not children[root.id] for root in first[FAMILIES:]),
    }


def left_out(record: Record) -> list[Row]:
    """By flaw, the most frequent one first: how many evolutions have it, with examples."""
    rows = [(each.number, row) for each in record.iterations for row in each.evolved if row["flaw"] is not None]
    texts = {task.id: task.text for iteration in record.iterations for task in iteration.tasks}
    return [
        {
            "flaw": flaw,
            "count": count,
            "examples": [
                {
                    "iteration": number,
                    "operator": row["operator"],
                    "parent": _cut(texts[row["parent"]]),
                    "text": _cut(row["text"] or ""),
                }
                for number, row in [each for each in rows if each[1]["flaw"] == flaw][:EXAMPLES]
            ],
            "more": max(0, count - EXAMPLES),
        }
        for flaw, count in Counter(row["flaw"] for _, row in rows).most_common()
    ]


def _family(root: Task, children: Mapping[str | None, list[Task]], met: Mapping[str, list[Meeting]]) -> Row:
    """The first PROMPTS of a family, line by line, in the shape of a tree."""
    shown: dict[str | None, Row] = {}
    size, waiting = 0, [root]
    while waiting:
        task = waiting.pop()
        size += 1
        if len(shown) < PROMPTS:
            shown[task.id] = _prompt(task, met[task.id])
            if task.parent in shown:
                shown[task.parent]["children"].append(shown[task.id])
        waiting += reversed(children.get(task.id, []))
    return {"first": shown[root.id], "more": size - len(shown)}


def _prompt(task: Task, met: Sequence[Meeting]) -> Row:
    meeting = _most(met)
    rated = sorted(meeting.rated, key=lambda pair: pair[0])
    ends = (("best", rated[-1]), ("worst", rated[0])) if len(rated) > 1 else ()
    return {
        "id": task.id,
        "text": _cut(task.text),
        "operator": None if task.operator is None else task.operator + (f" with {task.other}" if task.other else ""),
        "iterations": [*dict.fromkeys(each.iteration for each in met)],
        "informativeness": "–" if meeting.weight is None else f"{meeting.weight:.3f}",
        "responses": [
            {"which": which, "reward": f"{reward:.3f}", "text": _cut(text)} for which, (reward, text) in ends
        ],
        "children": [],
    }


def _most(met: Sequence[Meeting]) -> Meeting:
    """The meeting at which a prompt was most informative."""
    return max(met, key=_weight)


def _weight(meeting: Meeting) -> float:
    return -inf if meeting.weight is None else meeting.weight


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()} …"
