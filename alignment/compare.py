"""`align compare`: trainings of any method side by side, on quality, on stability and on cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from agents.errors import BadInput
from alignment.config import AlignCompareOptions
from alignment.likelihood import Estimate
from alignment.report.curves import side_by_side
from alignment.report.sides import Change, Comparison, Side, compared, read_training
from alignment.report.words import bytes_told, duration, label, with_interval
from sandbox.console import table_console
from sandbox.folders import write_whole
from sandbox.side_by_side import require_writable, shown_names

MISSING = "–"
OF_LANGUAGE = "neutral_perplexity"  # the quality that tells of stability
ONLY_WRITTEN = ("pair_accuracy", OF_LANGUAGE, "best_sum", "worst_sum")  # not among the other rows of quality


def run_compare(options: AlignCompareOptions) -> None:
    """Print the trainings side by side, and write what is asked for. Raises BadInput; nothing is written then."""
    if len(options.sources) < 2:
        raise BadInput(f"{len(options.sources)} folder to compare: name two or more, the baseline first")
    require_writable(options.json_out, options.plot)
    names = shown_names([folder.resolve().name for folder in options.sources])
    trainings = dict(zip(names, map(read_training, options.sources), strict=True))
    comparison = compared(trainings)
    table_console().print(table(comparison))
    if options.json_out is not None:
        told = json.dumps(asdict(comparison), ensure_ascii=False, allow_nan=False, indent=1)
        write_whole(options.json_out, told + "\n")
    if options.plot is not None:
        panels = {name: training.panels for name, training in trainings.items()}
        options.plot.write_bytes(side_by_side(panels, options.plot.suffix[1:]))


def table(comparison: Comparison) -> Table:
    """A column a training; what none of them tells is left out."""
    sides = comparison.sides
    shown = Table("", caption=_caption(comparison))
    for side in sides:
        shown.add_column(f"{side.name}\n{side.method}", justify="right")
    for section in (_quality(sides), _stability(sides), _cost(sides)):
        for told, cells in section:
            if any(cell != MISSING for cell in cells):
                shown.add_row(told, *cells)
        shown.add_section()
    return shown


Rows = Iterator[tuple[str, list[str]]]


def _quality(sides: Sequence[Side]) -> Rows:
    yield "pair accuracy", [_change(side.quality.get("pair_accuracy"), ".3f") for side in sides]
    yield "  gain", [_estimate(side.gain) for side in sides]
    yield f"  against {sides[0].name.split()[0]}", [_estimate(side.against_first) for side in sides]
    for key in dict.fromkeys(key for side in sides for key in side.quality if key not in ONLY_WRITTEN):
        yield label(key), [_change(side.quality.get(key), ".3f") for side in sides]


def _stability(sides: Sequence[Side]) -> Rows:
    yield "KL to the start, nats a token", [_told(side.kl, "{:z.4f}".format) for side in sides]
    yield "  highest", [_told(side.highest_kl, "{:z.4f}".format) for side in sides]
    yield label(OF_LANGUAGE), [_change(side.quality.get(OF_LANGUAGE), ".3f") for side in sides]
    yield "margin, nats a token", [_change(side.watched["margin"], ".3f") for side in sides]
    yield "reward of fresh answers", [_change(side.watched["reward"], ".2f") for side in sides]
    yield "tokens of a fresh answer", [_change(side.watched["answer_tokens"], ".1f") for side in sides]
    yield "loss, smallest and largest", [_told(side.losses, "{0[0]:.3f} … {0[1]:.3f}".format) for side in sides]


def _cost(sides: Sequence[Side]) -> Rows:
    yield "steps", [_told(side.steps, "{:,}".format) for side in sides]
    yield "groups met", [_told(side.visits, "{:,}".format) for side in sides]
    forms: dict[str, tuple[str, Callable[[Any], str]]] = {
        "input_tokens": ("tokens read", "{:,}".format),
        "generated_tokens": ("tokens generated", "{:,}".format),
        "seconds": ("time", duration),
        "peak_memory_bytes": ("peak memory", bytes_told),
        "models": ("models held", ", ".join),
        "device": ("device", str),
        "processes": ("processes", str),
    }
    for key, (told, form) in forms.items():
        yield told, [_told(side.cost.get(key), form) for side in sides]


def _caption(comparison: Comparison) -> str:
    told = "in brackets: 95 % intervals over groups; losses compare within a method only"
    if not comparison.differing:
        return told
    values = (f"{name} ({', '.join(map(str, found))})" for name, found in comparison.differing.items())
    return f"{told}\nsettings that differ: {'; '.join(values)}"


def _change(found: Change | None, form: str) -> str:
    if found is None or found.start is None or found.end is None:
        return MISSING
    return f"{found.start:{form}} → {found.end:{form}}"


def _estimate(found: Estimate | None) -> str:
    return MISSING if found is None else with_interval(found.value, found.low, found.high, "+z.3f")


def _told(value: Any, form: Callable[[Any], str]) -> str:
    return MISSING if value is None else form(value)
