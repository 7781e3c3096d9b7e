"""Who rates a model's fresh answers while it is trained: an observer of societies, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from agents.batching import Batcher
from agents.errors import BadInput
from agents.language_model import Completion, Key, LanguageModel, Message, ModelError, Prompt
from agents.local import LocalModel
from agents.models import encoder_folder, load_model
from agents.observers import REWARD_MODEL, EmbeddingObserver, LLMObserver, load_statements
from agents.records import Rating
from agents.reward_model import RewardModelObserver
from memory.encoder import Encoder
from sandbox.responses import ScoreBy, score_of

JUDGES = ("llm:verdict", "llm:scale", "embedding", "reward-model:DIR")


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
    if name == "embedding":
        observer = EmbeddingObserver(Encoder(encoder_folder(encoder)), load_statements())
        return Judge(name, encoder, observer.rate_all, score_by)
    if name.startswith(REWARD_MODEL):
        rate_all = RewardModelObserver.load(name).rate_all
        return Judge(name, name.removeprefix(REWARD_MODEL), rate_all, "alignment")
    if name not in JUDGES:
        raise BadInput(f"--judge {name}: unknown judge; known: {', '.join(JUDGES)}")
    judge = asyncio.run(llm_judge(load_model(model, Batcher()), name))
    return Judge(name, model, lambda pairs: asyncio.run(observed(judge, pairs)), score_by)


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


@dataclass(frozen=True, slots=True)
class FreshAnswer:
    """What a model said, in `tokens` with the end of its turn, to which it came where `finished`."""

    text: str
    tokens: int
    finished: bool


def fresh_answers(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[Message]], max_tokens: int
) -> list[FreshAnswer | None]:
    """What `model`, as it stands, answers without sampling; None where a prompt is too long for it.

    The model is left as it was, and so are random numbers: it may be in the middle of its training.
    """
    with _evaluating(model):
        speaker = LocalModel("trained", "", model, tokenizer, Batcher())
        return asyncio.run(_answered(speaker, prompts, max_tokens))


async def _answered(
    speaker: LocalModel, prompts: Sequence[Sequence[Message]], max_tokens: int
) -> list[FreshAnswer | None]:
    asked = [
        Prompt(Key(0, number, "fresh"), tuple(messages), max_tokens, temperature=0.0, top_p=1.0, seed=0)
        for number, messages in enumerate(prompts)
    ]
    given = await asyncio.gather(*map(speaker.complete, asked), return_exceptions=True)
    return [_fresh(reply) for reply in given]


def _fresh(reply: Completion | BaseException) -> FreshAnswer | None:
    if isinstance(reply, Completion):
        return FreshAnswer(reply.text, reply.completion_tokens, reply.finish == "stop")
    if isinstance(reply, ModelError):
        return None
    raise reply


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
