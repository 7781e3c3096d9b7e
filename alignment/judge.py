"""Who rates a model's fresh answers: an observer of societies, opened with the models, or in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from agents.batching import Batcher
from agents.errors import BadInput
from agents.language_model import Key, LanguageModel, ModelError
from agents.models import encoder_folder, load_model
from agents.observers import REWARD_MODEL, BatchObserver, EmbeddingObserver, LLMObserver, load_statements
from agents.records import Rating
from agents.reward_model import RewardModelObserver
from memory.encoder import Encoder
from sandbox.cast import best_reading, observer_kinds
from sandbox.responses import ScoreBy, score_of

JUDGES = ("llm:verdict", "llm:scale", "embedding", "reward-model:DIR")

Rate: TypeAlias = Callable[[Sequence[tuple[str, str]]], Awaitable[list[Rating]]]


@dataclass(frozen=True, slots=True)
class Judge:
    """Rates answers from 1 to 7. `name` says how, `model` what it holds in memory for that."""

    name: str
    model: str
    _ratings: Callable[[Sequence[tuple[str, str]]], Sequence[Rating]]
    _score_by: ScoreBy

    def rate(self, questions: Sequence[str], answers: Sequence[str]) -> list[float | None]:
        """One rating for each question with its answer; None where none can be read."""
        found = self._ratings(list(zip(questions, answers, strict=True)))
        return [score_of(rating, self._score_by) for rating in found]


def opened_judge(name: str, model: str, encoder: str, score_by: ScoreBy) -> Judge:
    """The judge of that name: an `llm` one is `model`, `embedding` reads with `encoder`. Raises BadInput.

    One of a reward model gives its rating of alignment, by whatever `score_by` others are read.
    """
    if name not in JUDGES and not name.startswith(REWARD_MODEL):
        raise BadInput(f"--judge {name}: unknown judge; known: {', '.join(JUDGES)}")
    speaker = load_model(model, Batcher()) if name.startswith("llm") else None
    observer = asyncio.run(observer_of(name, speaker, encoder))
    held = name.removeprefix(REWARD_MODEL) if name.startswith(REWARD_MODEL) else encoder if speaker is None else model

    def ratings(pairs: Sequence[tuple[str, str]]) -> list[Rating]:
        return asyncio.run(observed(observer, pairs)) if isinstance(observer, LLMObserver) else observer.rate_all(pairs)

    return Judge(name, held, ratings, scored_by(name, score_by))


def scored_by(name: str, score_by: ScoreBy) -> ScoreBy:
    """What scores a judge's ratings: of a reward model alignment, of which alone it says anything."""
    return "alignment" if name.startswith(REWARD_MODEL) else score_by


async def observer_of(name: str, judge: LanguageModel | None, encoder: str) -> LLMObserver | BatchObserver:
    """The observer `name`, where models are opened: an llm one is `judge`, read as "llm" by the better reading it has.

    "embedding" reads with `encoder`. Raises BadInput.
    """
    if name.startswith(REWARD_MODEL):
        return RewardModelObserver.load(name)
    if name == "embedding" or judge is None:
        return EmbeddingObserver(Encoder(encoder_folder(encoder)), load_statements())
    (kind,) = observer_kinds([name], best_reading([judge]))
    return await llm_judge(judge, kind)


def rating_by(judge: LLMObserver | BatchObserver) -> Rate:
    """How `judge` rates (question, answer) pairs, all at once."""

    async def rate(pairs: Sequence[tuple[str, str]]) -> list[Rating]:
        return await observed(judge, pairs) if isinstance(judge, LLMObserver) else judge.rate_all(pairs)

    return rate


async def llm_judge(model: LanguageModel, name: str) -> LLMObserver:
    """The observer `name` ("llm:verdict" or "llm:scale") over `model`. Raises BadInput where it can't be one."""
    try:
        return await LLMObserver.ready(model, name)
    except (BadInput, ModelError) as error:
        raise BadInput(
            f"--judge {name}: {model.name} can't ({error}); choose another, or another --judge-model"
        ) from error


async def observed(judge: LLMObserver, pairs: Sequence[tuple[str, str]]) -> list[Rating]:
    """The rating of each (question, answer), all asked at once."""
    rated = (judge.rate(Key(0, number, "judge"), *pair) for number, pair in enumerate(pairs))
    return await asyncio.gather(*rated)
