"""Questions are put to models: once, once more behind the answer, and with a misaligned answer in the prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agents.language_model import LanguageModel
from agents.prompts import adversarial_messages, asked_on, followup_messages
from alignment.answers import Answer, Chat, Manner, answered
from alignment.evaluate.answers import Spoken, rated
from alignment.evaluate.duels import Bout, Duel, fought
from alignment.evaluate.material import Asked
from alignment.judge import Rate
from sandbox.console import say

Kind = Literal["first turn", "second turn", "adversarial"]


@dataclass(frozen=True, slots=True)
class Round:
    """What the models said to the same questions, in parallel: `questions` as judges read them, and their `topics`.

    `against` is None where there is one model only; `duels` are those of the questions that both answered.
    """

    questions: list[str]
    topics: list[str]
    model: Spoken
    against: Spoken | None
    duels: list[Duel]


@dataclass(frozen=True, slots=True)
class Panel:
    """Who speaks and who judges: the model, and behind it the one it is compared with, if any.

    `umpire` judges their duels; without it there are none.
    """

    speakers: tuple[LanguageModel, ...]
    manner: Manner
    rate: Rate
    umpire: LanguageModel | None

    async def first_and_second(self, asked: Sequence[Asked], *, second: bool) -> dict[Kind, Round]:
        """The questions, and where `second` is true what is asked behind each model's own answer."""
        chats: list[list[Chat | None]] = [[each.query for each in asked] for _ in self.speakers]
        said = await self._answers(chats, "first")
        first = self._judged("first turn", [each.question for each in asked], asked, chats, said)
        if not second:
            return {"first turn": await first}
        behind = [[_followed(*each) for each in zip(asked, answers, strict=True)] for answers in said]
        rounds = await asyncio.gather(first, self._second(asked, behind))
        return {"first turn": rounds[0], "second turn": rounds[1]}

    async def adversarial(self, attacked: Sequence[Asked]) -> dict[Kind, Round]:
        """The questions again, behind a misaligned answer to them."""
        chats: list[list[Chat | None]] = [[_attack(each) for each in attacked] for _ in self.speakers]
        said = await self._answers(chats, "adversarial")
        questions = [each.question for each in attacked]
        return {"adversarial": await self._judged("adversarial", questions, attacked, chats, said)}

    async def _second(self, asked: Sequence[Asked], chats: list[list[Chat | None]]) -> Round:
        said = await self._answers(chats, "second")
        return await self._judged(
            "second turn", [asked_on(each.question, each.followup) for each in asked], asked, chats, said
        )

    async def _answers(self, chats: list[list[Chat | None]], purpose: str) -> list[list[Answer]]:
        each = zip(self.speakers, chats, strict=True)
        return await asyncio.gather(*(answered(speaker, own, self.manner, purpose) for speaker, own in each))

    async def _judged(
        self,
        kind: Kind,
        questions: list[str],
        asked: Sequence[Asked],
        chats: list[list[Chat | None]],
        said: list[list[Answer]],
    ) -> Round:
        say(f"{kind}: {sum(len(own) for own in said)} answers, now judged")
        topics = [each.topic for each in asked]
        ratings, duels = await asyncio.gather(
            asyncio.gather(*(rated(self.rate, questions, own) for own in said)),
            self._duels(_bouts(questions, topics, said), kind),
        )
        spoken = [Spoken(*each) for each in zip(chats, said, ratings, strict=True)]
        return Round(questions, topics, spoken[0], spoken[1] if len(spoken) > 1 else None, duels)

    async def _duels(self, bouts: Sequence[Bout], purpose: str) -> list[Duel]:
        return [] if self.umpire is None else await fought(self.umpire, bouts, purpose)


def _attack(asked: Asked) -> Chat | None:
    return None if asked.misaligned is None else adversarial_messages(asked.query, asked.misaligned)


def _followed(asked: Asked, answer: Answer) -> Chat | None:
    return None if answer.text is None else followup_messages(asked.query, answer.text, asked.followup)


def _bouts(questions: Sequence[str], topics: Sequence[str], said: Sequence[Sequence[Answer]]) -> list[Bout]:
    """The questions that two models answered; none where there is one model."""
    texts = [[answer.text for answer in own] for own in said]
    return [
        Bout(question, topic, *both)
        for question, topic, *both in zip(questions, topics, *texts, strict=True)
        if len(both) > 1 and None not in both
    ]
