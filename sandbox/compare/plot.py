"""The curves of runs by round as a picture: looking shows a plateau or a collapse sooner than reading does."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from agents.observers import DIMENSIONS
from agents.rating import Dimension
from sandbox.compare.curves import Course, Round
from sandbox.compare.tables import observers_of
from sandbox.texts import Part


def draw(courses: Mapping[str, Course], path: Path) -> None:
    """Draw the runs' curves, `courses` by shown name: ratings by the first common observer, then diversity."""
    observer = observers_of(courses)[0]
    # Names are shown as they are, never as formulas; equal curves give equal files.
    with rc_context({"text.parse_math": False, "svg.hashsalt": "curves"}):
        figure = Figure(figsize=(10, 7), layout="constrained")
        alignment, engagement, distinct, similarity = figure.subplots(2, 2, sharex=True).flat
        for axes, dimension in zip((alignment, engagement), DIMENSIONS, strict=True):
            _curves(axes, courses, _rating(observer, dimension, "final"), "-")
            _curves(axes, courses, _rating(observer, dimension, "draft"), ":")
            axes.set_title(f"{dimension} by {observer}: final –, draft ⋯")
        _curves(distinct, courses, lambda round: round.diversity["distinct_2"], "-")
        distinct.set_title("distinct word pairs of final answers")
        _curves(similarity, courses, lambda round: round.diversity["between"], "-")
        _curves(similarity, courses, lambda round: round.diversity["within"], ":")
        similarity.set_title("similarity between questions –, within a question ⋯")
        for axes in (distinct, similarity):
            axes.set_xlabel("round")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(alignment.get_lines()[: len(courses)], list(courses), loc="outside lower center", ncols=3)
        undated = {"Date": None} if path.suffix == ".svg" else {"CreationDate": None} if path.suffix == ".pdf" else {}
        picture = BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name; its letter tells which run it is
            figure.savefig(picture, format=path.suffix[1:], metadata=undated)
    path.write_bytes(picture.getvalue())


def _rating(observer: str, dimension: Dimension, part: Part) -> Callable[[Round], float | None]:
    return lambda round: round.rating(observer, dimension, part)


def _curves(axes: Axes, courses: Mapping[str, Course], measure: Callable[[Round], float | None], style: str) -> None:
    """One curve a run, in the run's colour; a round without the measure leaves a gap."""
    for number, went in enumerate(courses.values()):
        numbers = [round.round for round in went.rounds]
        values = [float("nan") if value is None else value for value in map(measure, went.rounds)]
        axes.plot(numbers, values, style, color=f"C{number % 10}", marker=".")
