"""Two runs paired: differences of ratings, agreement of observers, and what the answers are like besides.

An embedding observer can be flattered by repeated value words, so length, diversity and copying stand beside ratings.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from agents.errors import BadInput
from agents.rating import Dimension
from sandbox.agreement import agreements, ratings_of
from sandbox.compare.curves import Course, answers_of
from sandbox.compare.diversity import Change, Vectors, changes, diversity
from sandbox.compare.pairing import (
    INTERACTION,
    Difference,
    PairedBy,
    Pairing,
    Run,
    differences_of,
    pair,
    part_of,
    rating_differences,
)
from sandbox.texts import Part, Texts, answered, describe
from sandbox.transcript import differences


@dataclass(frozen=True, slots=True)
class Side:
    """One run of a comparison: from draft to final answer, agreement of its observers, its paired answers, its course.

    `agreement` is Krippendorff's alpha (ordinal, ratings rounded to 1…7) over all answers, by dimension; None where
    there is one observer or one value only.
    """

    name: str
    revised: list[Difference]
    agreement: dict[Dimension, float | None]
    texts: Texts
    course: Course


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs, paired. `differing` names what else than the models their headers differ in.

    `joined` counts the pairs: of answers, or of questions (`paired_by`). `unmatched` has no partner, which a failed
    answer is not. The rounds up to `shared_rounds` are left out, since one run branched off the other there.
    `diversity` is that of the paired answers.
    """

    part: Part
    paired_by: PairedBy
    shared_rounds: int
    first: Side
    second: Side
    ratings: list[Difference]
    diversity: list[Change]
    joined: int
    unmatched: tuple[int, int]
    differing: dict[str, str]


def compared(
    runs: tuple[Run, Run],
    courses: tuple[Course, Course],
    vectors: Vectors | None,
    part: Part,
    observers: Sequence[str] | None = None,
) -> Comparison:
    """The `part` of two runs, each with its course, by the observers that both have (or those named).

    Raises BadInput where the runs have no answered question or no observer in common.
    """
    first, second = runs
    names = common_observers(first, second, observers)
    pairing = pair(first, second, part)
    answers = [part_of(run.answers, part) for run in runs]
    measured = [diversity(answers_of(pairing.of(rows)), vectors) for rows in answers]
    return Comparison(
        part=part,
        paired_by=pairing.by,
        shared_rounds=pairing.shared_rounds,
        first=_side(first, courses[0], names, part, pairing),
        second=_side(second, courses[1], names, part, pairing),
        ratings=rating_differences(answers[0], answers[1], pairing, names),
        diversity=changes(measured[0], measured[1]),
        joined=len(pairing.joined),
        unmatched=pairing.unmatched,
        differing=_differing(first, second),
    )


def common_observers(first: Run, second: Run, wanted: Sequence[str] | None = None) -> list[str]:
    """The observers that both runs have, or those of them that are wanted; raises BadInput where there is none."""
    common = [name for name in first.observers if name in second.observers]
    missing = [name for name in wanted or [] if name not in common]
    if missing or not common:
        raise BadInput(
            f"{first.name} was rated by {', '.join(first.observers)} and {second.name} by "
            f"{', '.join(second.observers)}: {'no ' + missing[0] if missing else 'nothing'} in common to compare by"
        )
    return list(wanted or common)


def to_json(comparison: Comparison) -> str:
    """All numbers of a comparison, with what each interval says in words."""

    def told(rows: Sequence[Difference] | Sequence[Change]) -> list[dict[str, object]]:
        return [{**asdict(row), "words": row.words} for row in rows]

    body = asdict(comparison)
    body["ratings"], body["diversity"] = told(comparison.ratings), told(comparison.diversity)
    for name, side in (("first", comparison.first), ("second", comparison.second)):
        body[name]["revised"] = told(side.revised)
        body[name]["course"]["change"] = told(side.course.change)
    return json.dumps(body, ensure_ascii=False, allow_nan=False, indent=1)


def _side(run: Run, went: Course, observers: Sequence[str], part: Part, pairing: Pairing) -> Side:
    drafts, finals = part_of(run.answers, "draft"), part_of(run.answers, "final")
    revised = finals[finals["step"] > 0]
    both = drafts.merge(revised, on=[*INTERACTION, "observer"], suffixes=("_first", "_second"))
    everything = (said for world in run.worlds for said in world.interactions())
    paired = (said for n, world in enumerate(run.worlds) for said in world.interactions() if pairing.has(n, said))
    return Side(
        name=run.name,
        revised=differences_of(both, observers),
        agreement=agreements(ratings_of(everything, run.observers)),
        texts=describe(answered(paired, part, run.worlds[0].rule)),
        course=went,
    )


def _differing(first: Run, second: Run) -> dict[str, str]:
    """What the headers differ in; of lists (hundreds of questions) how many values do."""
    found = differences(first.worlds[0].header, second.worlds[0].header)
    among = Counter(key.split("[")[0] for key in found)
    told: dict[str, str] = {}
    for key, values in found.items():
        inside = key.split("[")[0]
        if not inside.startswith(("models", "parent")):
            told |= {key: values} if among[inside] == 1 else {inside: f"{among[inside]} values differ"}
    return told
