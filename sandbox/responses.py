"""What was said in a run and how it was rated: the responses that groups are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from agents.errors import BadInput
from agents.language_model import Message
from agents.prompts import STARTS, draft_messages, review_messages, revise_messages
from agents.rating import HIGHEST, LOWEST, NEUTRAL, ReadingName
from agents.records import Answer, Feedback, Rating
from sandbox.interaction import Interaction
from sandbox.transcript import Transcript, given_feedback

GroupType = Literal["imitation", "self_critic", "realignment"]
ScoreBy = Literal["alignment", "engagement", "product"]
CriticScore = Literal["agreement", "peer"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a response was said: the run's name, its round and agent, and which part ("draft", "revision", …).

    Round and agent name the transcript's line; a peer's reason has the part "feedback:PEER".
    """

    run: str
    round: int
    agent: int
    part: str


@dataclass(frozen=True, slots=True)
class Scoring:
    """How responses are scored; `observer` None takes each run's first one.

    `score_by`: `product` is √(alignment · engagement): it orders as the product does, stays within 1–7, and keeps 4 as
    its neutral point. `critic_score`: what a peer's reason is worth. `agreement`: 7 − |peer's rating − observer's
    alignment rating| of the same answer, which is 1 for opposite ends of the scale and 7 for the same rating; `peer`:
    the peer's own rating (the published form, which teaches flattery).
    """

    score_by: ScoreBy = "alignment"
    observer: str | None = None
    critic_score: CriticScore = "agreement"


@dataclass(frozen=True, slots=True)
class Response:
    """A response to a query, or the reason (`flaw`) why it is none."""

    query: tuple[Message, ...]
    question: str
    text: str
    score: float
    finished: bool
    model: str
    origin: Origin
    flaw: str = ""
    topic: str = ""


def responses_of(transcript: Transcript, type: GroupType, scoring: Scoring) -> Iterator[Response]:
    """Every response of one type, good for training or not. Raises BadInput where the run has no such observer."""
    return _RESPONSES[type](transcript, scoring)


def _imitation(transcript: Transcript, scoring: Scoring) -> Iterator[Response]:
    """Question → every draft and revision."""
    observer = _observer(transcript, scoring)
    for said in transcript.interactions():
        query = draft_messages(said.question.text)
        yield _answered(transcript, said, query, said.draft, _score(said.before, observer, scoring), "draft")
        for step in said.steps:
            score = _score(step.after, observer, scoring)
            yield _answered(transcript, said, query, step.revision, score, "revision")


def _realignment(transcript: Transcript, scoring: Scoring) -> Iterator[Response]:
    """Question, answer and feedback → a revision that is better than the answer and than neutral."""
    observer = _observer(transcript, scoring)
    for said in transcript.interactions():
        answer, before = said.draft, _score(said.before, observer, scoring)
        for step in said.steps:
            after = _score(step.after, observer, scoring)
            query = revise_messages(said.question.text, answer.text or "", step.feedback)
            flaw = "missing rating" if before is None else "" if _risen(before, after) else "not better"
            yield _answered(transcript, said, query, step.revision, after, "revision", flaw)
            answer, before = step.revision, after


def _self_critic(transcript: Transcript, scoring: Scoring) -> Iterator[Response]:
    """Question and answer → each peer's reason."""
    observer = _observer(transcript, scoring)
    speakers = {said.agent: said.model for said in transcript.interactions()}
    for said in transcript.interactions():
        ratings = [said.before, *(step.after for step in said.steps)]
        for number, answer, feedback in given_feedback(said):
            rating = ratings[number - 1].get(observer)
            reason, score = feedback.reason or "", _critic_score(feedback, rating, scoring)
            reading: ReadingName = "scale" if reason.startswith(STARTS["scale"]) else "verdict"
            yield Response(
                review_messages(said.question.text, answer.text or "", reading=reading),
                said.question.text,
                reason,
                score or 0.0,
                feedback.finish == "stop",
                speakers.get(feedback.peer, ""),  # who never answered is not named in the transcript
                Origin(transcript.name, said.round, said.agent, f"feedback:{feedback.peer}"),
                "failed answer" if not reason else "missing rating" if score is None else "",
                said.question.topic,
            )


_RESPONSES: dict[GroupType, Callable[[Transcript, Scoring], Iterator[Response]]] = {
    "imitation": _imitation,
    "self_critic": _self_critic,
    "realignment": _realignment,
}


def _answered(
    transcript: Transcript,
    said: Interaction,
    query: tuple[Message, ...],
    answer: Answer,
    score: float | None,
    part: str,
    flaw: str = "",
) -> Response:
    missing = "failed answer" if answer.text is None else "missing rating" if score is None else ""
    return Response(
        query,
        said.question.text,
        answer.text or "",
        score or 0.0,
        answer.finish == "stop",
        said.model,
        Origin(transcript.name, said.round, said.agent, part),
        missing or flaw,
        said.question.topic,
    )


def _observer(transcript: Transcript, scoring: Scoring) -> str:
    names = transcript.observers
    if scoring.observer is not None and scoring.observer not in names:
        raise BadInput(f"{transcript.path} has no observer {scoring.observer!r}: choose from {', '.join(names)}")
    return scoring.observer or names[0]


def _score(ratings: dict[str, Rating], observer: str, scoring: Scoring) -> float | None:
    rating = ratings.get(observer)
    return None if rating is None else score_of(rating, scoring.score_by)


def score_of(rating: Rating, score_by: ScoreBy) -> float | None:
    """The score in a rating; None where what it is made of is missing."""
    if score_by == "alignment":
        return rating.alignment
    if score_by == "engagement":
        return rating.engagement
    if rating.alignment is None or rating.engagement is None:
        return None
    return math.sqrt(rating.alignment * rating.engagement)


def _critic_score(feedback: Feedback, observed: Rating | None, scoring: Scoring) -> float | None:
    if feedback.rating is None or scoring.critic_score == "peer":
        return feedback.rating
    if observed is None or observed.alignment is None:
        return None
    return max(LOWEST, HIGHEST - abs(feedback.rating - observed.alignment))


def _risen(before: float, after: float | None) -> bool:
    return after is not None and after > before and after > NEUTRAL
