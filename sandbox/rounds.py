"""Plays rounds: deals questions, runs all interactions of a round at once, remembers, writes, knows when to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from agents.errors import TooManyFailures
from agents.observers import DIMENSIONS, BatchObserver, LLMObserver
from agents.records import OK, Answer, Rating
from sandbox.interaction import Interaction, Question, Step, call_outcomes, interact
from sandbox.lines import RATING_DIGITS
from sandbox.plateau import reached
from sandbox.questions import deal
from sandbox.tasks import running
from sandbox.transcript import Writer
from sandbox.world import World

# Interactions of a world that are played at once. With six calls each that is more than a server computes together;
# others would only wait there, and take memory and time here (docs/performance.md).
AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Protocol:
    """How rounds are played and when they end. Settings of `simulate`, under the same names.

    `shared` rounds are those of a parent, which say nothing of this run's plateau.
    """

    seed: int
    rounds: int
    share: int
    raters: int
    revisions: int
    max_failures: float
    until_plateau: bool = False
    plateau_gain: float = 0.1
    plateau_patience: int = 2
    shared: int = 0


@dataclass(frozen=True, slots=True)
class Society:
    """All that a run needs: the world, what it talks about and who rates. The first of `scorers` gives the scores."""

    world: World
    questions: tuple[Question, ...]
    probes: tuple[Question, ...]
    observers: tuple[LLMObserver, ...]
    batch_observers: tuple[BatchObserver, ...]
    scorer: str
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class Lesson:
    """What an agent remembers of a round: the question and its own final answer."""

    agent: int
    question: str
    answer: str


def lessons(interactions: Iterable[Interaction]) -> Iterator[Lesson]:
    """What the agents learn from `interactions`, in their order. A failed answer leaves nothing to remember."""
    for interaction in interactions:
        if interaction.final.text is not None:
            yield Lesson(interaction.agent, interaction.question.text, interaction.final.text)


def remember(world: World, learned: Iterable[Lesson]) -> None:
    """Put each lesson into its agent's memory."""
    for lesson in learned:
        world.people[lesson.agent].remember(lesson.question, lesson.answer)


async def play_rounds(
    society: Society,
    writer: Writer,
    played: Sequence[dict[str, Any]],
    begun: Sequence[Interaction],
    on_interaction: Callable[[Interaction], None],
    on_round: Callable[[dict[str, Any]], None],
) -> None:
    """Play on after the rounds whose summaries are `played`, until the last round or the plateau.

    `begun` are the first agents' interactions of the round after those, which stand in the transcript already: they
    count as if they had been played now. The others are written as they become final, in agent order; only what is
    learnt from them stays in memory. Raises TooManyFailures as soon as the round can't end within the quota.
    """
    summaries = list(played)
    protocol = society.protocol
    expected = calls_a_round(society)
    while (stopped := stop_reason([s["probe"] for s in summaries], protocol)) is None:
        round = len(summaries) + 1
        tally = Tally(society.scorer, frozenset(probe.id for probe in society.probes))
        learned: list[Lesson] = []
        async with aclosing(written_round(society, writer, round, begun, on_interaction)) as finals:
            async for final in finals:
                learned.extend(lessons(final))
                for interaction in final:
                    tally.add(interaction)
                    require_few_failures(summaries, tally.failures, max(expected, tally.calls), protocol.max_failures)
        require_few_failures(summaries, tally.failures, tally.calls, protocol.max_failures)
        remember(society.world, learned)
        summary = {"round": round, **tally.summary()}
        writer.round(summary)
        summaries.append(summary)
        begun = ()
        on_round(summary)
    writer.end(rounds=len(summaries), stopped=stopped)


def require_few_failures(played: Sequence[dict[str, Any]], failures: int, calls: int, most: float) -> None:
    """Raises TooManyFailures where `failures` of a round's `calls`, with those of the rounds before, are too many."""
    calls += sum(summary["calls"] for summary in played)
    failures += sum(summary["failures"] for summary in played)
    if failures > most * calls:
        raise TooManyFailures(
            f"{failures} of {calls} calls failed, more than --max-failures {most:g} allows; "
            f"round {len(played) + 1} did not end: mend the cause and play it again with --resume"
        )


def stop_reason(probe_scores: Sequence[float | None], protocol: Protocol) -> str | None:
    """Why to stop after the rounds with these probe scores: "rounds", "plateau", or None to go on."""
    if len(probe_scores) >= protocol.rounds:
        return "rounds"
    gain, patience = protocol.plateau_gain, protocol.plateau_patience
    own = probe_scores[protocol.shared :]
    return "plateau" if protocol.until_plateau and reached(own, gain=gain, patience=patience) else None


async def written_round(
    society: Society,
    writer: Writer,
    round: int,
    begun: Sequence[Interaction],
    on_interaction: Callable[[Interaction], None],
) -> AsyncGenerator[Sequence[Interaction], None]:
    """The interactions of a round in agent order: those `begun`, which are written, then the others as they are."""
    yield begun
    async with aclosing(play_round(society, round, on_interaction, first=len(begun))) as finals:
        async for final in finals:
            writer.interactions(final)
            yield final


