"""A language model that counts its calls, for progress and telemetry."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agents.language_model import Completion, LanguageModel, ModelError, Prompt


@dataclass(slots=True)
class Usage:
    """What the calls of one purpose took.

    `calls` counts answers and failures, `failures` the latter by outcome. `seconds` is the time that callers waited,
    summed: calls that wait together count each.
    """

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    retries: int = 0
    seconds: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


class Metered:
    """`model`, with its calls counted by purpose (`prompt.key.purpose`). A cancelled call counts nothing."""

    def __init__(self, model: LanguageModel, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = model.name
        self.digest = model.digest
        self.batch_invariant = model.batch_invariant
        self.reads_words = model.reads_words
        self.usage: defaultdict[str, Usage] = defaultdict(Usage)
        self.first_errors: dict[str, str] = {}  # by outcome, what the first of its kind said
        self._model = model
        self._clock = clock

    async def complete(self, prompt: Prompt) -> Completion:
        """What the model answers; its ModelError is counted and raised on."""
        began = self._clock()
        try:
            completion = await self._model.complete(prompt)
        except ModelError as error:
            usage = self._count(prompt, began)
            usage.failures[error.outcome] += 1
            usage.retries += error.retries
            self.first_errors.setdefault(error.outcome, str(error))
            raise
        usage = self._count(prompt, began)
        usage.prompt_tokens += completion.prompt_tokens
        usage.cached_tokens += completion.cached_tokens
        usage.retries += completion.retries
        usage.completion_tokens += completion.completion_tokens
        return completion

    @property
    def calls(self) -> int:
        """Calls that have come back, over all purposes."""
        return sum(usage.calls for usage in self.usage.values())

    @property
    def prompt_tokens(self) -> int:
        """Tokens read, over all purposes."""
        return sum(usage.prompt_tokens for usage in self.usage.values())

    @property
    def completion_tokens(self) -> int:
        """Tokens written, over all purposes."""
        return sum(usage.completion_tokens for usage in self.usage.values())

    def counts(self) -> dict[str, dict[str, Any]]:
        """All of it as plain data, by purpose, that json can write."""
        return {
            purpose: {
                "calls": usage.calls,
                "prompt_tokens": usage.prompt_tokens,
                "cached_tokens": usage.cached_tokens,
                "completion_tokens": usage.completion_tokens,
                "retries": usage.retries,
                "seconds": round(usage.seconds, 3),
                "failures": dict(sorted(usage.failures.items())),
            }
            for purpose, usage in sorted(self.usage.items())
        }

    def _count(self, prompt: Prompt, began: float) -> Usage:
        usage = self.usage[prompt.key.purpose]
        usage.calls += 1
        usage.seconds += self._clock() - began
        return usage
