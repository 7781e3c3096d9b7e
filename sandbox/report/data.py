"""What the report page shows, as plain data: the page's script only draws it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any, get_args

from agents.observers import DIMENSIONS
from agents.rating import Dimension
from agents.records import OK, Answer, Rating
from sandbox.agreement import agreements
from sandbox.interaction import Interaction
from sandbox.texts import Part, answered, describe
from sandbox.transcript import Transcript

PARTS: tuple[Part, ...] = get_args(Part)


def report_data(transcript: Transcript) -> dict[str, Any]:
    """All that the page needs: facts, curves by round, failures, and every interaction."""
    interactions = list(transcript.interactions())
    observers = transcript.observers
    return {
        "name": transcript.name,
        "facts": facts(transcript, interactions),
        "rule": transcript.rule,
        "size": transcript.header["world"]["size"],
        "observers": observers,
        "rounds": sorted({said.round for said in interactions}),
        "curves": {name: curves(interactions, name) for name in observers},
        "failures": failures(interactions),
        "texts": {part: asdict(describe(answered(interactions, part, transcript.rule))) for part in PARTS},
        "interactions": [interaction_data(said, observers) for said in interactions],
    }


def facts(transcript: Transcript, interactions: Sequence[Interaction]) -> list[tuple[str, str]]:
    """What kind of run this is, as (term, value) pairs."""
    header, end = transcript.header, transcript.end
    size = header["world"]["size"]
    stopped = ", not finished" if end is None else ", stopped at a plateau" if end["stopped"] == "plateau" else ""
    questions = {said.question.text for said in interactions}
    stances = Counter(said.stance for said in {said.agent: said for said in interactions}.values())
    scorer = transcript.observers[0]
    agreed = agreements(interactions, transcript.observers)
    return [
        ("Grid", f"{size} × {size} agents"),
        ("Rounds", f"{len(transcript.rounds())}{stopped}"),
        ("Interactions", f"{len(interactions)} about {len(questions)} questions"),
        ("Stances", ", ".join(f"{count} {stance}" for stance, count in sorted(stances.items()))),
        ("Models", ", ".join(model["name"] for model in header["models"])),
        ("Observers", ", ".join(transcript.observers)),
        ("Seed", str(header["seed"])),
        *(
            (f"{dimension.title()}, first drafts → last answers", _rise(curves(interactions, scorer)[dimension]))
            for dimension in DIMENSIONS
        ),
        ("Observers' agreement (alpha)", ", ".join(f"{name} {_number(alpha)}" for name, alpha in agreed.items())),
        ("Failures", str(sum(row["count"] for row in failures(interactions)))),
    ]


def curves(interactions: Sequence[Interaction], observer: str) -> dict[str, dict[str, list[float | None]]]:
    """Mean ratings of drafts and final answers, {dimension: {"before", "after": [round]}}; None where none is rated."""
    rounds: dict[int, list[Interaction]] = {}
    for said in interactions:
        rounds.setdefault(said.round, []).append(said)
    ordered = [rounds[number] for number in sorted(rounds)]
    return {
        dimension: {
            "before": [_mean((said.before for said in played), observer, dimension) for played in ordered],
            "after": [_mean((said.final_ratings for said in played), observer, dimension) for played in ordered],
        }
        for dimension in DIMENSIONS
    }


def failures(interactions: Sequence[Interaction]) -> list[dict[str, Any]]:
    """How often which part of an interaction ended in which outcome, the most frequent first."""
    counts = Counter(failed for said in interactions for failed in _failed(said))
    return [{"part": part, "outcome": outcome, "count": count} for (part, outcome), count in counts.most_common()]


def interaction_data(said: Interaction, observers: Sequence[str]) -> dict[str, Any]:
    """One interaction; ratings are [alignment, engagement] pairs in the order of `observers`."""

    def answer(answer: Answer, ratings: dict[str, Rating]) -> dict[str, Any]:
        pairs = [ratings.get(name, Rating(None, None)) for name in observers]
        return {
            "text": answer.text,
            "outcome": answer.outcome,
            "finished": answer.finish == "stop",
            "ratings": [[pair.alignment, pair.engagement] for pair in pairs],
        }

    return {
        "round": said.round,
        "agent": said.agent,
        "model": said.model,
        "stance": said.stance,
        "outcome": said.outcome,
        "question": said.question.text,
        "topic": said.question.topic,
        "recalled": [asdict(memory) for memory in said.recalled],
        "answers": [answer(said.draft, said.before), *(answer(step.revision, step.after) for step in said.steps)],
        "feedback": [
            [
                {"peer": given.peer, "rating": given.rating, "reason": given.reason, "outcome": given.outcome}
                for given in step.feedback
            ]
            for step in said.steps
        ],
    }


def _mean(ratings: Iterable[dict[str, Rating]], observer: str, dimension: Dimension) -> float | None:
    values = [getattr(by_observer[observer], dimension) for by_observer in ratings if observer in by_observer]
    present = [value for value in values if value is not None]
    return round(fmean(present), 4) if present else None


def _failed(said: Interaction) -> Iterator[tuple[str, str]]:
    parts = [("draft", said.draft.outcome)]
    for step in said.steps:
        parts += [("feedback", given.outcome) for given in step.feedback]
        parts.append(("revision", step.revision.outcome))
    for ratings in (said.before, *(step.after for step in said.steps)):
        parts += [(f"rating by {name}", rating.outcome) for name, rating in ratings.items()]
    return ((part, outcome) for part, outcome in parts if outcome != OK)


def _rise(curve: dict[str, list[float | None]]) -> str:
    """From the first drafts to the last final answers."""
    if not curve["before"]:
        return "–"
    return " → ".join(map(_number, (curve["before"][0], curve["after"][-1])))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
