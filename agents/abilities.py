"""Finds out once what a server does besides chatting. Fields are probed for their effect: many servers ignore some."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from agents.chat_completions import Abilities
from agents.endpoint import Endpoint, Fault

USER = {"role": "user", "content": "Name an animal and say why you like it."}
SHORT = {"role": "system", "content": "Answer in verse."}
LONG = {"role": "system", "content": "Answer in verse, with a river, a mountain and a town in every line of it."}
BEGUN = {"role": "assistant", "content": "The animal is a"}
TOPS = (20, 5)  # how many top log-probabilities a server gives at most: OpenAI and vLLM 20, some 5
WORDS = [5, 6]  # any two tokens
ATTEMPTS = 3  # a fault that passes must not cost the run an ability

Probe = Callable[[Endpoint, str], Awaitable[bool]]


async def abilities(endpoint: Endpoint, model: str) -> Abilities:
    """What `endpoint` does for `model`. Raises Fault where it can't chat, or does not answer."""
    await endpoint.call(_chat(model))
    forced, words, seeds, system, *tops = await asyncio.gather(
        *(_able(probe, endpoint, model) for probe in (_forces, _reads_words, _seeds, _system)),
        *(_able(partial(_tells, top=top), endpoint, model) for top in TOPS),
    )
    top = next((top for top, told in zip(TOPS, tops, strict=True) if told), 0)
    return Abilities(forced=forced, words=forced and words, top=top, seeds=seeds, system=system)


async def _able(probe: Probe, endpoint: Endpoint, model: str) -> bool:
    """Whether a probe succeeds. A server says no by 4xx, or by 5xx, nonsense or no effect again and again."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            if await probe(endpoint, model):
                return True
        except Fault as fault:
            if not fault.passing:
                return False
            if attempt == ATTEMPTS and fault.outcome not in ("failed", "invalid"):
                raise
    return False


def _chat(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [USER], "max_tokens": 1, **fields}


async def _forces(endpoint: Endpoint, model: str) -> bool:
    """Whether a last turn can be left open: it takes fewer tokens than one that is closed and followed by another."""
    chat = _chat(model, messages=[USER, BEGUN])
    left_open = await endpoint.call({**chat, "continue_final_message": True, "add_generation_prompt": False})
    return 0 < _prompt_tokens(left_open) < _prompt_tokens(await endpoint.call(chat))


async def _reads_words(endpoint: Endpoint, model: str) -> bool:
    """Whether tokens named by id come back with their log-probabilities, and words can be turned into ids."""
    asked = {"logprobs": True, "logprob_token_ids": WORDS, "return_tokens_as_token_ids": True}
    told = _likeliest(await endpoint.call(_chat(model, **asked)))
    if not {f"token_id:{number}" for number in WORDS} <= set(told):
        return False
    ids = await endpoint.ask("/tokenize", {"model": model, "prompt": "animal"})
    return isinstance(ids, Mapping) and bool(ids.get("tokens"))


async def _tells(endpoint: Endpoint, model: str, top: int) -> bool:
    """Whether it tells that many of the likeliest tokens."""
    return bool(_likeliest(await endpoint.call(_chat(model, logprobs=True, top_logprobs=top))))


async def _seeds(endpoint: Endpoint, model: str) -> bool:
    """Whether a seed brings the same words again, at a temperature where other words would come."""
    body = _chat(model, max_tokens=24, temperature=1.5, seed=7)
    first, again = [_text(await endpoint.call(body)) for _ in range(2)]
    return bool(first) and first == again


async def _system(endpoint: Endpoint, model: str) -> bool:
    """Whether a system message is taken and not left out: where tokens are counted, a longer one makes more of them.

    (Not whether one makes more than none: a template may put its own where there is none.)
    """
    short, long = [await endpoint.call(_chat(model, messages=[system, USER])) for system in (SHORT, LONG)]
    if not _prompt_tokens(short):
        return _text(short) is not None
    return _prompt_tokens(short) < _prompt_tokens(long)


def _prompt_tokens(reply: Any) -> int:
    try:
        return int(reply["usage"]["prompt_tokens"])
    except (KeyError, TypeError, ValueError):
        return 0


def _likeliest(reply: Any) -> list[str]:
    """The likeliest tokens at the first place."""
    try:
        return [str(entry["token"]) for entry in reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]]
    except (KeyError, IndexError, TypeError):
        return []


def _text(reply: Any) -> str | None:
    try:
        text = reply["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return None
    return text if isinstance(text, str) else None
