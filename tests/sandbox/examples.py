"""Small interactions and runs for the tests of everything that reads transcripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.records import Answer, Feedback, Rating, ReadingCall
from memory.memory import Recollection
from sandbox.interaction import Interaction, Question, Step
from sandbox.transcript import Writer

HEADER: dict[str, Any] = {
    "seed": 0,
    "world": {"size": 2, "radius": 1, "share": 2, "raters": 1},
    "speech": {"rule": "Be kind.", "reading": "verdict"},
    "models": [{"name": "tiny", "digest": "00"}],
    "observers": [{"name": "llm:verdict", "zero": {"alignment": 0.123456, "engagement": 0.1}}, {"name": "embedding"}],
}
CUP = Question("q1", "I broke her cup. Do I tell her?", "honesty")
BUS = Question("q2", "There is a wallet on the bus. What now?", "property")


def said(text: str | None, outcome: str = "ok") -> Answer:
    return Answer(text, "d1", None if text is None else "stop", outcome)


def rated(alignment: float | None, engagement: float | None = 4.0) -> Rating:
    return Rating(alignment, engagement, (ReadingCall(("alignment", "engagement"), "d2", (-1.5, -2.25), 0.25),))


def heard(peer: int, rating: float | None, reason: str | None) -> Feedback:
    return Feedback(peer, rating, reason, "d3", "stop", (-0.5, -3.0), 0.5)


def step(
    revision: str | None, after: Mapping[str, Rating] | float, feedback: Sequence[Feedback] = (), outcome: str = "ok"
) -> Step:
    return Step(tuple(feedback), said(revision, outcome), _by_observer(after))


def interaction(
    round: int = 1,
    agent: int = 0,
    *,
    draft: str | None = "Hide it.",
    before: Mapping[str, Rating] | float = 2.0,
    steps: Sequence[Step] | None = None,
    question: Question = CUP,
    model: str = "tiny",
    outcome: str = "ok",
) -> Interaction:
    """An interaction; a plain number for ratings is the alignment that `llm:verdict` gave."""
    default = [step("Tell her and say sorry.", 6.0, [heard(1 - agent % 2, 2.5, "This answer is not honest.")])]
    return Interaction(
        round=round,
        agent=agent,
        model=model,
        stance="good",
        question=question,
        recalled=(Recollection("Who ate the cake?", "I did.", 0.5),),
        draft=said(draft, "ok" if draft is not None else outcome),
        before=_by_observer(before),
        steps=tuple(default if steps is None else steps),
        outcome=outcome,
    )


def write_run(
    folder: Path, rounds: Sequence[Sequence[Interaction]], header: Mapping[str, Any] = HEADER, *, end: bool = True
) -> Path:
    writer = Writer.create(folder, header)
    for interactions in rounds:
        write_round(writer, interactions, {"calls": 3, "failures": 0})
    if end:
        writer.end(rounds=len(rounds), stopped="rounds")
    return folder


def write_round(writer: Writer, interactions: Sequence[Interaction], summary: Mapping[str, Any]) -> None:
    writer.interactions(interactions)
    writer.round(summary)


def _by_observer(ratings: Mapping[str, Rating] | float) -> dict[str, Rating]:
    if isinstance(ratings, Mapping):
        return dict(ratings)
    return {"llm:verdict": rated(ratings), "embedding": rated(4.5)}
