"""What the pages of trainings by iterations share: their answers, what they learned, their cost, their curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from math import ceil, nan
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol, TypeAlias

from markupsafe import Markup

from alignment.iterative.measures import by_model
from alignment.report.curves import Panel, Series, inline
from alignment.report.page import POLICY, estimate, source_told, template
from alignment.report.words import duration, how_many

Row = dict[str, Any]
Points: TypeAlias = Sequence[tuple[int, Any]]  # (iteration or step, number | estimate | None)

OPTIMISERS = {"dpo": "DPO", "simpo": "SimPO", "sppo": "SPPO", "orpo": "ORPO"}
ENDS = 4  # a training's first and last part are one of so many


class Trained(Protocol):
    """An iteration."""

    @property
    def number(self) -> int:
        """From 1; 0 is the model before the training."""

    @property
    def learned(self) -> Row:
        """What its training took."""

    @property
    def log(self) -> list[Row]:
        """The trainer's log."""


class Record(Protocol):
    """A training."""

    @property
    def iterations(self) -> Sequence[Trained]:
        """From 0."""


def page(package: str, data: Row, **pictures: Sequence[tuple[str, Markup]]) -> Iterator[str]:
    """The page of a package, piece by piece. What models said reaches it by autoescape, as text only."""
    css = Markup((files("alignment.report") / "page.css").read_text("utf-8"))
    return template(package, "alignment.iterative").generate(data=data, policy=POLICY, css=css, **pictures)


def inlined(panels: Iterable[Panel]) -> list[tuple[str, Markup]]:
    """Panels as pictures inside a page, with their titles."""
    return [(panel.title, Markup(inline(panel))) for panel in panels]


def lineage_data(lineage: Mapping[str, Any]) -> Row:
    """What a model is made of."""
    return {
        "sources": [(source["path"], source_told(source)) for source in lineage["sources"]],
        "digests": [("rows", lineage["rows_digest"]), ("model", lineage["model_digest"])],
    }


def prompts_told(metrics: Mapping[str, Any], lineage: Mapping[str, Any]) -> str:
    """As in "2 iterations of 40 prompts from runs/first"."""
    own, sources = metrics["iterations"], [short(path) for path in lineage["config"]["sources"]]
    return (
        f"{how_many(len(own), 'iteration')} of {how_many(own[0]['prompts'], 'prompt')} from "
        f"{sources[0] if len(sources) == 1 else f'{len(sources)} sources'}"
    )


def measured_told(metrics: Mapping[str, Any]) -> list[str]:
    """What a training is measured on, if on anything."""
    sets = by_set(metrics["answers"][0])
    counts = " and ".join(f"{numbers['answers']} {kind}" for kind, numbers in sets.items())
    return [f"{counts} prompts to measure on"] if sets else []


def cost_facts(cost: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str]]:
    """(term, value) of all phases together."""
    total = cost_rows(cost)[-1]
    return [
        ("time of all phases", total["time"]),
        ("tokens read", total["read"]),
        ("tokens generated", total["generated"]),
    ]


