"""The phases of an iteration that ask models: prompts evolve, responses are sampled, a judge gives rewards.

Each is a file of an iteration's folder, written row by row (`alignment.phases`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agents.errors import TooManyFailures
from agents.language_model import Key, Message
from agents.metered import Metered, Usage
from alignment.answers import Manner, answer
from alignment.eva.curriculum import Evolution, Task
from alignment.eva.operators import Operator, operator_messages, operator_start
from alignment.judge import Rate
from alignment.phases import filled
from sandbox.responses import ScoreBy, score_of

Row = dict[str, Any]
Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Quota:
    """How many calls may fail: a share `most` of all that were made of `models`, or of those that are to come."""

    models: Sequence[Metered]
    most: float

    def require(self, expected: int) -> None:
        """Raises TooManyFailures where more failed than `most` of the calls so far, or of `expected` ones."""
        usage = self.usage()
        failures, calls = usage.failures.total(), max(expected, usage.calls)
        if failures > self.most * calls:
            first = next((error for model in self.models for error in model.first_errors.values()), "")
            raise TooManyFailures(
                f"{failures} of {calls} calls failed ({first}), more than --max-failures {self.most:g} allows; "
                "mend the cause and go on with --resume"
            )

    def usage(self) -> Usage:
        """What all calls so far took."""
        return sum((usage for model in self.models for usage in model.usage.values()), Usage())


@dataclass(frozen=True, slots=True)
class Judged:
    """Who gives rewards, of what of its ratings. `batch_invariant`: whether they are the same in any company."""

    rate: Rate
    score_by: ScoreBy
    batch_invariant: bool

    async def rewards(self, question: str, answers: Sequence[str | None]) -> list[float | None]:
        """The reward of each answer to `question`; None where it is missing or blank, or no rating can be read."""
        said = [text is not None and bool(text.strip()) for text in answers]
        pairs = [(question, text) for text, is_said in zip(answers, said, strict=True) if is_said and text is not None]
        found = iter(await self.rate(pairs) if pairs else ())
        return [score_of(next(found), self.score_by) if is_said else None for is_said in said]


def chat_of(prompt: str, system: str) -> tuple[Message, ...]:
    """A prompt as a model is asked it; without a system message where that is empty."""
    asked = Message("user", prompt)
    return (Message("system", system), asked) if system else (asked,)


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

    return await filled(path, [*enumerate(asked)], ask, batch_invariant=creator.batch_invariant, told=told)


async def responded(
    path: Path,
    tasks: Sequence[Task],
    count: int,
    speaker: Metered,
    manner: Manner,
    system: str,
    quota: Quota,
    iteration: int,
    told: Told,
) -> list[Row]:
    """`count` responses to each task."""

    async def ask(numbered: tuple[int, Task]) -> Row:
        place, task = numbered
        chat = chat_of(task.text, system)
        keys = [Key(iteration, place, "response", number) for number in range(count)]
        replies = await asyncio.gather(*(answer(speaker, chat, manner, key) for key in keys))
        quota.require(count * len(tasks))
        return {"id": task.id, "responses": [asdict(reply) for reply in replies]}

    return await filled(path, [*enumerate(tasks)], ask, batch_invariant=speaker.batch_invariant, told=told)


async def rewarded(
    path: Path, tasks: Sequence[Task], responses: Sequence[Row], judged: Judged, told: Told
) -> list[Row]:
    """The rewards of the responses to each task."""

    async def ask(pair: tuple[Task, Row]) -> Row:
        task, row = pair
        return {"id": task.id, "rewards": await judged.rewards(task.text, texts_of(row))}

    pairs = [*zip(tasks, responses, strict=True)]
    return await filled(path, pairs, ask, batch_invariant=judged.batch_invariant, told=told)


async def measured(
    path: Path,
    asked: Sequence[tuple[str, str]],
    speaker: Metered,
    max_tokens: int,
    system: str,
    judged: Judged,
    quota: Quota,
    told: Told,
) -> list[Row]:
    """Greedy answers to what is never trained on, each a set's name and a prompt, with their rewards."""
    manner = Manner(max_tokens, temperature=0.0, seed=0)

    async def ask(numbered: tuple[int, tuple[str, str]]) -> Row:
        place, (kind, prompt) = numbered
        reply = await answer(speaker, chat_of(prompt, system), manner, Key(0, place, "measure"))
        quota.require(len(asked))
        (reward,) = await judged.rewards(prompt, [reply.text])
        return {"set": kind, "question": prompt, **asdict(reply), "reward": reward}

    invariant = speaker.batch_invariant and judged.batch_invariant
    return await filled(path, [*enumerate(asked)], ask, batch_invariant=invariant, told=told)


def texts_of(row: Mapping[str, Any]) -> list[str | None]:
    """The texts of a row of responses, None where a call failed."""
    return [response["text"] for response in row["responses"]]
