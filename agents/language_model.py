"""The one interface through which everything in this project speaks with a language model.

Callers await `complete`; batching, retries and transport are the model's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from agents.canonical import digest_of

Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Key:
    """Which call of the run this is. With the run's seed it decides the call's own seed."""

    round: int
    agent: int
    purpose: str
    other: int | str = 0


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request.

    `start` is the forced beginning of the reply. `choices` are words whose raw log-probabilities (temperature 1,
    before any processor) are wanted at the first position after it; each stands for its first token.
    """

    key: Key
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    start: str = ""
    choices: tuple[str, ...] = ()

    def digest(self) -> str:
        """blake2b of the canonical JSON of all fields: no model, before any chat template."""
        plain = {name: getattr(self, name) for name in self.__slots__}  # asdict copies deeply, at ten times the cost
        key = {name: getattr(self.key, name) for name in self.key.__slots__}
        messages = [{"role": message.role, "content": message.content} for message in self.messages]
        return digest_of({**plain, "key": key, "messages": messages})


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. `text` is the whole reply, its forced start included.

    `choice_logprobs` stand in the order of `Prompt.choices`; None where the prompt named none or the model gives
    none. `cached_tokens` are those of `prompt_tokens` that the model had read before, as far as it tells;
    `retries` counts the attempts that failed before this answer came.
    """

    text: str
    finish: Finish
    prompt_tokens: int
    completion_tokens: int
    choice_logprobs: tuple[float, ...] | None = None
    cached_tokens: int = 0
    retries: int = 0


class ModelError(Exception):
    """A call that failed for good, after `retries` further attempts.

    `outcome` is what the transcript keeps: `timeout`, `unreachable`, `overloaded`, `failed`, `refused` or `invalid`.
    """

    def __init__(self, outcome: str, detail: str, retries: int = 0) -> None:
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome
        self.retries = retries


class LanguageModel(Protocol):
    """A model that answers prompts.

    `digest` identifies the weights (or the server's model) in the transcript's header. `batch_invariant` says
    whether equal prompts get equal answers whatever else is in the batch. `reads_words` says whether it gives the
    log-probabilities of any words that a prompt names as choices, which a verdict is read from.
    """

    name: str
    digest: str
    batch_invariant: bool
    reads_words: bool

    async def complete(self, prompt: Prompt) -> Completion:
        """Answer `prompt`; raises ModelError."""
        ...
