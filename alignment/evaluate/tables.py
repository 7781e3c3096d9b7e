"""What was measured, as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table

from alignment.evaluate.duels import WinRate
from alignment.evaluate.measures import Measure
from alignment.likelihood import Estimate

MISSING = "–"


def measure_table(title: str, measures: Sequence[Measure], model: str, against: str | None, items: str) -> Table:
    """A row a measure. `items` says what is counted in the last column."""
    table = Table(title=title)
    table.add_column("")
    names = [model] if against is None else [model, against, "difference", "95 % interval"]
    for name in (*(names if against is not None else [model, "95 % interval"]), items):
        table.add_column(name, justify="right")
    for measure in measures:
        cells = (
            [_number(measure.model), _interval(measure.model)]
            if against is None
            else [
                _number(measure.model),
                _number(measure.against),
                _number(measure.difference, "+"),
                _interval(measure.difference, "+"),
            ]
        )
        table.add_row(measure.name, *cells, str(measure.items))
    return table


def duel_table(title: str, rates: Mapping[str, WinRate], model: str, against: str, judge: str) -> Table:
    """A row of win rates a kind of duel."""
    table = Table(title=title, caption=f"wins of {model} against {against}, judged by {judge} in both orders")
    table.add_column("")
    for name in ("win rate", "95 % interval", "length-controlled", "95 % interval"):
        table.add_column(name, justify="right")
    for name in ("won", "lost", "tied", "first shown wins", "duels", "failed"):
        table.add_column(name, justify="right")
    for name, rate in rates.items():
        table.add_row(name or MISSING, *_rates(rate))
    return table


def _rates(rate: WinRate) -> Iterator[str]:
    for found in (rate.value, rate.length_controlled):
        yield _number(found)
        yield _interval(found)
    yield from map(str, (rate.wins, rate.losses, rate.ties))
    yield MISSING if rate.first_wins is None else f"{rate.first_wins:.0%}"
    yield from map(str, (rate.duels, rate.failed))


def _number(found: Estimate | None, sign: str = "") -> str:
    return MISSING if found is None else f"{found.value:{sign}.3f}"


def _interval(found: Estimate | None, sign: str = "") -> str:
    if found is None or found.low is None or found.high is None:
        return MISSING
    return f"{found.low:{sign}.3f} … {found.high:{sign}.3f}"
