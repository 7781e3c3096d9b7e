"""Which answers of two runs belong together, and the paired differences of their ratings.

Where two runs ask the same questions of the same agents (before and after a training, a fork with another model),
answers are paired by question and agent. Else each question's mean in one run is paired with its mean in the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import pandas
from numpy.typing import NDArray
from pandas import DataFrame
from scipy.stats import bootstrap

from agents.errors import BadInput
from agents.observers import DIMENSIONS
from sandbox.interaction import Interaction
from sandbox.texts import Part
from sandbox.transcript import Transcript, read_worlds

RESAMPLES = 10_000
FEWEST = 6  # questions: the differences of five have one sign by chance oftener (1/16) than once in twenty
PLACE = ["world", "round", "agent"]
INTERACTION = [*PLACE, "question"]
COLUMNS = {"question and agent": INTERACTION, "question": ["world", "question"]}

PairedBy: TypeAlias = Literal["question and agent", "question"]
Key: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """The worlds of a run, and the rows of `Transcript.to_pandas` of them all, with the column `world` (from 0)."""

    path: Path
    worlds: list[Transcript]
    answers: DataFrame

    @property
    def name(self) -> str:
        """That of its folder."""
        return self.path.resolve().name if self.path.is_dir() else self.worlds[0].name

    @property
    def observers(self) -> list[str]:
        """Names of its observers; the first one scores."""
        return self.worlds[0].observers


@dataclass(frozen=True, slots=True)
class Pairing:
    """What of two runs is compared: rounds after `shared_rounds`, by the keys that both runs have an answer to.

    A key has the values of COLUMNS[by]. `unmatched` counts the keys that only the first and only the second run has; a
    failed answer has none.
    """

    by: PairedBy
    shared_rounds: int
    joined: frozenset[Key]
    unmatched: tuple[int, int]

    def has(self, world: int, said: Interaction) -> bool:
        """Whether an interaction has a partner in the other run."""
        key: Key = (world, said.question.text)
        if self.by == "question and agent":
            key = (world, said.round, said.agent, said.question.text)
        return said.round > self.shared_rounds and key in self.joined

    def of(self, answers: DataFrame) -> DataFrame:
        """The rows that have a partner in the other run."""
        later = answers[answers["round"] > self.shared_rounds]
        return later[[key in self.joined for key in _keys(later, self.by)]]


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference of mean ratings, `second` − `first`, with its 95 % interval.

    Every question weighs the same, whatever the number of its pairs; the interval (percentile bootstrap) resamples
    questions. It is None where there are fewer than two questions, and too narrow to tell anything with fewer than
    FEWEST.
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
        if self.questions < FEWEST:
            return f"fewer than {FEWEST} questions: too few to tell"
        if self.low <= 0 <= self.high:
            return "interval includes zero: no difference shown"
        return "higher" if self.difference > 0 else "lower"


def read_run(path: Path) -> Run:
    """All answers of a run, of one world or several. Raises BadInput where there are none."""
    worlds = read_worlds(path)
    frames = [world.to_pandas().assign(world=number) for number, world in enumerate(worlds)]
    answers = pandas.concat(frames, ignore_index=True)
    if answers.empty:
        raise BadInput(f"{path} has no complete round to compare: go on with simulate --resume")
    return Run(path, worlds, answers)


def part_of(answers: DataFrame, part: Part) -> DataFrame:
    """The rows of drafts, or of final answers (the last revision, or the draft where there is none)."""
    if part == "draft":
        return answers[answers["step"] == 0]
    return answers[answers["step"] == answers.groupby(INTERACTION)["step"].transform("max")]


def pair(first: Run, second: Run, part: Part) -> Pairing:
    """What the runs have in common of that part. Raises BadInput where that is no answered question."""
    shared = shared_rounds(first, second)
    later = [run.answers[run.answers["round"] > shared] for run in (first, second)]
    for run, answers in zip((first, second), later, strict=True):
        if answers.empty:
            raise BadInput(
                f"{run.path} has only the rounds 1 to {shared} that {first.path} and {second.path} share: "
                "play more with simulate --resume, or name another run"
            )
    by: PairedBy = "question and agent" if _same_seeds(first, second) and _same_deal(*later) else "question"
    keys = [frozenset(_keys(part_of(answers, part).dropna(subset=["text"]), by)) for answers in later]
    joined = keys[0] & keys[1]
    if not joined:
        after = f" after the {shared} round{'s' * (shared > 1)} that they share" if shared else ""
        raise BadInput(
            f"{first.path} and {second.path} have no answered question in common{after}: "
            "compare runs that were asked alike"
        )
    return Pairing(by, shared, joined, (len(keys[0] - joined), len(keys[1] - joined)))


def shared_rounds(first: Run, second: Run) -> int:
    """How many rounds from the start are the same because one run branched off the other, or both off a third.

    What the headers say of their branching is an upper bound: the answers of these rounds are compared.
    """
    parents = [world.header.get("parent") for run in (first, second) for world in run.worlds]
    branched = [parent["round"] for parent in parents if parent]
    rounds = range(1, min(branched, default=0) + 1)
    return next((number - 1 for number in rounds if _said(first, number) != _said(second, number)), len(rounds))


def rating_differences(
    first: DataFrame, second: DataFrame, pairing: Pairing, observers: Sequence[str]
) -> list[Difference]:
    """The paired differences of the ratings of one part of two runs, for each observer and dimension."""
    columns = [*COLUMNS[pairing.by], "observer"]
    means = [
        pairing.of(answers).groupby(columns, as_index=False)[list(DIMENSIONS)].mean() for answers in (first, second)
    ]
    return differences_of(means[0].merge(means[1], on=columns, suffixes=("_first", "_second")), observers)


def differences_of(both: DataFrame, observers: Sequence[str]) -> list[Difference]:
    """One difference an observer and dimension; `both` has the columns DIMENSION_first and DIMENSION_second."""
    rows = []
    for observer in observers:
        for dimension in DIMENSIONS:
            columns = ["question", f"{dimension}_first", f"{dimension}_second"]
            pairs = both.loc[both["observer"] == observer, columns].dropna()
            if len(pairs):
                rows.append(paired_difference(observer, dimension, *(pairs[name].tolist() for name in columns)))
    return rows


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


def _interval(change: NDArray[np.float64]) -> tuple[float, float]:
    found = bootstrap(
        (change,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return float(found.low), float(found.high)


def _same_seeds(first: Run, second: Run) -> bool:
    pairs = zip(first.worlds, second.worlds, strict=False)
    return all(a.header.get("seed") == b.header.get("seed") for a, b in pairs)


def _same_deal(first: DataFrame, second: DataFrame) -> bool:
    """Whether the runs have places in common, and whoever is asked in both is asked the same."""
    dealt = [answers[INTERACTION].drop_duplicates() for answers in (first, second)]
    both = dealt[0].merge(dealt[1], on=PLACE)
    return len(both) > 0 and bool((both["question_x"] == both["question_y"]).all())


def _keys(answers: DataFrame, by: PairedBy) -> list[Key]:
    return list(answers[COLUMNS[by]].itertuples(index=False, name=None))


def _said(run: Run, round: int) -> set[Key]:
    answers = run.answers[run.answers["round"] == round]
    return set(answers[[*INTERACTION, "step", "text"]].fillna("").itertuples(index=False, name=None))
