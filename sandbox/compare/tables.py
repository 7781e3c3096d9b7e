"""A comparison as tables for people: what was paired, each run from draft to final answer, and all runs by round.

Runs are named by a letter and their name ("A before"), and by the letter alone where many names would leave no room.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from rich.table import Table

from agents.observers import DIMENSIONS
from agents.rating import Dimension
from sandbox.compare.comparison import Comparison, Side
from sandbox.compare.curves import Course, Round
from sandbox.compare.diversity import Change, Measure
from sandbox.compare.pairing import Difference
from sandbox.texts import Part

TOLD: dict[Measure, str] = {
    "distinct_1": "distinct words",
    "distinct_2": "distinct word pairs",
    "distinct_3": "distinct word triples",
    "between": "similarity between questions",
    "within": "similarity within a question",
}
ABREAST = 3  # runs in a table by round; more would be wider than 120 columns


def comparison_table(comparison: Comparison, first_name: str, second_name: str) -> Table:
    """Paired ratings, then what the paired answers are like, then agreement, of runs shown by these names."""
    first, second = comparison.first, comparison.second
    shown = Table(title=f"{comparison.part}s of {first_name} and {second_name}", caption=_caption(comparison))
    shown.add_column("")
    _numbers(shown, first_name, second_name, "difference", "95 % interval", "pairs", "questions")
    shown.add_column("")
    for row in comparison.ratings:
        shown.add_row(*_rating(row))
    shown.add_section()
    for change in comparison.diversity:
        *numbers, words = _change(change)
        shown.add_row(TOLD[change.measure], *numbers, "", "", words)
    for name, told in (("words", "words an answer"), ("copied", "copied")):
        shown.add_row(told, *(_number(getattr(side.texts, name)) for side in (first, second)))
    shown.add_section()
    for dimension in DIMENSIONS:
        values = (first.agreement[dimension], second.agreement[dimension])
        shown.add_row(f"agreement on {dimension} (alpha)", *map(_number, values))
    return shown


def revision_table(sides: Mapping[str, Side]) -> Table:
    """What revising did to the ratings within each run. `sides` by shown name."""
    shown = Table(title="from draft to final answer", caption=", ".join(sides))
    shown.add_column("")
    _numbers(shown, "draft", "final", "difference", "95 % interval", "pairs", "questions")
    shown.add_column("")
    for name, side in sides.items():
        for row in side.revised:
            told, *cells = _rating(row)
            shown.add_row(f"{_letter(name)} {told}", *cells)
        shown.add_section()
    return shown


def course_tables(courses: Mapping[str, Course]) -> Iterator[Table]:
    """All runs round by round, a few abreast: a table an observer, and one of diversity. `courses` by shown name."""
    names = list(courses)
    for start in range(0, len(names), ABREAST):
        abreast = {name: courses[name] for name in names[start : start + ABREAST]}
        for observer in observers_of(abreast):
            yield _rating_table(observer, abreast)
        yield _diversity_table(abreast)


def change_table(courses: Mapping[str, Course]) -> Table:
    """Whether the answers of each run grew more alike from its first round to its last."""
    shown = Table(title="diversity of final answers from the first round to the last", caption=", ".join(courses))
    shown.add_column("")
    _numbers(shown, "first", "last", "difference", "95 % interval")
    shown.add_column("")
    for name, went in courses.items():
        for change in went.change:
            shown.add_row(f"{_letter(name)} {TOLD[change.measure]}", *_change(change))
        shown.add_section()
    return shown


def plateau_table(courses: Mapping[str, Course]) -> Table:
    """After how many rounds each run stopped improving."""
    plateaus = [went.plateau for went in courses.values()]
    caption = f"no gain of {plateaus[0].gain:g} in alignment × engagement for {plateaus[0].patience} rounds"
    shown = Table(title="rounds to plateau", caption=caption)
    shown.add_column("")
    _numbers(shown, "plateau after round", "rounds played")
    shown.add_column("scores from")
    for (name, went), plateau in zip(courses.items(), plateaus, strict=True):
        reached = "not reached" if plateau.rounds is None else str(plateau.rounds)
        shown.add_row(name, reached, str(len(went.rounds)), plateau.scores)
    return shown


def observers_of(courses: Mapping[str, Course]) -> list[str]:
    """The observers that all runs have, in the first one's order; all of the first one's where there is none."""
    first, *others = (went.rounds[0].ratings for went in courses.values())
    return [name for name in first if all(name in other for other in others)] or list(first)


def _rating_table(observer: str, courses: Mapping[str, Course]) -> Table:
    def cell(round: Round, dimension: Dimension) -> str:
        draft, final = (round.rating(observer, dimension, part) for part in get_args(Part))
        return _number(final) if draft == final else f"{_number(draft)} → {_number(final)}"

    shown = _by_round(f"mean ratings by {observer}, draft → final", courses, DIMENSIONS)
    for number, rounds in _rows(courses):
        shown.add_row(str(number), *(cell(round, name) if round else "" for round in rounds for name in DIMENSIONS))
    return shown


def _diversity_table(courses: Mapping[str, Course]) -> Table:
    def cell(round: Round, *measures: Measure) -> str:
        return " ".join(_number(round.diversity[measure]) for measure in measures)

    columns: dict[str, tuple[Measure, ...]] = {
        "distinct\nn = 1, 2, 3": ("distinct_1", "distinct_2", "distinct_3"),
        "similarity\nbetween,\nwithin": ("between", "within"),
    }
    shown = _by_round(
        "diversity of final answers: distinct n-grams, similarity between and within questions", courses, list(columns)
    )
    for number, rounds in _rows(courses):
        cells = [cell(round, *measures) if round else "" for round in rounds for measures in columns.values()]
        shown.add_row(str(number), *cells)
    return shown


def _by_round(title: str, courses: Mapping[str, Course], columns: Sequence[str]) -> Table:
    """A table with a column for the round, and for each run these `columns`, headed by the run's letter."""
    shown = Table(title=title, caption=", ".join(courses))
    shown.add_column("round", justify="right")
    for name in courses:
        for column in columns:
            shown.add_column(f"{_letter(name)} {column}", justify="right", no_wrap=True)
    return shown