def answers_rows(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """By iteration and set of prompts: what answers were worth, with intervals; changes are those since the start."""
    return [
        {
            "iteration": str(row["iteration"]),
            "prompts": f"{numbers['answers']} {kind}",
            "unrated": ""
            if numbers["rated"] == numbers["answers"]
            else f"{numbers['answers'] - numbers['rated']} without reward",
            "reward": told(numbers["reward"]),
            "change": told(numbers.get("gain"), "+z.3f"),
            "worst": told(numbers["worst"]),
            "worst_change": told(numbers.get("worst_gain"), "+z.3f"),
            "tokens": told(numbers["tokens"], ".1f"),
            "finished": told(numbers["finished"], ".0%"),
        }
        for row in by_model(metrics, "answers")
        for kind, numbers in by_set(row).items()
    ]


def learned_rows(record: Record) -> list[Row]:
    """By iteration how many groups its training dropped, its steps, and how loss and accuracy went."""
    return [
        {
            "iteration": each.number,
            "dropped": each.learned.get("dropped", "–"),
            "steps": each.learned.get("steps", "–"),
            "loss": ends(each.log, "loss"),
            "accuracy": ends(each.log, "rewards/accuracies"),
        }
        for each in record.iterations[1:]
    ]


def learning_panels(record: Record) -> list[Panel]:
    """Loss and accuracy of the trainings of all iterations, one behind the other."""
    lines: list[tuple[int, Row]] = []
    steps = 0
    for iteration in record.iterations[1:]:
        lines += [(steps + line["step"], line) for line in iteration.log]
        steps += iteration.learned.get("steps", 0)
    found = [
        (title, unit, {title: [(step, line.get(key)) for step, line in lines]})
        for title, unit, key in (
            ("loss", "loss", "loss"),
            ("training pairs in the right order", "share", "rewards/accuracies"),
        )
    ]
    return panels_by(found, "step of all iterations")


def cost_rows(cost: Mapping[str, Mapping[str, float]]) -> list[dict[str, str]]:
    """By phase, and at the end of all phases: time, calls and tokens."""
    total: Counter[str] = Counter()
    for counts in cost.values():
        total.update(counts)
    return [_cost(phase, counts) for phase, counts in [*cost.items(), ("all", total)]]


def panels_by(found: Iterable[tuple[str, str, Mapping[str, Points]]], by: str) -> list[Panel]:
    """Of (title, unit, points by name) what there is to draw: without series of no values, and panels of no series."""
    made = ((title, unit, [*map(_series, each, each.values())]) for title, unit, each in found)
    kept = ((title, unit, tuple(one for one in series if one.values)) for title, unit, series in made)
    return [Panel(title, unit, series, by) for title, unit, series in kept if series]


def of_sets(answers: Sequence[Mapping[str, Any]], key: str) -> dict[str, Points]:
    """A number of the answers after each iteration, by set of prompts."""
    kinds = dict.fromkeys(kind for row in answers for kind in by_set(row))
    return {kind: [(row["iteration"], row[kind][key]) for row in answers if kind in row] for kind in kinds}


def by_set(row: Mapping[str, Any]) -> dict[str, Row]:
    """The numbers of an iteration's answers by the set of prompts."""
    return {kind: numbers for kind, numbers in row.items() if kind != "iteration"}


def counted(counts: Mapping[str, int]) -> str:
    """As in "2 copy, 1 timeout"."""
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def told(found: Any, form: str = ".3f") -> str:
    """A number or an estimate, where there is one."""
    return "–" if found is None else estimate(found, form)


def ends(log: Sequence[Mapping[str, Any]], key: str) -> str:
    """A number's mean in the first and in the last part of a training."""
    values = [line[key] for line in log if line.get(key) is not None]
    part = ceil(len(values) / ENDS)
    return f"{fmean(values[:part]):.3f} → {fmean(values[-part:]):.3f}" if values else "–"


def short(name: str) -> str:
    """A hub name or relative path as it is, of a whole path its end."""
    return Path(name).name if Path(name).is_absolute() else name


def _cost(phase: str, counts: Mapping[str, float]) -> dict[str, str]:
    def summed(*names: str) -> str:
        return f"{sum(counts.get(name, 0) for name in names):,.0f}"

    return {
        "phase": phase,
        "time": duration(counts.get("seconds", 0.0)),
        "calls": summed("calls"),
        "failures": summed("failures"),
        "read": summed("prompt_tokens", "input_tokens"),
        "generated": summed("completion_tokens"),
    }


def _series(name: str, points: Points) -> Series:
    """The curve of what is known."""
    known = [(at, value) for at, value in points if value is not None]
    steps, values = tuple(at for at, _ in known), [value for _, value in known]
    intervals = map(_interval, values) if any(isinstance(value, Mapping) for value in values) else ()
    return Series(name, steps, tuple(map(_number, values)), tuple(intervals))


def _interval(found: Any) -> tuple[float, float]:
    return (found["low"], found["high"]) if isinstance(found, Mapping) and found["low"] is not None else (nan, nan)


def _number(found: Any) -> float:
    return float(found["value"] or 0.0) if isinstance(found, Mapping) else float(found)
