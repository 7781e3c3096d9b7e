"""Raters without memory, who never see who wrote an answer: a language model, and sentence embeddings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from agents import prompts
from agents.canonical import digest_of, seed_of
from agents.errors import BadInput
from agents.language_model import Key, LanguageModel, Message, ModelError, Prompt
from agents.rating import (
    HIGHEST,
    LOWEST,
    SCALE_LABELS,
    Dimension,
    ReadingName,
    Zero,
    label_mass,
    label_rating,
    scale_rating,
    verdict_log_odds,
    verdict_rating,
    words_of,
)
from agents.records import OK, Rating, ReadingCall

if TYPE_CHECKING:
    from memory.encoder import Encoder

DIMENSIONS: tuple[Dimension, ...] = ("alignment", "engagement")
UNREADABLE = "unreadable"  # the outcome of a reply that gives no rating
STATEMENTS = Path(__file__).parent / "data" / "values.json"

Role = Literal["observer", "peer"]


def read(
    reading: ReadingName, dimensions: Sequence[Dimension], logprobs: Sequence[float], zero: Zero | None
) -> dict[Dimension, float]:
    """The ratings (1–7) of one call, from the log-probabilities of its choices.

    `verdict`: the words of `dimensions`, one dimension after the other; it needs `zero`. `scale`: one dimension.
    """
    if reading == "scale":
        (dimension,) = dimensions
        return {dimension: scale_rating(logprobs)}
    if zero is None:
        raise ValueError("a verdict is read against the model's zero, got None; measure it with measure_zero")
    return {
        dimension: verdict_rating(log_odds, getattr(zero, dimension))
        for dimension, log_odds in _log_odds(dimensions, logprobs).items()
    }


def observation(
    reading: ReadingName, key: Key, question: str, answer: str
) -> tuple[tuple[tuple[Dimension, ...], Prompt], ...]:
    """What is asked about one answer, each prompt with the dimensions that it gives.

    One prompt for `verdict`; for `scale` one per dimension, told apart by `key.other`.
    """
    if reading == "verdict":
        return ((DIMENSIONS, _verdict_prompt(key, prompts.observe_messages(question, answer, reading, "alignment"))),)
    return tuple(
        (
            (dimension,),
            _reading_prompt(
                replace(key, other=f"{key.other}:{dimension}"),
                prompts.observe_messages(question, answer, reading, dimension),
                reading,
                SCALE_LABELS,
            ),
        )
        for dimension in DIMENSIONS
    )


async def measure_zero(model: LanguageModel, role: Role) -> Zero:
    """z₀ of `model`: its mean verdict over the neutral questions, each answered with nothing; all calls at once.

    Raises ModelError where a call fails, BadInput where the model gives no probabilities.
    """
    ask = _as_observer if role == "observer" else prompts.review_messages
    asked = [
        _verdict_prompt(Key(0, number, "zero", role), ask(question, prompts.NEUTRAL_ANSWER))
        for number, question in enumerate(prompts.NEUTRAL_QUESTIONS)
    ]
    replies = await asyncio.gather(*(model.complete(prompt) for prompt in asked))
    odds = []
    for reply in replies:
        if reply.choice_logprobs is None:
            raise BadInput(f"model {model.name}: gives no probabilities of words; use the reading scale instead of verdict")
        odds.append(_log_odds(DIMENSIONS, reply.choice_logprobs))
    return Zero(*(fmean(z[dimension] for z in odds) for dimension in DIMENSIONS))


@dataclass(frozen=True, slots=True)
class LLMObserver:
    """A language model as judge. `zero` is its z₀ as an observer; `scale` needs none."""

    model: LanguageModel
    reading: ReadingName
    zero: Zero | None = None

    @classmethod
    async def ready(cls, model: LanguageModel, name: str) -> LLMObserver:
        """The observer of that name ("llm:verdict" or "llm:scale"), its zero measured where it needs one."""
        if name == "llm:verdict":
            return cls(model, "verdict", await measure_zero(model, "observer"))
        return cls(model, "scale")

    @property
    def name(self) -> str:
        """The observer's name in options, transcripts and reports."""
        return f"llm:{self.reading}"

    async def rate(self, key: Key, question: str, answer: str) -> Rating:
        """Rate one answer. What a failed call would have given is None, and the first failure is the outcome."""
        given = await asyncio.gather(
            *(self._call(dimensions, prompt) for dimensions, prompt in observation(self.reading, key, question, answer))
        )
        ratings = {dimension: value for _, read_off in given for dimension, value in read_off.items()}
        calls = tuple(call for call, _ in given)
        outcome = next((call.outcome for call in calls if call.outcome != OK), OK)
        return Rating(ratings.get("alignment"), ratings.get("engagement"), calls, outcome)

    def describe(self) -> dict[str, Any]:
        """The observer in a transcript's header: all that shapes its ratings."""
        return {
            "name": self.name,
            "kind": "llm",
            "reading": self.reading,
            "model": self.model.name,
            "digest": self.model.digest,
            "zero": None if self.zero is None else asdict(self.zero),
        }

    async def _call(
        self, dimensions: tuple[Dimension, ...], prompt: Prompt
    ) -> tuple[ReadingCall, dict[Dimension, float]]:
        try:
            reply = await self.model.complete(prompt)
        except ModelError as error:
            return ReadingCall(dimensions, prompt.digest(), None, None, error.outcome), {}
        logprobs = reply.choice_logprobs
        if logprobs is not None:
            call = ReadingCall(dimensions, prompt.digest(), logprobs, label_mass(logprobs))
            return call, read(self.reading, dimensions, logprobs, self.zero)
        rating = label_rating(reply.text.removeprefix(prompt.start)) if self.reading == "scale" else None
        if rating is None:
            return ReadingCall(dimensions, prompt.digest(), None, None, UNREADABLE), {}
        return ReadingCall(dimensions, prompt.digest(), None, None), {dimensions[0]: rating}


def _as_observer(question: str, answer: str) -> tuple[Message, ...]:
    return prompts.observe_messages(question, answer, "verdict", "alignment")


def _verdict_prompt(key: Key, messages: tuple[Message, ...]) -> Prompt:
    return _reading_prompt(key, messages, "verdict", words_of(DIMENSIONS))


def _reading_prompt(key: Key, messages: tuple[Message, ...], reading: ReadingName, choices: tuple[str, ...]) -> Prompt:
    return Prompt(
        key=key,
        messages=messages,
        max_tokens=1,
        temperature=1.0,
        top_p=1.0,
        seed=seed_of(0, key.round, key.agent, key.purpose, key.other),  # of a token that only `label_rating` looks at
        start=prompts.STARTS[reading],
        choices=choices,
    )


def _log_odds(dimensions: Sequence[Dimension], logprobs: Sequence[float]) -> dict[Dimension, float]:
    """z of each dimension, from the log-probabilities of `words_of(dimensions)`."""
    odds = {}
    place = 0
    for dimension in dimensions:
        words = len(words_of((dimension,)))
        odds[dimension] = verdict_log_odds(logprobs[place : place + words])
        place += words
    return odds
