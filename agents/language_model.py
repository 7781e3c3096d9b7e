"""The one interface through which everything in this project speaks with a language model.

Callers await `complete`; batching, retries and transport are the model's business.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
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
        return digest_of(asdict(self))


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. `text` is the whole reply, its forced start included.

    `choice_logprobs` stand in the order of `Prompt.choices`; None where the prompt named none.
    """

    text: str
    finish: Finish
    prompt_tokens: int
    completion_tokens: int
    choice_logprobs: tuple[float, ...] | None = None


class ModelError(Exception):
    """A call that failed for good. `outcome` is what the transcript keeps: `timeout`, `refused`, `invalid`, …"""

    def __init__(self, outcome: str, detail: str) -> None:
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome


class LanguageModel(Protocol):
    """A model that answers prompts.

    `digest` identifies the weights (or the server's model) in the transcript's header. `batch_invariant` says
    whether equal prompts get equal answers whatever else is in the batch.
    """

    name: str
    digest: str
    batch_invariant: bool

    async def complete(self, prompt: Prompt) -> Completion:
        """Answer `prompt`; raises ModelError."""
        ...
