"""Finds out once what a server does besides chatting. Fields are probed for their effect: many servers ignore some."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from agents.chat_completions import Abilities
from agents.endpoint import Endpoint, Fault

USER = {"role": "user", "content": "Name an animal and say why you like it."}
SYSTEM = {"role": "system", "content": "Answer in verse."}
BEGUN = {"role": "assistant", "content": "The animal is a"}
TOPS = (20, 5)  # how many top log-probabilities a server gives at most: OpenAI and vLLM 20, some 5
WORDS = [5, 6]  # any two tokens


async def abilities(endpoint: Endpoint, model: str) -> Abilities:
    """What `endpoint` does for `model`. Raises Fault where it can't chat, or does not answer."""
    await endpoint.call(_chat(model))
    forced, words, top, seeds, system = await asyncio.gather(
        _forces(endpoint, model),
        _reads_words(endpoint, model),
        _top(endpoint, model),
        _seeds(endpoint, model),
        _tried(endpoint, _chat(model, messages=[SYSTEM, USER])),
    )
    return Abilities(forced=forced, words=forced and words, top=top, seeds=seeds, system=system is not None)


def _chat(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [USER], "max_tokens": 1, **fields}


async def _tried(endpoint: Endpoint, body: dict[str, Any]) -> Any:
    """The reply, or None where the server can't do this; it says so by 4xx, 5xx or nonsense."""
    try:
        return await endpoint.call(body)
    except Fault as fault:
        if fault.outcome in ("refused", "failed", "invalid"):
            return None
        raise


async def _forces(endpoint: Endpoint, model: str) -> bool:
    """Whether a last turn can be left open: it takes fewer tokens than one that is closed and followed by another."""
    chat = _chat(model, messages=[USER, BEGUN])
    left_open, closed = await asyncio.gather(
        _tried(endpoint, {**chat, "continue_final_message": True, "add_generation_prompt": False}),
        _tried(endpoint, chat),
    )
    return 0 < _prompt_tokens(left_open) < _prompt_tokens(closed)


async def _reads_words(endpoint: Endpoint, model: str) -> bool:
    """Whether tokens named by id come back with their log-probabilities, and words can be turned into ids."""
    asked = {"logprobs": True, "logprob_token_ids": WORDS, "return_tokens_as_token_ids": True}
    told = {entry["token"] for entry in _likeliest(await _tried(endpoint, _chat(model, **asked)))}
    if not {f"token_id:{number}" for number in WORDS} <= told:
        return False
    try:
        ids = await endpoint.ask("/tokenize", {"model": model, "prompt": "animal"})
    except Fault as fault:
        if fault.outcome in ("refused", "failed", "invalid"):
            return False
        raise
    return isinstance(ids, Mapping) and bool(ids.get("tokens"))


async def _top(endpoint: Endpoint, model: str) -> int:
    for top in TOPS:
        if _likeliest(await _tried(endpoint, _chat(model, logprobs=True, top_logprobs=top))):
            return top
    return 0


async def _seeds(endpoint: Endpoint, model: str) -> bool:
    """Whether a seed brings the same words again, at a temperature where other words would come."""
    body = _chat(model, max_tokens=24, temperature=1.5, seed=7)
    texts = [_text(await _tried(endpoint, body)) for _ in range(2)]
    return texts[0] is not None and texts[0] == texts[1]


def _prompt_tokens(reply: Any) -> int:
    try:
        return int(reply["usage"]["prompt_tokens"])
    except (KeyError, TypeError):
        return 0


def _likeliest(reply: Any) -> list[dict[str, Any]]:
    try:
        return list(reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"])
    except (KeyError, IndexError, TypeError):
        return []


def _text(reply: Any) -> str | None:
    try:
        return str(reply["choices"][0]["message"]["content"])
    except (KeyError, IndexError, TypeError):
        return None
