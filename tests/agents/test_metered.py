from __future__ import annotations

import asyncio
import json

import pytest

from agents.language_model import Completion, Key, Message, ModelError, Prompt
from agents.metered import Metered


def prompt(purpose: str, text: str = "hello") -> Prompt:
    return Prompt(Key(0, 1, purpose), (Message("user", text),), 8, 0.0, 1.0, 0)


class Clockwork:
    """Answers "hello" in two seconds of its own clock, and fails on anything else after one."""

    name, digest, batch_invariant, reads_words = "clockwork", "abc", True, False

    def __init__(self) -> None:
        self.now = 0.0

    async def complete(self, prompt: Prompt) -> Completion:
        if prompt.messages[0].content == "hello":
            self.now += 2
            return Completion("hi", "stop", prompt_tokens=5, completion_tokens=3, cached_tokens=4, retries=1)
        self.now += 1
        raise ModelError(prompt.messages[0].content, "failed", retries=2)


def test_calls_tokens_seconds_and_failures_are_counted_by_purpose() -> None:
    model = Clockwork()
    metered = Metered(model, clock=lambda: model.now)

    async def talk() -> None:
        assert (await metered.complete(prompt("draft"))).text == "hi"
        await metered.complete(prompt("review"))
        await metered.complete(prompt("review"))
        for outcome in ("timeout", "timeout", "refused"):
            with pytest.raises(ModelError, match=outcome):
                await metered.complete(prompt("review", outcome))

    asyncio.run(talk())
    assert json.loads(json.dumps(metered.counts())) == {
        "draft": {
            "calls": 1,
            "prompt_tokens": 5,
            "cached_tokens": 4,
            "completion_tokens": 3,
            "retries": 1,
            "seconds": 2.0,
            "failures": {},
        },
        "review": {
            "calls": 5,
            "prompt_tokens": 10,
            "cached_tokens": 8,
            "completion_tokens": 6,
            "retries": 2 * 1 + 3 * 2,
            "seconds": 7.0,
            "failures": {"refused": 1, "timeout": 2},
        },
    }
    assert (metered.calls, metered.prompt_tokens, metered.completion_tokens) == (6, 15, 9)


def test_it_stands_for_its_model() -> None:
    metered = Metered(Clockwork())
    assert (metered.name, metered.digest) == ("clockwork", "abc")
    assert (metered.batch_invariant, metered.reads_words) == (True, False)


def test_other_errors_are_not_counted_as_answers() -> None:
    class Broken(Clockwork):
        async def complete(self, prompt: Prompt) -> Completion:
            raise RuntimeError("a bug")

    metered = Metered(Broken())
    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(metered.complete(prompt("draft")))
    assert metered.calls == 0
