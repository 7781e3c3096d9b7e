"""`replay compare`: runs side by side, paired and by round. docs/compare.md says what each number is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agents.errors import BadInput
from agents.models import encoder_folder
from memory.encoder import Encoder
from sandbox.compare.comparison import Comparison, common_observers, compared, to_json
from sandbox.compare.curves import Course, answers_of, course
from sandbox.compare.diversity import Encode, Vectors
from sandbox.compare.pairing import Run, pair, part_of, read_run
from sandbox.compare.tables import change_table, comparison_table, course_tables, plateau_table, revision_table
from sandbox.console import table_console
from sandbox.folders import write_whole
from sandbox.side_by_side import require_writable, shown_names
from sandbox.texts import Part

if TYPE_CHECKING:
    from sandbox.config import ReplayCompareOptions


def main(options: ReplayCompareOptions) -> int:
    """`replay compare`: print the first run against each of the others and all by round; write what is asked for."""
    if len(options.runs) < 2:
        raise BadInput(f"{len(options.runs)} run to compare: name two or more, the baseline first")
    require_writable(options.json_out, options.plot)
    runs = list(map(read_run, options.runs))
    for other in runs[1:]:  # refused before minutes of encoding
        pair(runs[0], other, options.part)
        common_observers(runs[0], other)
    vectors = _encoded(runs, options.part, None if options.encoder == "none" else _encoding(options.encoder))
    courses = [course(run, vectors, gain=options.plateau_gain, patience=options.plateau_patience) for run in runs]
    comparisons = [
        compared((runs[0], other), (courses[0], went), vectors, options.part)
        for other, went in zip(runs[1:], courses[1:], strict=True)
    ]
    by_name = dict(zip(shown_names([run.name for run in runs]), courses, strict=True))
    _print(comparisons, by_name)
    if options.json_out is not None:
        write_whole(options.json_out, f"[{', '.join(map(to_json, comparisons))}]\n")
    if options.plot is not None:
        from sandbox.compare.plot import draw  # imports matplotlib

        draw(by_name, options.plot)
    return 0


def compare(
    a: Path,
    b: Path,
    *,
    observers: Sequence[str] | None = None,
    part: Part = "draft",
    encode: Encode | None = None,
    gain: float = 0.1,
    patience: int = 2,
) -> Comparison:
    """Compare the `part` of two runs, for the observers that both have (or those named).

    `encode` (texts to unit vectors [N, D]) is what similarity is measured with; without it there is none. `gain` and
    `patience` are those of the plateau. Raises BadInput where the runs have no answered question or no observer in
    common.
    """
    runs = read_run(a), read_run(b)
    vectors = _encoded(runs, part, encode)
    first, second = (course(run, vectors, gain=gain, patience=patience) for run in runs)
    return compared(runs, (first, second), vectors, part, observers)


def _encoding(name: str) -> Encode:
    """The encoder of that name, looked for when it is first needed, so that runs with nothing to encode do without."""

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        encoder = Encoder(encoder_folder(name))
        print(f"encoding {len(texts)} answers (--encoder none leaves similarity out)", file=sys.stderr, flush=True)
        return encoder.encode(texts)

    return encode


def _encoded(runs: Sequence[Run], part: Part, encode: Encode | None) -> Vectors | None:
    """The vectors of every different text whose similarity is measured; none where a run has one answer only."""
    said = [answers_of(part_of(run.answers, which)) for run in runs for which in {part, "final"}]
    texts = sorted({text for answers in said if len(answers) > 1 for _, text in answers})
    if encode is None or not texts:
        return None
    return dict(zip(texts, encode(texts), strict=True))


def _print(comparisons: Sequence[Comparison], courses: dict[str, Course]) -> None:
    console = table_console()
    baseline, *others = courses
    for name, comparison in zip(others, comparisons, strict=True):
        console.print(comparison_table(comparison, baseline, name))
    sides = [comparisons[0].first, *(comparison.second for comparison in comparisons)]
    if any(side.revised for side in sides):
        console.print(revision_table(dict(zip(courses, sides, strict=True))))
    if any(len(went.rounds) > 1 for went in courses.values()):
        for table in (*course_tables(courses), change_table(courses), plateau_table(courses)):
            console.print(table)
