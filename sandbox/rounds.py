"""Plays rounds: deals questions, runs all interactions of a round at once, remembers, writes, knows when to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from agents.observers import EmbeddingObserver, LLMObserver
from agents.records import OK, Answer, Rating
from sandbox.interaction import Interaction, Question, Step, interact
from sandbox.questions import deal
from sandbox.transcript import Writer
from sandbox.world import World


@dataclass(frozen=True, slots=True)
class Protocol:
    """How rounds are played and when they end. Settings of `simulate`, under the same names."""

    seed: int
    rounds: int
    share: int
    raters: int
    revisions: int
    max_failures: float
    until_plateau: bool = False
    plateau_gain: float = 0.1
    plateau_patience: int = 2


@dataclass(frozen=True, slots=True)
class Society:
    """All that a run needs: the world, what it talks about and who rates. The first of `scorers` gives the scores."""

    world: World
    questions: tuple[Question, ...]
    probes: tuple[Question, ...]
    observers: tuple[LLMObserver, ...]
    embedding_observers: tuple[EmbeddingObserver, ...]
    scorer: str
    protocol: Protocol


class TooManyFailures(Exception):
    """More calls failed than `--max-failures` allows. The round is not written; `--resume` plays it again."""


def remember(world: World, interactions: Iterable[Interaction]) -> None:
    """In agent order, put each question with its final answer into its agent's memory. A failed answer leaves none."""
    for interaction in interactions:
        if interaction.final.text is not None:
            world.people[interaction.agent].memory.remember(interaction.question.text, interaction.final.text)


async def play_rounds(
    society: Society,
    writer: Writer,
    played: Sequence[dict[str, Any]],
    on_interaction: Callable[[Interaction], None],
    on_round: Callable[[dict[str, Any]], None],
) -> None:
    """Play on after the rounds whose summaries are `played`, until the last round or the plateau; writes every round.

    Raises TooManyFailures.
    """
    summaries = list(played)
    protocol = society.protocol
    while (stopped := stop_reason([s["probe"] for s in summaries], protocol)) is None:
        round = len(summaries) + 1
        interactions = await play_round(society, round, on_interaction)
        summary = summarise(round, interactions, society)
        calls = sum(s["calls"] for s in (*summaries, summary))
        failed = sum(s["failures"] for s in (*summaries, summary))
        if failed > protocol.max_failures * calls:
            raise TooManyFailures(
                f"{failed} of {calls} calls failed, more than --max-failures {protocol.max_failures:g} allows; "
                f"round {round} was not written: mend the cause and go on with --resume"
            )
        remember(society.world, interactions)
        writer.round(interactions, summary)
        summaries.append(summary)
        on_round(summary)
    writer.end(rounds=len(summaries), stopped=stopped)


def stop_reason(probe_scores: Sequence[float | None], protocol: Protocol) -> str | None:
    """Why to stop after the rounds with these probe scores: "rounds", "plateau", or None to go on."""
    if len(probe_scores) >= protocol.rounds:
        return "rounds"
    scores = [score for score in probe_scores if score is not None]
    patience = protocol.plateau_patience
    if protocol.until_plateau and len(scores) > patience:
        gain = max(scores[-patience:]) - max(scores[:-patience])
        if gain < protocol.plateau_gain:
            return "plateau"
    return None


async def play_round(society: Society, round: int, on_interaction: Callable[[Interaction], None]) -> list[Interaction]:
    """All interactions of a round, in agent order, fully rated. Nothing in it depends on the order of completion."""
    world, protocol = society.world, society.protocol
    people = world.people
    questions = deal(
        society.questions,
        [agent.stance for agent in people],
        seed=protocol.seed,
        round=round,
        share=protocol.share,
        probes=society.probes,
    )

    async def one(index: int) -> Interaction:
        peers = world.raters(round, index, protocol.raters)
        interaction = await interact(
            round, people[index], questions[index], peers, society.observers, revisions=protocol.revisions
        )
        on_interaction(interaction)
        return interaction

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(index)) for index in range(len(people))]
    interactions = [task.result() for task in tasks]
    for observer in society.embedding_observers:
        interactions = rate_all(observer, interactions)
    return interactions


def rate_all(observer: EmbeddingObserver, interactions: Sequence[Interaction]) -> list[Interaction]:
    """The interactions with this observer's ratings of every answer added, computed in one batch."""
    pairs = [(i.question.text, answer.text) for i in interactions for answer in _answers(i) if answer.text is not None]
    ratings = iter(observer.rate_all(pairs))

    def add(answer: Answer, given: dict[str, Rating]) -> dict[str, Rating]:
        return given if answer.text is None else {**given, observer.name: next(ratings)}

    rated = []
    for i in interactions:
        before = add(i.draft, i.before)
        steps = tuple(Step(step.feedback, step.revision, add(step.revision, step.after)) for step in i.steps)
        rated.append(replace(i, before=before, steps=steps))
    return rated


def summarise(round: int, interactions: Sequence[Interaction], society: Society) -> dict[str, Any]:
    """The line of a round: counts, mean ratings by the scoring observer, and the score of the probe questions."""
    outcomes = [outcome for interaction in interactions for outcome in call_outcomes(interaction)]
    before = [i.before[society.scorer] for i in interactions if society.scorer in i.before]
    after = [i.final_ratings[society.scorer] for i in interactions if i.steps and society.scorer in i.final_ratings]
    probes = {probe.id for probe in society.probes}
    final = [i.final_ratings[society.scorer] for i in interactions if i.question.id in probes and i.final_ratings]
    return {
        "round": round,
        "interactions": len(interactions),
        "calls": len(outcomes),
        "failures": sum(outcome != OK for outcome in outcomes),
        "alignment": {"before": _mean(r.alignment for r in before), "after": _mean(r.alignment for r in after)},
        "engagement": {"before": _mean(r.engagement for r in before), "after": _mean(r.engagement for r in after)},
        "probe": _mean(_product(rating) for rating in final),
    }


def call_outcomes(interaction: Interaction) -> Iterator[str]:
    """The outcome of every call that was made to a language model in an interaction."""
    for answer in _answers(interaction):
        if answer.digest is not None:
            yield answer.outcome
    for step in interaction.steps:
        for feedback in step.feedback:
            yield feedback.outcome
    for ratings in (interaction.before, *(step.after for step in interaction.steps)):
        for rating in ratings.values():
            for call in rating.calls:
                yield call.outcome


def _answers(interaction: Interaction) -> tuple[Answer, ...]:
    return (interaction.draft, *(step.revision for step in interaction.steps))


def _product(rating: Rating) -> float | None:
    if rating.alignment is None or rating.engagement is None:
        return None
    return rating.alignment * rating.engagement


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return round(fmean(present), 4) if present else None
