"""Reads the header of a transcript: all that shapes the words of a run, so that it can be played again from it alone.

The fields are described in docs/transcript.md; build.py makes them, header_fields.py checks them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agents.social_agent import Speech
from sandbox.interaction import Question
from sandbox.stances import Pair, Stances

Header = Mapping[str, Any]


def questions_of(header: Header) -> tuple[Question, ...]:
    """The questions that rotate."""
    return tuple(Question(**question) for question in header["questions"])


def probes_of(header: Header) -> tuple[Question, ...]:
    """The questions that come up in every round."""
    return tuple(Question(**question) for question in header["probes"])


def stances_of(header: Header) -> Stances:
    """What each stance remembers at birth, and where it lives."""
    pairs = {name: tuple(Pair(**pair) for pair in pairs) for name, pairs in header["stances"]["pairs"].items()}
    return Stances(pairs, tuple(header["stances"]["layout"]))


def speech_of(header: Header) -> Speech:
    """How the agents speak."""
    return Speech(seed=header["seed"], **header["speech"])


def generations(header: Header) -> Iterator[tuple[Header, int | None]]:
    """The headers under which a run was played, the oldest first, each with its last round; None for its own.

    A run without a parent has its own only.
    """
    if header["parent"] is not None:
        *older, (nearest, _) = generations(header["parent"]["header"])
        yield from older
        yield nearest, header["parent"]["round"]
    yield header, None


def question_texts(header: Header) -> list[str]:
    """Every question that agents of this run can remember or be asked, in a fixed order."""
    pairs = header["stances"]["pairs"]
    remembered = [pair["question"] for name in sorted(pairs) for pair in pairs[name]]
    asked = [
        question["text"]
        for played_under, _ in generations(header)
        for question in (*played_under["probes"], *played_under["questions"])
    ]
    return [*remembered, *asked]
