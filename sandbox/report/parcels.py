"""What was said, compressed by round: the page unpacks a parcel when a reader asks for something in it.

A parcel is the base64 text of a zlib stream of a JSON list, an entry an interaction.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from agents.records import Answer, Rating
from sandbox.agreement import UNRATED
from sandbox.interaction import Interaction
from sandbox.report.data import by_round
from sandbox.transcript import Transcript

PARCEL = 500  # interactions at most: a round of 10,000 agents would take seconds to unpack at once


def parcels(transcript: Transcript) -> Iterator[tuple[str, str]]:
    """(name, parcel) in order, one a round of up to PARCEL agents, one round in memory at a time."""
    for played in by_round(transcript):
        for number, start in enumerate(range(0, len(played), PARCEL), start=1):
            some = played[start : start + PARCEL]
            yield f"round-{some[0].round:04}-{number:02}", packed(chain(said, transcript.observers) for said in some)


def packed(chains: Iterable[dict[str, Any]]) -> str:
    """A parcel: letters, digits, `+`, `/` and `=`, whatever the texts are."""
    words = json.dumps(list(chains), ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(words.encode())).decode("ascii")


def chain(said: Interaction, observers: Sequence[str]) -> dict[str, Any]:
    """A revision chain; ratings are [alignment, engagement] pairs in the order of `observers`."""

    def answer(answer: Answer, ratings: dict[str, Rating]) -> dict[str, Any]:
        pairs = [ratings.get(name, UNRATED) for name in observers]
        return {
            "text": answer.text,
            "outcome": answer.outcome,
            "finished": answer.finish == "stop",
            "ratings": [[pair.alignment, pair.engagement] for pair in pairs],
        }

    return {
        "recalled": [asdict(memory) for memory in said.recalled],
        "answers": [answer(said.draft, said.before), *(answer(step.revision, step.after) for step in said.steps)],
        "feedback": [
            [
                {"peer": given.peer, "rating": given.rating, "reason": given.reason, "outcome": given.outcome}
                for given in step.feedback
            ]
            for step in said.steps
        ],
    }
