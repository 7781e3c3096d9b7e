"""Runs side by side: paired differences of ratings, agreement of observers, and what the answers are like besides.

An embedding observer can be flattered by repeated value words, so length, diversity and copying stand beside ratings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas
from numpy.typing import NDArray
from pandas import DataFrame
from rich.table import Table
from scipy.stats import bootstrap

from agents.errors import BadInput
from agents.observers import DIMENSIONS
from agents.rating import Dimension
from sandbox.agreement import agreements
from sandbox.console import table_console
from sandbox.interaction import Interaction
from sandbox.texts import Part, Texts, answered, describe
from sandbox.transcript import Transcript, differences, read_worlds

RESAMPLES = 10_000
JOIN = ["world", "round", "agent", "question"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference of mean ratings, `second` − `first`, with its 95 % interval.

    Every question weighs the same, whatever the number of its pairs; the interval (percentile bootstrap) resamples
    questions. It is None where there are fewer than two questions.
    """

    observer: str
    dimension: str
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    pairs: int
    questions: int

    @property
    def words(self) -> str:
        """What the interval says."""
        if self.low is None or self.high is None:
            return "one question only: no interval"
        if self.low <= 0 <= self.high:
            return "interval includes zero: no difference shown"
        return "higher" if self.difference > 0 else "lower"


