"""What goes over the wire of an OpenAI-compatible server: a prompt as a request body, and a reply as a completion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents import prompts
from agents.canonical import valid_text
from agents.chat import SETTINGS, folded
from agents.language_model import Completion, Finish, Prompt
from agents.rating import SCALE_LABELS, label_rating

Body = dict[str, Any]
Position = Mapping[str, Any]  # one generated token of a reply, with the likeliest ones at its place

ABSENT = -9999.0  # the log-probability of what stands in no list, as vLLM writes minus infinity
UNFORCED_TOKENS = 8  # room for what a reply may say before its number, where it can't be forced to start with it
PLAIN_SAMPLING = {"top_k": 0, "repetition_penalty": 1.0}  # vLLM takes what is left out from the model's own settings
FINISHES: dict[str, Finish] = {"stop": "stop", "length": "length"}


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server does besides chatting: the fields that it honours, not merely accepts.

    `forced`: a reply can be made to start with given words. `words`: log-probabilities of any tokens by id.
    `top`: how many of the likeliest tokens it tells, 0 where it tells none. `seeds`: equal seeds give equal text.
    `system`: the chat template takes a system message.
    """

    forced: bool
    words: bool
    top: int
    seeds: bool
    system: bool

    def __str__(self) -> str:
        told = f"{self.top} top log-probabilities" if self.top else "no log-probabilities"
        return " · ".join(
            [
                "words by id" if self.words else told,
                "forced starts" if self.forced else "no forced starts",
                "seeds" if self.seeds else "no seeds",
                *([] if self.system else ["no system messages"]),
            ]
        )


@dataclass(frozen=True, slots=True)
class WordIds:
    """The token that each choice of a prompt stands for, behind `start`, the forced start as it must be sent."""

    start: str
    ids: tuple[int, ...]


class Unreadable(Exception):
    """A reply that is not what was asked for."""


class Withheld(Exception):
    """A reply that the server's filter kept back."""


def body_of(prompt: Prompt, model: str, can: Abilities, word_ids: WordIds | None) -> Body:
    """The request of `prompt`. `word_ids` are those of its choices, where the server reads words."""
    body: Body = {
        "model": model,
        "messages": _turns(prompt, can),
        "max_tokens": _room(prompt, can),
        "temperature": prompt.temperature,
        "top_p": prompt.top_p,
    }
    if can.seeds:
        body["seed"] = prompt.seed
    if can.forced:
        body |= PLAIN_SAMPLING
        body["chat_template_kwargs"] = SETTINGS
    if prompt.start:
        body |= _started(body["messages"], word_ids.start if word_ids else prompt.start, can)
    if prompt.choices:
        body |= _asking(can, word_ids)
    return body


def tokenize_body(prompt: Prompt, model: str, can: Abilities, reply: str) -> Body:
    """The request for the tokens of `prompt` with a reply that is still going on (vLLM's /tokenize)."""
    return {"model": model, "chat_template_kwargs": SETTINGS, **_started(_turns(prompt, can), reply, can)}


def completion_of(prompt: Prompt, reply: Any, can: Abilities, word_ids: WordIds | None, retries: int) -> Completion:
    """The completion in a server's reply. Raises Unreadable, and Withheld where a filter kept it back."""
    try:
        choice = reply["choices"][0]
        text = choice["message"]["content"] or ""
        reason = str(choice["finish_reason"])
    except (KeyError, IndexError, TypeError) as error:
        raise Unreadable(f"no choice with a message in the reply ({error!r})") from error
    if reason == "content_filter":
        raise Withheld("the server's filter kept the reply back")
    if not isinstance(text, str) or reason not in FINISHES:
        raise Unreadable(f"a reply of {type(text).__name__} that ended by {reason!r}")
    usage = reply.get("usage")
    written = _count(usage, "completion_tokens")
    if written > _room(prompt, can):
        raise Unreadable(f"{written} tokens where at most {_room(prompt, can)} were asked for")
    start = word_ids.start if word_ids else prompt.start
    return Completion(
        text=valid_text(start + text if can.forced else text),
        finish=FINISHES[reason],
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=written,
        choice_logprobs=_choice_logprobs(prompt, choice, can, word_ids) if prompt.choices and text else None,
        cached_tokens=_count(usage, "prompt_tokens_details", "cached_tokens"),
        retries=retries,
    )


