"""Which of two models' answers a judge prefers, shown both orders, and what of it is preference for a place."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from agents.canonical import seed_of
from agents.language_model import Completion, Key, LanguageModel, ModelError, Prompt
from agents.observers import UNREADABLE, as_logged
from agents.prompts import DUEL_CHOICES, DUEL_START, duel_messages
from agents.records import OK
from alignment.evaluate.length_control import controlled_win_rate
from alignment.likelihood import Estimate, mean_estimate

CERTAIN = 10.0  # log-odds of a judge that says which is better, and no probabilities

NAMED = re.compile(r"\W*(?:Answer\W+)?([AB])\b")  # the answer that a reply begins with

Verdict = Literal["win", "loss", "tie"]


@dataclass(frozen=True, slots=True)
class Bout:
    """Two answers to a question: the model's, and that of the one it is compared with."""

    question: str
    topic: str
    model: str
    against: str


@dataclass(frozen=True, slots=True)
class Duel:
    """What the judge said of a bout: log-odds that the first shown is better, where the model's stood first and where
    it stood second. None where `outcome` tells why there is none.
    """

    bout: Bout
    as_first: float | None
    as_second: float | None
    outcome: str = OK

    @property
    def win(self) -> float | None:
        """The probability that the model's answer is better: σ of the mean log-odds of both orders.

        A preference for a place adds to one order what it takes from the other.
        """
        if self.as_first is None or self.as_second is None:
            return None
        return 1 / (1 + math.exp((self.as_second - self.as_first) / 2))

    @property
    def verdict(self) -> Verdict | None:
        """Decided only where both orders agree."""
        if self.as_first is None or self.as_second is None:
            return None
        if self.as_first > 0 > self.as_second:
            return "win"
        return "loss" if self.as_first < 0 < self.as_second else "tie"


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often the model wins. `value` is the mean `Duel.win`; `decided` of wins + ½ ties, both orders agreeing.

    `length_controlled` is what `value` would be with equally long answers (in characters). `first_wins` is the share
    of single judgements that were for the answer shown first: 0.5 without a bias for a place.
    """

    duels: int
    failed: int
    value: Estimate | None
    length_controlled: Estimate | None
    decided: Estimate | None
    wins: int
    losses: int
    ties: int
    first_wins: float | None


async def fought(judge: LanguageModel, bouts: Sequence[Bout], purpose: str) -> list[Duel]:
    """Each bout, judged in both orders, all at once."""
    return await asyncio.gather(*(_duel(judge, bout, number, purpose) for number, bout in enumerate(bouts)))


def win_rate(duels: Sequence[Duel]) -> WinRate:
    """The win rate over the duels that were judged in both orders."""
    judged = [duel for duel in duels if duel.win is not None]
    wins = [duel.win for duel in judged if duel.win is not None]
    verdicts = [duel.verdict for duel in judged]
    orders = [odds for duel in judged for odds in (duel.as_first, duel.as_second) if odds is not None]
    return WinRate(
        duels=len(judged),
        failed=len(duels) - len(judged),
        value=mean_estimate(wins),
        length_controlled=controlled_win_rate(wins, [len(d.bout.model) - len(d.bout.against) for d in judged]),
        decided=mean_estimate([{"win": 1.0, "loss": 0.0, "tie": 0.5}[verdict] for verdict in verdicts if verdict]),
        wins=verdicts.count("win"),
        losses=verdicts.count("loss"),
        ties=verdicts.count("tie"),
        first_wins=_share_above_zero(orders),
    )


def by_topic(duels: Iterable[Duel]) -> dict[str, WinRate]:
    """The win rate of each topic, where there is more than one, the most frequent first."""
    topics: dict[str, list[Duel]] = {}
    for duel in duels:
        topics.setdefault(duel.bout.topic, []).append(duel)
    if len(topics) < 2:
        return {}
    return {topic: win_rate(topics[topic]) for topic in sorted(topics, key=lambda name: (-len(topics[name]), name))}


async def _duel(judge: LanguageModel, bout: Bout, number: int, purpose: str) -> Duel:
    try:
        as_first, as_second = await asyncio.gather(
            _judged(judge, Key(0, number, purpose, "first"), bout.question, bout.model, bout.against),
            _judged(judge, Key(0, number, purpose, "second"), bout.question, bout.against, bout.model),
        )
    except ModelError as error:
        return Duel(bout, None, None, error.outcome)
    if as_first is None or as_second is None:
        return Duel(bout, None, None, UNREADABLE)
    return Duel(bout, as_first, as_second)


async def _judged(judge: LanguageModel, key: Key, question: str, first: str, second: str) -> float | None:
    """Log-odds that the first answer is better; None where the judge's reply does not tell."""
    prompt = Prompt(
        key=key,
        messages=duel_messages(question, first, second),
        max_tokens=1,
        temperature=1.0,
        top_p=1.0,
        seed=seed_of(0, key.round, key.agent, key.purpose, key.other),
        start=DUEL_START,
        choices=DUEL_CHOICES,
    )
    return _log_odds(prompt, as_logged(await judge.complete(prompt)))


def _log_odds(prompt: Prompt, reply: Completion) -> float | None:
    if reply.choice_logprobs is not None:
        first, second = reply.choice_logprobs
        return first - second
    said = NAMED.match(reply.text.removeprefix(prompt.start))
    return None if said is None else CERTAIN if said[1] == DUEL_CHOICES[0].strip() else -CERTAIN


def _share_above_zero(values: Sequence[float]) -> float | None:
    """The share that is above zero; zeros count half."""
    return sum((value > 0) + (value == 0) / 2 for value in values) / len(values) if values else None
