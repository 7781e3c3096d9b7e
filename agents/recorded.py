"""A model that only repeats what was said before: answers from a mapping digest → reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents.language_model import Completion, ModelError, Prompt

UNRECORDED = "unrecorded"  # the outcome of a prompt that nobody answered then


class Recorded:
    """The model `name` as it answered: `replies` go by the prompts' digests, a failed call's being its outcome.

    Another prompt it refuses with the outcome "unrecorded".
    """

    batch_invariant = True
    reads_words = True

    def __init__(self, name: str, digest: str, replies: Mapping[str, Completion | str]) -> None:
        self.name = name
        self.digest = digest
        self._replies = replies

    async def complete(self, prompt: Prompt) -> Completion:
        """The recorded reply; raises ModelError where the call failed then, or was not made."""
        reply = self._replies.get(prompt.digest())
        if reply is None:
            raise ModelError(UNRECORDED, f"{self.name} was not asked this in {prompt.key}")
        if isinstance(reply, str):
            raise ModelError(reply, "as recorded")
        if not _fits(reply.choice_logprobs, prompt.choices):
            raise ModelError(UNRECORDED, f"{self.name} gave other log-probabilities in {prompt.key}")
        return reply


def _fits(logprobs: Sequence[float] | None, choices: Sequence[str]) -> bool:
    """Whether these can be log-probabilities of the choices; rounded ones may be a little above 0."""
    return logprobs is None or (len(logprobs) == len(choices) and max(logprobs, default=0.0) < 1)
