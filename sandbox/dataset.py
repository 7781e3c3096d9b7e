"""From transcripts to training rows: groups of rated responses to one query, split by question."""

from __future__ import annotations

from dataclasses import dataclass

from agents.language_model import Message


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a response was said: the run's name, its round and agent, and which part ("draft", "revision", …)."""

    run: str
    round: int
    agent: int
    part: str


@dataclass(frozen=True, slots=True)
class Group:
    """One query with several rated responses; the tuples run parallel.

    `query` is the chat before the response, without memory and rule. `finished` says whether a response ended by
    itself: only then is its end of turn trained. `question` is the text that train/test splits go by.
    """

    query: tuple[Message, ...]
    responses: tuple[str, ...]
    scores: tuple[float, ...]
    finished: tuple[bool, ...]
    models: tuple[str, ...]
    question: str
    origins: tuple[Origin, ...] = ()
