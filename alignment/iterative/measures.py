"""What is told of the answers to what a model is never trained on, after every iteration, and of what it all took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import ceil
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from alignment.likelihood import Estimate, estimate, mean_estimate
from alignment.report.words import with_interval

Row = dict[str, Any]
WORST = 10  # the worst answers are one of so many


def answers_numbers(rows: Sequence[Row], start: Sequence[Row] | None) -> Row:
    """By set of prompts: the mean reward of its answers, that of the worst tenth, how long and how often finished.

    With the answers at the `start` also the difference from them, paired by prompt.
    """
    found: Row = {}
    for kind in dict.fromkeys(row["set"] for row in rows):
        now = {row["question"]: row for row in rows if row["set"] == kind}
        rewards = [row["reward"] for row in now.values() if row["reward"] is not None]
        said = [row for row in now.values() if row["outcome"] == "ok"]
        numbers: Row = {
            "answers": len(now),
            "rated": len(rewards),
            "reward": plain(mean_estimate(rewards)),
            "worst": plain(worst_estimate(rewards)),
            "tokens": fmean(row["tokens"] for row in said) if said else None,
            "finished": fmean(row["finished"] for row in said) if said else None,
        }
        if start is not None:
            then = {row["question"]: row["reward"] for row in start if row["set"] == kind}
            both = [(r["reward"], then[q]) for q, r in now.items() if r["reward"] is not None and then[q] is not None]
            numbers["gain"] = plain(mean_estimate([new - old for new, old in both]))
            numbers["worst_gain"] = plain(worst_gain(both))
        found[kind] = numbers
    return found


def worst_estimate(rewards: Sequence[float]) -> Estimate | None:
    """The mean of the worst tenth of the rewards, whose interval resamples prompts; None where there are none."""
    return estimate([np.array(rewards, dtype=float)], _worst, 0)


def worst_gain(both: Sequence[tuple[float, float]]) -> Estimate | None:
    """The worst tenth of the first rewards less that of the second ones, which are of the same prompts.

    The tenths may be of different prompts; prompts are resampled together.
    """
    new, old = np.array(both, dtype=float).reshape(-1, 2).T
    return estimate([new, old], lambda one, other, axis=-1: _worst(one, axis) - _worst(other, axis), 0)


def by_model(metrics: Mapping[str, Any], name: str) -> list[Row]:
    """The numbers of that name ("answers", "reference"), of one model after the other.

    In "iteration" stands the one that a model came out of; "untrained" is the one before a fine-tuning, if there was
    one.
    """
    untrained = (metrics.get("untrained") or {}).get(name)
    return [*([] if untrained is None else [{"iteration": "untrained", **untrained}]), *metrics[name]]


def answers_table(metrics: Mapping[str, Any]) -> Table:
    """The answers to what was never trained on, after every iteration, for a person."""
    table = Table("after iteration", "prompts", "reward", "change", "worst tenth", "change", "tokens", "finished")
    for row in by_model(metrics, "answers"):
        for kind, told in row.items():
            if kind != "iteration":
                changes = [_told(told.get("gain"), "+z.3f"), _told(told.get("worst_gain"), "+z.3f")]
                table.add_row(
                    str(row["iteration"]),
                    f"{told['answers']} {kind}",
                    _told(told["reward"]),
                    changes[0],
                    _told(told["worst"]),
                    changes[1],
                    "–" if told["tokens"] is None else f"{told['tokens']:.1f}",
                    "–" if told["finished"] is None else f"{told['finished']:.0%}",
                )
    return table


def cost_of(telemetry: Sequence[Row]) -> Row:
    """Seconds and tokens by phase, over all iterations and all times that a phase was gone on with."""
    total: dict[str, Counter[str]] = {}
    for row in telemetry:
        counts = {name: value for name, value in row.items() if name not in ("iteration", "phase")}
        total.setdefault(row["phase"], Counter()).update(counts)
    return {phase: {name: round(value, 3) for name, value in counts.items()} for phase, counts in total.items()}


def _worst(rewards: NDArray[np.float64], axis: int = -1) -> Any:
    count = ceil(rewards.shape[axis] / WORST)
    return np.sort(rewards, axis=axis).take(range(count), axis=axis).mean(axis)


def _told(found: Mapping[str, float | None] | None, form: str = ".3f") -> str:
    return "–" if found is None else with_interval(found["value"] or 0.0, found["low"], found["high"], form)


def plain(found: Estimate | None) -> Mapping[str, float | None] | None:
    """An estimate for JSON."""
    return None if found is None else asdict(found)
