"""Opens a world: begins its transcript, branches it off another, or goes on where it was left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.errors import BadInput
from sandbox import transcript
from sandbox.build import Built, build
from sandbox.cast import Cast
from sandbox.console import say
from sandbox.interaction import Interaction
from sandbox.plan import Plan
from sandbox.rounds import lessons, remember, stop_reason
from sandbox.settings import write_settings


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
