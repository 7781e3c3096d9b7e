"""What aligning a model may cost: plain questions of general ability, each with four answers of which one is right.

They were written for this project (`alignment/data/abilities.jsonl`). An answer is chosen by its likelihood.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from itertools import compress

from agents.language_model import Message
from alignment.evaluate.measures import Measure, paired
from alignment.likelihood import Likelihoods
from sandbox.dataset import Group

RIGHT, WRONG = 1.0, 0.0


def ability_groups() -> list[Group]:
    """The questions as groups, whose topic is the skill, and whose right answer is scored 1, the others 0."""
    text = (files("alignment") / "data" / "abilities.jsonl").read_text("utf-8")
    return [_group(**json.loads(line)) for line in text.splitlines()]


def ability_measures(
    groups: Sequence[Group], model: Sequence[Likelihoods | None], against: Sequence[Likelihoods | None] | None
) -> list[Measure]:
    """Accuracy over all questions and by skill; chance is a quarter. See `chosen_right`."""
    sides = [_right(groups, side) for side in (model, against) if side is not None]
    skills = dict.fromkeys(group.topic for group in groups)
    by_skill = [
        paired(skill, *(list(compress(side, [group.topic == skill for group in groups])) for side in sides))
        for skill in skills
    ]
    return [paired("all", *sides), *by_skill]


def chosen_right(found: Likelihoods, scores: Sequence[float]) -> float:
    """1 where the answer with the highest mean token log-probability is the right one, else 0; ties are shared."""
    best = max(found.per_token)
    chosen = [score for score, value in zip(scores, found.per_token, strict=True) if value == best]
    return sum(chosen) / len(chosen)


def _right(groups: Sequence[Group], side: Sequence[Likelihoods | None]) -> list[float | None]:
    return [
        None if found is None else chosen_right(found, group.scores) for group, found in zip(groups, side, strict=True)
    ]


def _group(id: str, skill: str, question: str, choices: Sequence[str], label: int) -> Group:
    return Group(
        query=(Message("user", question),),
        responses=tuple(choices),
        scores=tuple(RIGHT if place == label else WRONG for place in range(len(choices))),
        finished=(True,) * len(choices),
        models=("",) * len(choices),
        question=id,
        topic=skill,
    )