def _rows(courses: Mapping[str, Course]) -> Iterator[tuple[int, list[Round | None]]]:
    """Each round's number with that round of every run, None where a run has no such round."""
    by_number = [{round.round: round for round in went.rounds} for went in courses.values()]
    for number in sorted(set().union(*by_number)):
        yield number, [rounds.get(number) for rounds in by_number]


def _caption(comparison: Comparison) -> str:
    if comparison.paired_by == "question":
        told = [f"{comparison.joined} questions paired by their means, since not the same agents are asked them"]
    else:
        told = [f"{comparison.joined} answers paired by question and agent"]
    if comparison.shared_rounds:
        told.append(f"rounds 1 to {comparison.shared_rounds} left out: the runs share them, and branch off there")
    if any(comparison.unmatched):
        told.append(f"{comparison.unmatched[0]} and {comparison.unmatched[1]} without a partner left out")
    if comparison.differing:
        told.append(f"besides their models the runs differ in {', '.join(comparison.differing)}")
    return "; ".join(told)


def _letter(name: str) -> str:
    return name.split()[0]


def _numbers(table: Table, *heads: str) -> None:
    for head in heads:
        table.add_column(head, justify="right")


def _rating(row: Difference) -> list[str]:
    numbers = (f"{row.first:.2f}", f"{row.second:.2f}", f"{row.difference:+.2f}", _interval(row.low, row.high))
    return [f"{row.observer} {row.dimension}", *numbers, str(row.pairs), str(row.questions), row.words]


def _change(row: Change) -> list[str]:
    numbers = (f"{row.first:.2f}", f"{row.second:.2f}", f"{row.difference:+.2f}")
    return [*numbers, _interval(row.low, row.high), row.words]


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:+.2f} … {high:+.2f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
