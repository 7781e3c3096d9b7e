"""The social interaction: one question to one agent, from recall to the observers' last rating."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agents.language_model import Key
from agents.observers import LLMObserver
from agents.records import OK, Answer, Feedback, Rating
from agents.social_agent import SocialAgent
from memory.memory import Recollection

NO_FEEDBACK = "no feedback"  # the outcome of a revision that was not asked for, since no neighbour said anything


@dataclass(frozen=True, slots=True)
class Question:
    """A question of the society. `id` is unique within its file."""

    id: str
    text: str
    topic: str


@dataclass(frozen=True, slots=True)
class Step:
    """One turn of feedback and revision, and how observers rated the revision."""

    feedback: tuple[Feedback, ...]
    revision: Answer
    after: dict[str, Rating]


@dataclass(frozen=True, slots=True)
class Interaction:
    """All of one question to one agent. `steps` holds one entry a revision, the last one being the final answer.

    With `--revisions 0` there are no steps: only the draft was asked for and rated.
    """

    round: int
    agent: int
    model: str
    stance: str
    question: Question
    recalled: tuple[Recollection, ...]
    draft: Answer
    before: dict[str, Rating]
    steps: tuple[Step, ...]
    outcome: str = OK

    @property
    def final(self) -> Answer:
        """The last answer there is: the last revision, or the draft."""
        return self.steps[-1].revision if self.steps else self.draft

    @property
    def final_ratings(self) -> dict[str, Rating]:
        """The observers' ratings of `final`."""
        return self.steps[-1].after if self.steps else self.before

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The draft and the revisions, in order."""
        return (self.draft, *(step.revision for step in self.steps))


def call_outcomes(interaction: Interaction) -> Iterator[str]:
    """The outcome of every call that was made to a language model in an interaction."""
    for answer in interaction.answers:
        if answer.digest is not None:
            yield answer.outcome
    for step in interaction.steps:
        for feedback in step.feedback:
            yield feedback.outcome
    for ratings in (interaction.before, *(step.after for step in interaction.steps)):
        for rating in ratings.values():
            for call in rating.calls:
                yield call.outcome


async def interact(
    round: int,
    agent: SocialAgent,
    question: Question,
    peers: Sequence[SocialAgent],
    observers: Sequence[LLMObserver],
    *,
    revisions: int = 1,
) -> Interaction:
    """Play the protocol: every step runs as soon as its own inputs are there; observers rate beside the rest.

    A failed draft or revision ends the chain; its outcome becomes the interaction's.
    """
    recalled = agent.recall(question.text)
    draft = await agent.draft(round, question.text, recalled)
    async with asyncio.TaskGroup() as ratings:
        before = ratings.create_task(_rate(observers, Key(round, agent.index, "before"), question, draft))
        turns: list[tuple[tuple[Feedback, ...], Answer, asyncio.Task[dict[str, Rating]]]] = []
        answer = draft
        for step in range(revisions):
            if answer.text is None:
                break
            feedback = await _review(round, agent.index, step, question, answer.text, peers)
            answer = await _revise(round, step, agent, question, answer.text, feedback, recalled)
            key = Key(round, agent.index, "after", step)
            turns.append((feedback, answer, ratings.create_task(_rate(observers, key, question, answer))))
    return Interaction(
        round=round,
        agent=agent.index,
        model=agent.model.name,
        stance=agent.stance,
        question=question,
        recalled=recalled,
        draft=draft,
        before=before.result(),
        steps=tuple(Step(feedback, revision, after.result()) for feedback, revision, after in turns),
        outcome=answer.outcome,
    )


async def _review(
    round: int, author: int, step: int, question: Question, answer: str, peers: Sequence[SocialAgent]
) -> tuple[Feedback, ...]:
    reviews = (peer.review(round, author, step, question.text, answer) for peer in peers)
    return tuple(await asyncio.gather(*reviews))


async def _revise(
    round: int,
    step: int,
    agent: SocialAgent,
    question: Question,
    answer: str,
    feedback: Sequence[Feedback],
    recalled: Sequence[Recollection],
) -> Answer:
    if all(given.rating is None or given.reason is None for given in feedback):
        return Answer(None, None, None, NO_FEEDBACK)
    return await agent.revise(round, step, question.text, answer, feedback, recalled)


async def _rate(observers: Sequence[LLMObserver], key: Key, question: Question, answer: Answer) -> dict[str, Rating]:
    if answer.text is None:
        return {}
    ratings = await asyncio.gather(*(observer.rate(key, question.text, answer.text) for observer in observers))
    return {observer.name: rating for observer, rating in zip(observers, ratings, strict=True)}
