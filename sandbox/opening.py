"""Opens a world: puts its society together from the plan and the cast, with the header that says what shapes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agents.metered import Metered
from agents.observers import EmbeddingObserver
from sandbox.cast import Cast
from sandbox.config import SimulateOptions
from sandbox.header import header_of, question_texts
from sandbox.plan import Plan
from sandbox.rounds import Society
from sandbox.society import memories_at_birth, society_of


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
        next((observer for observer in cast.observers if isinstance(observer, EmbeddingObserver)), None),
        memories_at_birth(header, cast.table(question_texts(header))),
        ending_of(plan.options),
    )
    return Built(society, header, meters)


def ending_of(options: SimulateOptions) -> dict[str, Any]:
    """When these options end a run: fields of Protocol."""
    return {
        "rounds": options.round_limit,
        "max_failures": options.max_failures,
        "until_plateau": options.until_plateau,
        "plateau_gain": options.plateau_gain,
        "plateau_patience": options.plateau_patience,
    }
