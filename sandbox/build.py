"""Builds a world from plan and cast: its header, and the society that this header describes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from agents import prompts
from agents.metered import Metered
from agents.observers import LLMObserver
from agents.rating import Zero
from sandbox.cast import Cast
from sandbox.chain import storable
from sandbox.config import SimulateOptions
from sandbox.header import question_texts
from sandbox.plan import Plan
from sandbox.rounds import Society
from sandbox.society import memories_at_birth, society_of
from sandbox.stances import Pair


@dataclass(frozen=True, slots=True)
class Built:
    """A society as it was born, with its header, and the meters of its models."""

    society: Society
    header: dict[str, Any]
    meters: list[Metered]


def build(plan: Plan, cast: Cast) -> Built:
    """Fill the memories and put the agents on their grid. Each world counts its own calls."""
    header = header_of(plan, cast)
    meters = list(map(Metered, cast.models.values()))
    society = society_of(
        header,
        {(model.name, model.digest): model for model in meters},
        {observer.name: observer for observer in cast.observers if not isinstance(observer, LLMObserver)},
        memories_at_birth(header, cast.table(question_texts(header))),
        ending_of(plan.options),
    )
    return Built(society, header, meters)


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


def ending_of(options: SimulateOptions) -> dict[str, Any]:
    """When these options end a run: fields of Protocol."""
    return {
        "rounds": options.round_limit,
        "max_failures": options.max_failures,
        "until_plateau": options.until_plateau,
        "plateau_gain": options.plateau_gain,
        "plateau_patience": options.plateau_patience,
    }


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