def _room(prompt: Prompt, can: Abilities) -> int:
    return prompt.max_tokens + (UNFORCED_TOKENS if prompt.start and not can.forced else 0)


def _turns(prompt: Prompt, can: Abilities) -> list[Body]:
    messages = prompt.messages if can.system else folded(prompt.messages)
    return [{"role": message.role, "content": message.content} for message in messages]


def _started(messages: list[Body], start: str, can: Abilities) -> Body:
    """The fields that make the reply start with `start`; a server that can't is asked to in words."""
    if can.forced:
        turns = [*messages, {"role": "assistant", "content": start}]
        return {"messages": turns, "continue_final_message": True, "add_generation_prompt": False}
    *before, last = messages
    asked = f"{last['content']}\n\n{prompts.begin_with(start)}"
    return {"messages": [*before, {**last, "content": asked}]}


def _asking(can: Abilities, word_ids: WordIds | None) -> Body:
    if word_ids is not None:
        return {"logprobs": True, "logprob_token_ids": list(word_ids.ids), "return_tokens_as_token_ids": True}
    return {"logprobs": True, "top_logprobs": can.top} if can.top else {}


def _choice_logprobs(
    prompt: Prompt, choice: Mapping[str, Any], can: Abilities, word_ids: WordIds | None
) -> tuple[float, ...] | None:
    """The log-probabilities of the prompt's choices; None where the server does not tell them. Raises Unreadable."""
    if word_ids is None and (not can.top or prompt.choices != SCALE_LABELS):
        return None  # a word that is not among the likeliest tokens may have any probability
    try:
        positions = choice["logprobs"]["content"]
        if word_ids is not None:
            told = {entry["token"]: entry["logprob"] for entry in positions[0]["top_logprobs"]}
            values = [told[f"token_id:{number}"] for number in word_ids.ids]
        else:
            values = _labels(_labelled(positions, choice["message"]["content"], can))
        if any(not value <= 1e-3 for value in values):  # NaN too; rounding may lift a sum above 0
            raise Unreadable(f"log-probabilities that are none: {values}")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise Unreadable(f"no log-probabilities of what was asked for ({error!r})") from error
    logprobs = tuple(max(ABSENT, float(value)) for value in values)
    return logprobs if any(value > ABSENT for value in logprobs) else None


def _labelled(positions: Sequence[Position], text: str, can: Abilities) -> Position | None:
    """The position that a label stands at, or would: behind a forced start, else where the reply gives its rating."""
    if can.forced:
        return positions[1] if len(positions) > 1 and not positions[0]["token"].strip() else positions[0]
    if label_rating(text) is None:
        return None  # a number that it may hold is not the rating
    return next((place for place in positions if place["token"].strip() in SCALE_LABELS), None)


def _labels(position: Position | None) -> list[float]:
    """The log-probabilities of the labels 1…7, with or without a space before them; ABSENT where not told."""
    tokens = {entry["token"]: entry["logprob"] for entry in (position["top_logprobs"] if position else ())}
    told: dict[str, float] = {}
    for token, value in tokens.items():
        label = token.strip()
        told[label] = _added(told[label], value) if label in told else value
    return [told.get(label, ABSENT) for label in SCALE_LABELS]


def _added(first: float, second: float) -> float:
    """log(exp(first) + exp(second))."""
    high, low = max(first, second), min(first, second)
    return high + math.log1p(math.exp(low - high))


def _count(usage: Any, *path: str) -> int:
    """A number of the reply's usage; 0 where the server does not tell it."""
    for name in path:
        usage = usage.get(name) if isinstance(usage, Mapping) else None
    return usage if isinstance(usage, int) else 0
