"""The phases of any iteration that ask models: responses are sampled, answers measured, and a judge gives rewards.

Each is a file of an iteration's folder, written row by row (`alignment.phases`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agents.errors import TooManyFailures
from agents.language_model import Key, Message
from agents.metered import Metered, Usage
from agents.records import OK
from alignment.answers import Manner, answer
from alignment.iterative.prompts import Task
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
        pairs = [(question, text) for text in answers if text is not None and is_said(text)]
        found = iter(await self.rate(pairs) if pairs else ())
        return [_finite(score_of(next(found), self.score_by)) if is_said(text) else None for text in answers]


def chat_of(prompt: str, system: str) -> tuple[Message, ...]:
    """A prompt as a model is asked it; without a system message where that is empty."""
    asked = Message("user", prompt)
    return (Message("system", system), asked) if system else (asked,)


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

    def failed(_: object, row: Mapping[str, Any]) -> bool:
        return any(map(has_failed, row["responses"]))

    invariant = speaker.batch_invariant
    return await filled(path, [*enumerate(tasks)], ask, failed=failed, batch_invariant=invariant, told=told)


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
        (reward,) = await judged.rewards(prompt, [reply.text])
        quota.require(2 * len(asked))  # each is answered and rated
        return {"set": kind, "question": prompt, **asdict(reply), "reward": reward}

    def failed(_: object, row: Mapping[str, Any]) -> bool:
        return has_failed(row) or is_unrated(row["text"], row["reward"])

    invariant = speaker.batch_invariant and judged.batch_invariant
    return await filled(path, [*enumerate(asked)], ask, failed=failed, batch_invariant=invariant, told=told)


def texts_of(row: Mapping[str, Any]) -> list[str | None]:
    """The texts of a row of responses, None where a call failed."""
    return [response["text"] for response in row["responses"]]


def is_said(text: str | None) -> bool:
    """Whether an answer is there, and not blank."""
    return text is not None and bool(text.strip())


def _finite(reward: float | None) -> float | None:
    """A reward; None where it is no number, which a broken reward model gives."""
    return reward if reward is not None and math.isfinite(reward) else None


def has_failed(answer: Mapping[str, Any]) -> bool:
    """Whether the call failed that the answer was to come from."""
    return bool(answer["outcome"] != OK)


def is_unrated(text: str | None, reward: float | None) -> bool:
    """Whether an answer lacks the reward that it could have."""
    return reward is None and is_said(text)
