"""What models answer to chats: those that are opened, on servers or here, and one in the middle of its training."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from agents.batching import Batcher
from agents.canonical import seed_of
from agents.language_model import Key, LanguageModel, Message, ModelError, Prompt
from agents.local import LocalModel
from agents.records import OK

Chat: TypeAlias = tuple[Message, ...]

UNASKED = "unasked"  # the outcome of an answer to what could not be asked


@dataclass(frozen=True, slots=True)
class Manner:
    """How answers are sampled: at most `max_tokens` long, greedily at temperature 0."""

    max_tokens: int
    temperature: float
    seed: int
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said, in `tokens` with the end of its turn, to which it came where `finished`.

    All three are None where `outcome` is not "ok".
    """

    text: str | None
    tokens: int | None
    finished: bool | None
    outcome: str = OK


async def answer(model: LanguageModel, chat: Chat | None, manner: Manner, key: Key, start: str = "") -> Answer:
    """What `model` answers to one chat, beginning with `start`. A call that fails, or has no chat, leaves its outcome.

    The call's own seed is made of the manner's seed and `key`.
    """
    if chat is None:
        return Answer(None, None, None, UNASKED)
    seed = seed_of(manner.seed, key.round, key.agent, key.purpose, key.other)
    prompt = Prompt(key, chat, manner.max_tokens, manner.temperature, manner.top_p, seed, start)
    try:
        reply = await model.complete(prompt)
    except ModelError as error:
        return Answer(None, None, None, error.outcome)
    return Answer(reply.text, reply.completion_tokens, reply.finish == "stop")


async def answered(model: LanguageModel, chats: Sequence[Chat | None], manner: Manner, purpose: str) -> list[Answer]:
    """What `model` answers to each chat, all at once."""
    return await asyncio.gather(
        *(answer(model, chat, manner, Key(0, number, purpose)) for number, chat in enumerate(chats))
    )


def fresh_answers(model: Any, tokenizer: Any, prompts: Sequence[Sequence[Message]], max_tokens: int) -> list[Answer]:
    """What `model`, as it stands, answers without sampling.

    The model is left as it was, and so are random numbers: it may be in the middle of its training.
    """
    with _evaluating(model):
        speaker = LocalModel("trained", "", model, tokenizer, Batcher())
        greedily = Manner(max_tokens, temperature=0.0, seed=0)
        return asyncio.run(answered(speaker, [tuple(messages) for messages in prompts], greedily, "fresh"))


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