async def play_round(
    society: Society, round: int, on_interaction: Callable[[Interaction], None], *, first: int = 0
) -> AsyncGenerator[list[Interaction], None]:
    """The interactions of a round, fully rated, in agent order from the agent `first` on: as many at a time as are
    final.

    All are played at once (of very many, AT_ONCE), and nothing in them depends on the order of completion.
    `on_interaction` is told of each as it ends.
    """
    world, protocol = society.world, society.protocol
    questions = deal(
        society.questions,
        [agent.stance for agent in world.people],
        seed=protocol.seed,
        round=round,
        share=protocol.share,
        probes=society.probes,
    )

    gate = asyncio.Semaphore(AT_ONCE)

    async def one(index: int) -> Interaction:
        async with gate:
            peers = world.raters(round, index, protocol.raters)
            interaction = await interact(
                round, world.people[index], questions[index], peers, society.observers, revisions=protocol.revisions
            )
        on_interaction(interaction)
        return interaction

    async with running(one(index) for index in range(first, len(world.people))) as tasks:
        while tasks:
            await asyncio.wait([tasks[0]])
            final = []
            while tasks and tasks[0].done():
                final.append(tasks.popleft().result())
            yield await rated(society.batch_observers, final)


async def rated(observers: Sequence[BatchObserver], interactions: list[Interaction]) -> list[Interaction]:
    """The interactions with the ratings of these observers, who work in another thread: the calls go on meanwhile."""
    for observer in observers:
        interactions = await asyncio.to_thread(rate_all, observer, interactions)
    return interactions


def rate_all(observer: BatchObserver, interactions: Sequence[Interaction]) -> list[Interaction]:
    """The interactions with this observer's ratings of every answer added, computed in one batch."""
    pairs = [(i.question.text, answer.text) for i in interactions for answer in i.answers if answer.text is not None]
    ratings = iter(observer.rate_all(pairs))

    def add(answer: Answer, given: dict[str, Rating]) -> dict[str, Rating]:
        return given if answer.text is None else {**given, observer.name: next(ratings)}

    rated = []
    for i in interactions:
        before = add(i.draft, i.before)
        steps = tuple(Step(step.feedback, step.revision, add(step.revision, step.after)) for step in i.steps)
        rated.append(replace(i, before=before, steps=steps))
    return rated


def calls_a_round(society: Society) -> int:
    """How many calls a round makes where none fails."""
    protocol, world = society.protocol, society.world
    observed = sum(2 if observer.reading == "scale" else 1 for observer in society.observers)
    agents = len(world.people)
    reviews = sum(min(protocol.raters, len(world.neighbours(agent))) for agent in range(agents))
    return agents * (1 + observed) + protocol.revisions * (reviews + agents * (1 + observed))


@dataclass(slots=True)
class Tally:
    """Counts a round for its line: calls, failures, and the ratings of the scoring observer.

    Ratings count with the digits that the transcript keeps, so that interactions read from it count alike.
    """

    scorer: str
    probes: frozenset[str]
    interactions: int = 0
    calls: int = 0
    failures: int = 0
    _means: dict[str, dict[str, list[float | None]]] = field(
        default_factory=lambda: {name: {"before": [], "after": []} for name in DIMENSIONS}
    )
    _probe: list[float | None] = field(default_factory=list)

    def add(self, interaction: Interaction) -> None:
        """Count an interaction."""
        outcomes = list(call_outcomes(interaction))
        self.interactions += 1
        self.calls += len(outcomes)
        self.failures += sum(outcome != OK for outcome in outcomes)
        after = interaction.final_ratings if interaction.steps else {}
        for when, ratings in (("before", interaction.before), ("after", after)):
            if rating := ratings.get(self.scorer):
                self._means["alignment"][when].append(_stored(rating.alignment))
                self._means["engagement"][when].append(_stored(rating.engagement))
        if interaction.question.id in self.probes and interaction.final_ratings:
            self._probe.append(_product(interaction.final_ratings[self.scorer]))

    def summary(self) -> dict[str, Any]:
        """The fields of a round's line: counts, mean ratings, and the score of the probe questions."""
        means = {name: {when: _mean(values) for when, values in both.items()} for name, both in self._means.items()}
        counts = {"interactions": self.interactions, "calls": self.calls, "failures": self.failures}
        return {**counts, **means, "probe": _mean(self._probe)}


def _product(rating: Rating) -> float | None:
    alignment, engagement = _stored(rating.alignment), _stored(rating.engagement)
    return None if alignment is None or engagement is None else alignment * engagement


def _stored(value: float | None) -> float | None:
    return None if value is None else round(value, RATING_DIGITS)


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return round(fmean(present), 4) if present else None
