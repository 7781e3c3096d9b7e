"""One run by itself, round by round: ratings, diversity of the final answers, and when it stopped improving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from pandas import DataFrame

from agents.observers import DIMENSIONS
from agents.rating import Dimension
from sandbox.compare.diversity import MEASURES, Change, Measure, Said, Vectors, changes, diversity
from sandbox.compare.pairing import INTERACTION, Run, part_of
from sandbox.plateau import rounds_to_plateau
from sandbox.texts import Part

Scores: TypeAlias = Literal["probe questions", "final answers"]


@dataclass(frozen=True, slots=True)
class Round:
    """A round: mean ratings by observer, dimension and part, and the diversity of the final answers that have a text.

    None is what there was nothing to measure on.
    """

    round: int
    answers: int
    ratings: dict[str, dict[Dimension, dict[Part, float | None]]]
    diversity: dict[Measure, float | None]

    def rating(self, observer: str, dimension: Dimension, part: Part) -> float | None:
        """A mean rating; None also for an observer that the run does not have."""
        return self.ratings[observer][dimension][part] if observer in self.ratings else None


@dataclass(frozen=True, slots=True)
class Plateau:
    """After how many rounds the run's scores reached a plateau (None: not), and what the scores were taken from."""

    rounds: int | None
    scores: Scores
    gain: float
    patience: int


@dataclass(frozen=True, slots=True)
class Course:
    """How a run went. `change` is that of the diversity from the first round to the last; empty with one round."""

    rounds: list[Round]
    plateau: Plateau
    change: list[Change]


def course(run: Run, vectors: Vectors | None, *, gain: float, patience: int) -> Course:
    """The rounds of a run, the worlds of it taken together; similarity is measured where there are `vectors`."""
    finals = part_of(run.answers, "final")
    numbers = sorted(run.answers["round"].unique().tolist())
    texts = {number: answers_of(finals[finals["round"] == number]) for number in numbers}
    found = {number: diversity(texts[number], vectors) for number in numbers}
    ratings = _ratings(run, finals, numbers)
    return Course(
        rounds=[
            Round(
                number,
                len(texts[number]),
                ratings[number],
                {name: found[number][name].value if name in found[number] else None for name in MEASURES},
            )
            for number in numbers
        ],
        plateau=_plateau(run, finals, numbers, gain, patience),
        change=changes(found[numbers[0]], found[numbers[-1]]) if len(numbers) > 1 else [],
    )


def answers_of(part: DataFrame) -> list[Said]:
    """(question, text) of each answer of one part that has a text."""
    rows = part.drop_duplicates(INTERACTION)[["question", "text"]].dropna()
    return list(rows.itertuples(index=False, name=None))


def _ratings(
    run: Run, finals: DataFrame, numbers: list[int]
) -> dict[int, dict[str, dict[Dimension, dict[Part, float | None]]]]:
    parts: dict[Part, DataFrame] = {"draft": part_of(run.answers, "draft"), "final": finals}
    means = {part: rows.groupby(["round", "observer"])[list(DIMENSIONS)].mean() for part, rows in parts.items()}
    return {
        number: {
            observer: {
                dimension: {part: _number(means[part].at[(number, observer), dimension]) for part in parts}
                for dimension in DIMENSIONS
            }
            for observer in run.observers
        }
        for number in numbers
    }


def _plateau(run: Run, finals: DataFrame, numbers: list[int], gain: float, patience: int) -> Plateau:
    probes = DataFrame([(line["round"], line.get("probe")) for world in run.worlds for line in world.rounds()])
    probes = probes.set_axis(["round", "score"], axis=1).astype({"score": float})
    scored = finals[finals["observer"] == run.observers[0]]
    product = scored.assign(score=scored["alignment"] * scored["engagement"])
    asked = bool(probes["score"].notna().any())
    means = (probes if asked else product).groupby("round")["score"].mean()
    scores = [_number(means.at[number]) for number in numbers]
    return Plateau(
        rounds=rounds_to_plateau(scores, gain=gain, patience=patience),
        scores="probe questions" if asked else "final answers",
        gain=gain,
        patience=patience,
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
