"""The header of a transcript: everything that shapes the words of a run, so that it can be played again from it alone.

The fields are described in docs/transcript.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agents import prompts
from agents.rating import Zero
from agents.social_agent import Speech
from sandbox.chain import storable
from sandbox.interaction import Question
from sandbox.stances import Pair, Stances

if TYPE_CHECKING:
    from sandbox.cast import Cast
    from sandbox.config import SimulateOptions
    from sandbox.plan import Plan

Header = Mapping[str, Any]


def header_of(plan: Plan, cast: Cast) -> dict[str, Any]:
    """The header of a world that `cast` plays after `plan`, as a file keeps it."""
    options = plan.options
    header: dict[str, Any] = storable(
        {
            "seed": options.seed,
            "world": {
                "size": options.size,
                "radius": options.radius or options.size // 2,
                "share": options.share,
                "raters": options.raters,
                "revisions": options.revisions,
                "memories": options.memories,
                "memory_limit": options.memory_limit,
                "forget": options.forget,
            },
            "stances": {
                "layout": plan.stances.layout,
                "pairs": {name: list(map(_plain, pairs)) for name, pairs in plan.stances.pairs.items()},
            },
            "questions": [asdict(question) for question in plan.questions],
            "probes": [asdict(question) for question in plan.probes],
            "speech": _speech(options, cast, plan.rule),
            "prompts": prompts.fingerprint(),
            "encoder": cast.encoder.digest,
            "models": [
                _speaker(share.part, cast.models[share.name].name, cast.models[share.name].digest, zero)
                for share in cast.shares
                for zero in [cast.peer_zeros[share.name]]
            ],
            "observers": [observer.describe() for observer in cast.observers],
            "parent": plan.parent,
        }
    )
    return header


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


def _plain(pair: Pair) -> dict[str, str]:
    return {"question": pair.question, "response": pair.response}


def _speech(options: SimulateOptions, cast: Cast, rule: str) -> dict[str, Any]:
    return {
        "max_tokens": options.max_tokens,
        "feedback_tokens": options.feedback_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "recall": options.recall,
        "recall_threshold": options.recall_threshold,
        "reading": cast.reading,
        "rule": rule,
    }


def _speaker(part: float, name: str, digest: str, zero: Zero | None) -> dict[str, Any]:
    """A speaker; `zero` is its z₀ as a peer."""
    return {"name": name, "digest": digest, "part": part, "zero": None if zero is None else asdict(zero)}
