"""The phases of an iteration in which prompts evolve and a judge gives rewards, each a file written row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.language_model import Key
from agents.metered import Metered
from alignment.answers import Manner, answer
from alignment.eva.curriculum import Evolution
from alignment.eva.operators import Operator, operator_messages, operator_start
from alignment.iterative.prompts import Task
from alignment.iterative.sampling import Judged, Quota, Told, has_failed, is_unrated, texts_of
from alignment.phases import filled

Row = dict[str, Any]


async def evolved(
    path: Path,
    asked: Sequence[Evolution],
    operators: Mapping[str, Operator],
    creator: Metered,
    manner: Manner,
    quota: Quota,
    iteration: int,
    told: Told,
) -> list[Row]:
    """What the creator makes of each parent: its whole reply, to be read by `operators.parsed`."""

    async def ask(numbered: tuple[int, Evolution]) -> Row:
        number, evolution = numbered
        operator, parent, other = operators[evolution.operator], evolution.parent, evolution.other
        messages = operator_messages(operator, parent.text, None if other is None else other.text)
        start = operator_start(operator, parent.text)
        reply = await answer(creator, messages, manner, Key(iteration, number, "evolve"), start)
        quota.require(len(asked))
        return {
            "parent": parent.id,
            "other": None if other is None else other.id,
            "operator": operator.name,
            **asdict(reply),
        }

    def failed(_: object, row: Mapping[str, Any]) -> bool:
        return has_failed(row)

    invariant = creator.batch_invariant
    return await filled(path, [*enumerate(asked)], ask, failed=failed, batch_invariant=invariant, told=told)


async def rewarded(
    path: Path, tasks: Sequence[Task], responses: Sequence[Row], judged: Judged, quota: Quota, told: Told
) -> list[Row]:
    """The rewards of the responses to each task."""
    count = sum(len(row["responses"]) for row in responses)

    async def ask(pair: tuple[Task, Row]) -> Row:
        task, row = pair
        rewards = await judged.rewards(task.text, texts_of(row))
        quota.require(count)
        return {"id": task.id, "rewards": rewards}

    def failed(pair: tuple[Task, Row], row: Mapping[str, Any]) -> bool:
        return any(map(is_unrated, texts_of(pair[1]), row["rewards"]))

    pairs = [*zip(tasks, responses, strict=True)]
    return await filled(path, pairs, ask, failed=failed, batch_invariant=judged.batch_invariant, told=told)
