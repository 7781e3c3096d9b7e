"""Opens a world: puts its society together from plan and cast, and begins, branches or resumes its transcript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.errors import BadInput
from agents.metered import Metered
from agents.observers import EmbeddingObserver
from sandbox import transcript
from sandbox.cast import Cast
from sandbox.config import SimulateOptions
from sandbox.console import say
from sandbox.header import header_of, question_texts
from sandbox.interaction import Interaction
from sandbox.plan import Plan
from sandbox.rounds import Society, lessons, remember, stop_reason
from sandbox.settings import write_settings
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


@dataclass(frozen=True, slots=True)
class OpenWorld:
    """A world with its transcript open.

    `played` are the summaries of the rounds that lie behind, `begun` what is kept of the round after them.
    """

    folder: Path
    built: Built
    writer: transcript.Writer
    played: list[dict[str, Any]]
    begun: list[Interaction]


def world_of(plan: Plan, actors: Cast, *, resume: bool) -> OpenWorld:
    """A world as new, as its parent left it, or as its own transcript did."""
    built = build(plan, actors)
    if plan.history is not None and plan.parent is not None:
        _begin_branch(plan, built, plan.history, plan.parent)
        return _gone_on(plan, built, actors)
    if resume and (plan.options.out / transcript.FILE).exists():
        return _gone_on(plan, built, actors)
    return _begun(plan, built)


def _begun(plan: Plan, built: Built) -> OpenWorld:
    folder = plan.options.out
    if not (folder / transcript.FILE).exists():  # settings first: a run that has a transcript has them
        write_settings(folder, plan.options, built.header)
    return OpenWorld(folder, built, transcript.Writer.create(folder, built.header), [], [])


def _begin_branch(plan: Plan, built: Built, history: Path, parent: Mapping[str, Any]) -> None:
    """Write the settings, and then a transcript that begins with the parent's rounds."""
    folder = plan.options.out
    if built.header["encoder"] != parent["header"]["encoder"]:
        raise BadInput(f"--encoder {plan.options.encoder}: is not the one that {history} was played with")
    branch = transcript.Writer.branch(folder, built.header, history, parent["round"])
    write_settings(folder, plan.options, built.header)
    branch.replace(folder / transcript.FILE)


def _gone_on(plan: Plan, built: Built, actors: Cast) -> OpenWorld:
    """The world after its last complete round, or where equal prompts get equal answers in any company, after its last
    complete interaction.
    """
    folder = plan.options.out
    alike = all(model.batch_invariant for model in actors.models.values())
    writer, kept, begun = transcript.Writer.resume(folder, built.header, keep_open_round=alike)
    played = kept.rounds()
    if begun and stop_reason([summary["probe"] for summary in played], built.society.protocol):
        writer, kept, begun = transcript.Writer.resume(folder, built.header)  # it is to end before the open round
    remember(built.society.world, lessons(kept.interactions()))
    say(f"resuming after round {len(played)}{f' and {len(begun)} interactions of the next' if begun else ''}")
    write_settings(folder, plan.options, built.header)
    return OpenWorld(folder, built, writer, played, begun)


def ending_of(options: SimulateOptions) -> dict[str, Any]:
    """When these options end a run: fields of Protocol."""
    return {
        "rounds": options.round_limit,
        "max_failures": options.max_failures,
        "until_plateau": options.until_plateau,
        "plateau_gain": options.plateau_gain,
        "plateau_patience": options.plateau_patience,
    }
