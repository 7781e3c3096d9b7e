"""A language model that answers at once, from the prompt alone: equal prompts get equal answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from agents.language_model import Completion, ModelError, Prompt


def echo(prompt: Prompt) -> str:
    """Words that tell the prompt apart from every other."""
    return f"{prompt.start} because {prompt.key.purpose} {prompt.digest()[:8]}".strip()


def flat(prompt: Prompt) -> tuple[float, ...] | None:
    """Choices that differ a little by prompt: with pairs of words, the better one is ahead by 0 to 2.5."""
    if not prompt.choices:
        return None
    lead = int(prompt.digest()[:2], 16) / 100
    return tuple(-3.0 if place % 2 else -3.0 + lead for place in range(len(prompt.choices)))


@dataclass
class ScriptedModel:
    """`text` and `logprobs` make the answer; a prompt whose purpose stands in `failing` ends with that outcome.

    `latest_first` lets calls end in the opposite order of their start, to show that order does not matter.
    """

    name: str = "scripted"
    digest: str = "scripted-1"
    batch_invariant: bool = True
    reads_words: bool = True
    text: Callable[[Prompt], str] = echo
    logprobs: Callable[[Prompt], tuple[float, ...] | None] = flat
    failing: dict[str, str] = field(default_factory=dict)
    latest_first: bool = False
    prompts: list[Prompt] = field(default_factory=list)

    async def complete(self, prompt: Prompt) -> Completion:
        self.prompts.append(prompt)
        if self.latest_first:
            await asyncio.sleep(1e-3 / len(self.prompts))
        if prompt.key.purpose in self.failing:
            raise ModelError(self.failing[prompt.key.purpose], "scripted")
        return Completion(self.text(prompt), "stop", 10, 5, self.logprobs(prompt))