@dataclass(frozen=True, slots=True)
class Side:
    """One run by itself: from draft to final answer, agreement of its observers, its answers.

    `agreement` is Krippendorff's alpha (ordinal, ratings rounded to 1…7) over all answers, by dimension; None where
    there is one observer or one value only.
    """

    name: str
    revised: list[Difference]
    agreement: dict[Dimension, float | None]
    texts: Texts


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs, joined on question and agent. `differing` names what else than the models their headers differ in."""

    part: Part
    first: Side
    second: Side
    ratings: list[Difference]
    joined: int
    unmatched: tuple[int, int]
    differing: dict[str, str]


def main(runs: Sequence[Path], part: Part, json_out: Path | None) -> int:
    """`replay compare`: print the first run against each of the others, and write the numbers where asked to."""
    if len(runs) < 2:
        raise BadInput(f"{len(runs)} run to compare: name two or more, the baseline first")
    comparisons = [compare(runs[0], other, part=part) for other in runs[1:]]
    console = table_console()
    for comparison in comparisons:
        console.print(table(comparison))
        if comparison.first.revised or comparison.second.revised:
            console.print(revision_table(comparison))
    if json_out is not None:
        json_out.write_text(f"[{', '.join(map(to_json, comparisons))}]\n", encoding="utf-8")
    return 0


def compare(a: Path, b: Path, *, observers: Sequence[str] | None = None, part: Part = "draft") -> Comparison:
    """Compare the `part` of two runs of equal seed, for the observers that both have (or those named).

    Raises BadInput where the runs cannot be joined, with what differs.
    """
    first, second = read_worlds(a), read_worlds(b)
    differing = differences(first[0].header, second[0].header)
    names = _common_observers(first[0], second[0], observers)
    answers = [_answers(run) for run in (first, second)]
    keys = [_keys(frame) for frame in answers]
    joined = keys[0] & keys[1]
    if "seed" in differing or not joined:
        told = "; ".join(f"{key} {values}" for key, values in differing.items()) or "their questions"
        raise BadInput(f"{a} and {b} cannot be joined on question and agent, they differ in: {told}")
    final = [_part_of(frame, part) for frame in answers]
    both = final[0].merge(final[1], on=[*JOIN, "observer"], suffixes=("_first", "_second"))
    return Comparison(
        part=part,
        first=_side(first, answers[0], names, part, joined),
        second=_side(second, answers[1], names, part, joined),
        ratings=_differences(both, names),
        joined=len(joined),
        unmatched=(len(keys[0] - joined), len(keys[1] - joined)),
        differing={key: values for key, values in differing.items() if not key.startswith("models")},
    )


def paired_difference(
    observer: str, dimension: str, questions: Sequence[str], first: Sequence[float], second: Sequence[float]
) -> Difference:
    """The difference of parallel ratings, one entry a pair; at least one."""
    means = DataFrame({"question": questions, "first": first, "second": second}).groupby("question").mean()
    change = (means["second"] - means["first"]).to_numpy()
    low, high = _interval(change) if len(change) > 1 else (None, None)
    return Difference(
        observer=observer,
        dimension=dimension,
        first=float(means["first"].mean()),
        second=float(means["second"].mean()),
        difference=float(change.mean()),
        low=low,
        high=high,
        pairs=len(questions),
        questions=len(means),
    )


def table(comparison: Comparison) -> Table:
    """The comparison for people: ratings, then agreement and texts."""
    first, second = comparison.first, comparison.second
    shown = Table(title=f"{comparison.part}s of {first.name} and {second.name}", caption=_caption(comparison))
    shown.add_column("")
    for column in (first.name, second.name, "difference", "95 % interval", "pairs", "questions"):
        shown.add_column(column, justify="right")
    shown.add_column("")
    for row in comparison.ratings:
        shown.add_row(*_cells(row))
    shown.add_section()
    for dimension in DIMENSIONS:
        values = (first.agreement[dimension], second.agreement[dimension])
        shown.add_row(f"observers' agreement on {dimension} (alpha)", *map(_number, values))
    for name, told in (("words", "words an answer"), ("distinct_2", "distinct word pairs"), ("copied", "copied")):
        shown.add_row(told, *(_number(getattr(side.texts, name)) for side in (first, second)))
    return shown


def revision_table(comparison: Comparison) -> Table:
    """What revising did to the ratings within each run."""
    shown = Table(title="from draft to final answer")
    shown.add_column("")
    for column in ("draft", "final", "difference", "95 % interval", "pairs", "questions"):
        shown.add_column(column, justify="right")
    shown.add_column("")
    for side in (comparison.first, comparison.second):
        for row in side.revised:
            name, *cells = _cells(row)
            shown.add_row(f"{side.name}: {name}", *cells)
    return shown


def to_json(comparison: Comparison) -> str:
    """All numbers of a comparison, with what each interval says in words."""

    def told(row: Difference) -> dict[str, object]:
        return {**asdict(row), "words": row.words}

    body = asdict(comparison)
    body["ratings"] = [told(row) for row in comparison.ratings]
    for name, side in (("first", comparison.first), ("second", comparison.second)):
        body[name]["revised"] = [told(row) for row in side.revised]
    return json.dumps(body, ensure_ascii=False, allow_nan=False, indent=1)


def _common_observers(first: Transcript, second: Transcript, wanted: Sequence[str] | None) -> list[str]:
    common = [name for name in first.observers if name in second.observers]
    missing = [name for name in wanted or [] if name not in common]
    if missing or not common:
        raise BadInput(
            f"{first.name} was rated by {', '.join(first.observers)} and {second.name} by "
            f"{', '.join(second.observers)}: {'no ' + missing[0] if missing else 'nothing'} in common to compare by"
        )
    return list(wanted or common)


def _answers(worlds: Sequence[Transcript]) -> DataFrame:
    frames = [world.to_pandas().assign(world=number) for number, world in enumerate(worlds)]
    return pandas.concat(frames, ignore_index=True)


def _keys(frame: DataFrame) -> set[tuple[object, ...]]:
    return set(frame[JOIN].itertuples(index=False, name=None))


def _part_of(frame: DataFrame, part: Part) -> DataFrame:
    if part == "draft":
        return frame[frame["step"] == 0]
    return frame[frame["step"] == frame.groupby(JOIN)["step"].transform("max")]


def _differences(both: DataFrame, observers: Sequence[str]) -> list[Difference]:
    """One difference an observer and dimension; `both` has the columns DIMENSION_first and DIMENSION_second."""
    rows = []
    for observer in observers:
        for dimension in DIMENSIONS:
            columns = ["question", f"{dimension}_first", f"{dimension}_second"]
            pairs = both.loc[both["observer"] == observer, columns].dropna()
            if len(pairs):
                rows.append(paired_difference(observer, dimension, *(pairs[name].tolist() for name in columns)))
    return rows


def _interval(change: NDArray[np.float64]) -> tuple[float, float]:
    found = bootstrap(
        (change,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return float(found.low), float(found.high)


def _side(
    worlds: Sequence[Transcript],
    answers: DataFrame,
    observers: Sequence[str],
    part: Part,
    joined: set[tuple[object, ...]],
) -> Side:
    drafts, finals = _part_of(answers, "draft"), _part_of(answers, "final")
    revised = finals[finals["step"] > 0]
    both = drafts.merge(revised, on=[*JOIN, "observer"], suffixes=("_first", "_second"))
    everything = [(number, said) for number, world in enumerate(worlds) for said in world.interactions()]
    paired = [said for number, said in everything if _key(number, said) in joined]
    return Side(
        name=worlds[0].name,
        revised=_differences(both, observers),
        agreement=agreements((said for _, said in everything), worlds[0].observers),
        texts=describe(answered(paired, part, worlds[0].rule)),
    )


def _key(world: int, said: Interaction) -> tuple[object, ...]:
    return world, said.round, said.agent, said.question.text


def _caption(comparison: Comparison) -> str:
    told = [f"{comparison.joined} answers joined on question and agent"]
    if any(comparison.unmatched):
        told.append(f"{comparison.unmatched[0]} and {comparison.unmatched[1]} without a partner left out")
    if comparison.differing:
        told.append(f"besides their models the runs differ in {', '.join(comparison.differing)}")
    return "; ".join(told)


def _cells(row: Difference) -> list[str]:
    interval = "" if row.low is None or row.high is None else f"{row.low:+.2f} … {row.high:+.2f}"
    return [
        f"{row.observer} {row.dimension}",
        f"{row.first:.2f}",
        f"{row.second:.2f}",
        f"{row.difference:+.2f}",
        interval,
        str(row.pairs),
        str(row.questions),
        row.words,
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
