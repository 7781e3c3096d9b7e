"""What may differ between two equal runs: seconds, tokens, retries and failures, by model and by purpose."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from agents.metered import Metered, Usage

Counts = dict[str, dict[str, Any]]  # of a meter, by purpose

FILE = "telemetry.jsonl"
PURPOSES = {"draft": "draft", "review": "feedback", "revise": "revision", "before": "observe", "after": "observe"}


@dataclass(slots=True)
class Telemetry:
    """Writes one line a round to `path`: its seconds, those of this process's CPU, its calls by model and purpose.

    A line that an earlier process left torn there is dropped.
    """

    path: Path
    meters: list[Metered]
    _since: float = field(init=False, default_factory=time.monotonic)
    _cpu_since: float = field(init=False, default_factory=time.process_time)
    _before: dict[str, Counts] = field(init=False)

    def __post_init__(self) -> None:
        self._before = self._counts()
        drop_torn_line(self.path)

    def end_round(self, number: int) -> None:
        """Append the line of a round, and count anew."""
        now, cpu, counts = time.monotonic(), time.process_time(), self._counts()
        models = {name: counted_since(self._before[name], counted) for name, counted in counts.items()}
        line = {
            "round": number,
            "seconds": round(now - self._since, 3),
            "cpu_seconds": round(cpu - self._cpu_since, 3),
            "time": time.time(),
            "models": models,
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._since, self._cpu_since, self._before = now, cpu, counts

    def _counts(self) -> dict[str, Counts]:
        return {meter.name: meter.counts() for meter in self.meters}


def drop_torn_line(path: Path) -> None:
    """Cut off what stands behind the last newline of a file; nothing to do where there is no file."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def counted_since(before: Counts, now: Counts) -> Counts:
    """The counts of a meter, purpose by purpose, less what it had counted before."""
    differences: Counts = {}
    for purpose, usage in now.items():
        old = before.get(purpose, {})
        failures = {name: n - old.get("failures", {}).get(name, 0) for name, n in usage["failures"].items()}
        numbers = {name: round(n - old.get(name, 0), 3) for name, n in usage.items() if name != "failures"}
        if numbers["calls"]:
            differences[purpose] = {**numbers, "failures": {name: n for name, n in failures.items() if n}}
    return differences


def account(meters: Iterable[Metered]) -> Table:
    """What all calls of this process took, by purpose, as a table; seconds are those that callers waited, summed."""
    totals = {purpose: Usage() for purpose in PURPOSES.values()}
    for meter in meters:
        for purpose, usage in meter.usage.items():
            totals[PURPOSES[purpose]] += usage
    table = Table("purpose", box=None, pad_edge=False)
    for column in ("calls", "prompt tokens", "cached", "new tokens", "retries", "seconds waited", "failed"):
        table.add_column(column, justify="right")
    for name, usage in [*totals.items(), ("all", sum(totals.values(), Usage()))]:
        table.add_row(name, *_cells(usage))
    return table


def first_errors(meters: Iterable[Metered]) -> list[str]:
    """What the first failure of each outcome said."""
    told: dict[str, str] = {}
    for meter in meters:
        told = {**meter.first_errors, **told}
    return [told[outcome] for outcome in sorted(told)]


def _cells(usage: Usage) -> list[str]:
    failed = ", ".join(f"{count} {outcome}" for outcome, count in sorted(usage.failures.items()))
    numbers = (usage.calls, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, usage.retries)
    return [*(f"{number:,}" for number in numbers), f"{usage.seconds:,.1f}", failed or "0"]
