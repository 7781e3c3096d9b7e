"""What the report page shows, as plain data: the page's script only draws it.

Here is what stands in the page at once, small columns by round; what was said comes in parcels (parcels.py).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import count, groupby
from statistics import fmean
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from agents.observers import DIMENSIONS
from agents.rating import Dimension
from agents.records import OK, Rating
from sandbox.agreement import UNRATED, agreements, ratings_of
from sandbox.interaction import Interaction
from sandbox.texts import Part, Wording, answered
from sandbox.transcript import Transcript

Moment = Literal["before", "after"]  # of the revisions: the draft's ratings, or those of the final answer
Name = TypeVar("Name")
Curves = dict[str, dict[Dimension, dict[Moment, list[float | None]]]]

PARTS: tuple[Part, ...] = get_args(Part)
MOMENTS: tuple[Moment, ...] = get_args(Moment)


def report_data(transcript: Transcript) -> dict[str, Any]:
    """Facts, curves by round, failures, and the columns of every round; read with one round in memory at a time."""
    summary = Summary(transcript.observers, transcript.rule)
    for played in by_round(transcript):
        summary.add(played)
    return {
        "name": transcript.name,
        "facts": facts(transcript, summary),
        "rule": transcript.rule,
        "size": transcript.header["world"]["size"],
        "observers": transcript.observers,
        **summary.data(),
    }


def by_round(transcript: Transcript) -> Iterator[list[Interaction]]:
    """The interactions of each complete round."""
    for _, played in groupby(transcript.interactions(), key=lambda said: said.round):
        yield list(played)


class Numbering(defaultdict[Name, int]):
    """Numbers from 0 for whatever is looked up, in the order of first sight: columns hold these in place of names."""

    def __init__(self) -> None:
        super().__init__(count().__next__)


class Summary:
    """What stays of the rounds added so far: numbers, and no text but the questions."""

    def __init__(self, observers: Sequence[str], rule: str) -> None:
        self.observers, self.rule = observers, rule
        self.models, self.stances, self.outcomes = Numbering[str](), Numbering[str](), Numbering[str]()
        self.questions = Numbering[tuple[str, str]]()  # text, topic
        self.stance_of: dict[int, str] = {}  # by agent
        self.rounds: list[dict[str, Any]] = []
        self.curves: Curves = {
            name: {dimension: {moment: [] for moment in MOMENTS} for dimension in DIMENSIONS} for name in observers
        }
        self.failed: Counter[tuple[str, str]] = Counter()
        self.wording = {part: Wording() for part in PARTS}
        self._ratings: list[NDArray[np.float64]] = []  # a round: [answer, observer, dimension]

    def add(self, played: Sequence[Interaction]) -> None:
        """Add the interactions of one more round."""
        self.rounds.append(self._columns(played))
        self.stance_of |= {said.agent: said.stance for said in played}
        self.failed.update(failure for said in played for failure in _failures(said))
        for name, by_dimension in self.curves.items():
            for dimension, curve in by_dimension.items():
                for moment in MOMENTS:
                    curve[moment].append(_mean((_rated(said, moment) for said in played), name, dimension))
        for part, wording in self.wording.items():
            wording.add(answered(played, part, self.rule))
        self._ratings.append(ratings_of(played, self.observers))

    def data(self) -> dict[str, Any]:
        """The summary as the page takes it."""
        return {
            "models": list(self.models),
            "stances": list(self.stances),
            "outcomes": list(self.outcomes),
            "questions": [{"text": text, "topic": topic} for text, topic in self.questions],
            "rounds": self.rounds,
            "curves": self.curves,
            "failures": self.failures(),
            "texts": {part: asdict(wording.measures()) for part, wording in self.wording.items()},
        }

    def failures(self) -> list[dict[str, Any]]:
        """How often which part of an interaction ended in which outcome, the most frequent first."""
        return [{"part": part, "outcome": outcome, "count": n} for (part, outcome), n in self.failed.most_common()]

    def agreements(self) -> dict[Dimension, float | None]:
        """How far observers agree on every draft and revision, by dimension."""
        return agreements(np.concatenate([ratings_of([], self.observers), *self._ratings]))

    def _columns(self, played: Sequence[Interaction]) -> dict[str, Any]:
        """A round as columns, an entry an interaction; `ratings[moment][observer][dimension]` is one, too."""
        return {
            "round": played[0].round,
            "agents": [said.agent for said in played],
            "models": [self.models[said.model] for said in played],
            "stances": [self.stances[said.stance] for said in played],
            "questions": [self.questions[said.question.text, said.question.topic] for said in played],
            "outcomes": [self.outcomes[said.outcome] for said in played],
            "peers": [[given.peer for step in said.steps for given in step.feedback] for said in played],
            "ratings": {moment: self._rating_columns(played, moment) for moment in MOMENTS},
        }

    def _rating_columns(self, played: Sequence[Interaction], moment: Moment) -> list[list[list[float | None]]]:
        return [
            [
                [_short(getattr(_rated(said, moment).get(name, UNRATED), dimension)) for said in played]
                for dimension in DIMENSIONS
            ]
            for name in self.observers
        ]


def facts(transcript: Transcript, summary: Summary) -> list[tuple[str, str]]:
    """What kind of run this is, as (term, value) pairs."""
    header, end, parent = transcript.header, transcript.end, transcript.header.get("parent")
    size = header["world"]["size"]
    stopped = ", not finished" if end is None else ", stopped at a plateau" if end["stopped"] == "plateau" else ""
    interactions = sum(len(played["agents"]) for played in summary.rounds)
    questions = len({text for text, _ in summary.questions})
    stances = Counter(summary.stance_of.values())
    return [
        *([("Branched from", f"{parent['run']} after round {parent['round']}")] if parent else []),
        ("Grid", f"{size} × {size} agents"),
        ("Rounds", f"{len(summary.rounds)}{stopped}"),
        ("Interactions", f"{interactions} about {questions} question{'s' * (questions != 1)}"),
        ("Stances", ", ".join(f"{number} {stance}" for stance, number in sorted(stances.items()))),
        ("Models", ", ".join(model["name"] for model in header["models"])),
        ("Observers", ", ".join(transcript.observers)),
        ("Seed", str(header["seed"])),
        *(
            (f"{dimension.title()}, first drafts → last answers", _rise(summary.curves, transcript, dimension))
            for dimension in DIMENSIONS
        ),
        (
            "Observers' agreement (alpha)",
            ", ".join(f"{dimension} {_number(alpha)}" for dimension, alpha in summary.agreements().items()),
        ),
        ("Failures", str(summary.failed.total())),
    ]


def _rated(said: Interaction, moment: Moment) -> Mapping[str, Rating]:
    return said.before if moment == "before" else said.final_ratings


def _mean(ratings: Iterable[Mapping[str, Rating]], observer: str, dimension: Dimension) -> float | None:
    values = [getattr(by_observer[observer], dimension) for by_observer in ratings if observer in by_observer]
    present = [value for value in values if value is not None]
    return round(fmean(present), 4) if present else None


def _failures(said: Interaction) -> Iterator[tuple[str, str]]:
    parts = [("draft", said.draft.outcome)]
    for step in said.steps:
        parts += [("feedback", given.outcome) for given in step.feedback]
        parts.append(("revision", step.revision.outcome))
    for ratings in (said.before, *(step.after for step in said.steps)):
        parts += [(f"rating by {name}", rating.outcome) for name, rating in ratings.items()]
    return ((part, outcome) for part, outcome in parts if outcome != OK)


def _rise(curves: Curves, transcript: Transcript, dimension: Dimension) -> str:
    """From the first drafts to the last final answers, by the observer that scores come from."""
    curve = curves[transcript.observers[0]][dimension]
    if not curve["before"]:
        return "–"
    return " → ".join(map(_number, (curve["before"][0], curve["after"][-1])))


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
