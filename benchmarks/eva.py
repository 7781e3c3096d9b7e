"""eva's comparison (arXiv 2411.00062, section 5): do evolved prompts teach more than the same, or fresh, ones?

Each arm is one `align eva` with equal numbers of prompts, responses and steps, so of nearly equal cost: a curriculum
(static prompts, fresh ones that people wrote, informative ones met again, evolved ones) by one optimiser, and the
evolved one by each of the four. All arms begin with the same prompts and model. Told of each: the reward of greedy
answers to held-out and to hard prompts, as a mean and of the worst tenth, how far these rose, paired by prompt, and by
how much more than those of the static arm; the same by a second observer, who gave no rewards; tokens and seconds.

    python benchmarks/eva.py PROMPTS --hard FILE --out DIR [--arm evolve-dpo …] [OPTIONS OF align eva]

A training that is there already, or half there, is gone on with. Prints a table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.table import Table

from agents.models import EMBEDDED_ENCODER, EMBEDDED_MODEL
from alignment.eva.record import Record, read_record
from alignment.iterative.measures import answers_numbers, cost_of, worst_gain
from alignment.judge import opened_judge
from alignment.likelihood import Estimate, mean_estimate
from sandbox.console import table_console

ARMS = {
    "static-dpo": ("static", "dpo"),
    "fresh-dpo": ("fresh", "dpo"),
    "sample-dpo": ("sample", "dpo"),
    "evolve-dpo": ("evolve", "dpo"),
    "evolve-simpo": ("evolve", "simpo"),
    "evolve-sppo": ("evolve", "sppo"),
    "evolve-orpo": ("evolve", "orpo"),
}
BASELINE = "static-dpo"


def trained(arm: str, args: argparse.Namespace) -> Record:
    """The training of an arm."""
    curriculum, optimiser = ARMS[arm]
    folder = args.out / arm
    command = [sys.executable, "-c", "from alignment.cli import align; align()", "eva", str(args.prompts)]
    command += ["--hard", str(args.hard), "--out", str(folder), "--iterations", str(args.iterations)]
    command += ["--curriculum", curriculum, "--optimiser", optimiser, *args.options]
    subprocess.run(command + ["--resume"] * (folder / "training.json").exists(), check=True)
    return read_record(folder, args.iterations)


def rewards(record: Record, iteration: int) -> dict[tuple[str, str], float]:
    """The reward of each answer that has one, by set and prompt."""
    rows = record.iterations[iteration].answers
    return {(row["set"], row["question"]): row["reward"] for row in rows if row["reward"] is not None}


def observed(record: Record, iteration: int, observer: Any) -> dict[tuple[str, str], float]:
    """The same answers by another observer."""
    rows = [row for row in record.iterations[iteration].answers if (row["text"] or "").strip()]
    ratings = observer.rate([row["question"] for row in rows], [row["text"] for row in rows])
    return {
        (row["set"], row["question"]): rating for row, rating in zip(rows, ratings, strict=True) if rating is not None
    }


def paired(new: dict[Any, float], old: dict[Any, float], kind: str) -> list[tuple[float, float]]:
    """The rewards of the prompts of a set that have both."""
    return [(new[key], old[key]) for key in new if key in old and key[0] == kind]


def numbers_of(record: Record, static: Record | None, observer: Any) -> dict[str, Any]:
    """What is told of an arm, by set of prompts."""
    start, end = record.iterations[0].answers, record.iterations[-1].answers
    found: dict[str, Any] = answers_numbers(end, start)
    now = rewards(record, -1)
    seen, seen_before = observed(record, -1, observer), observed(record, 0, observer)
    for kind, told in found.items():
        told["second_gain"] = told_of(mean_estimate([a - b for a, b in paired(seen, seen_before, kind)]))
        if static is not None:
            both = paired(now, rewards(static, -1), kind)
            told["over_static"] = told_of(mean_estimate([a - b for a, b in both]))
            told["worst_over_static"] = told_of(worst_gain(both))
    return {
        **found,
        "pairs": sum(len(each.pairs) for each in record.iterations),
        "steps": sum(each.learned.get("steps", 0) for each in record.iterations),
        "cost": cost_of(record.telemetry),
    }


def told_of(found: Estimate | None) -> dict[str, float | None] | None:
    return None if found is None else {"value": found.value, "low": found.low, "high": found.high}


def cell(found: dict[str, float | None] | None, form: str = "+.2f") -> str:
    """A number with its interval."""
    if found is None:
        return "–"
    low, high = found["low"], found["high"]
    return f"{found['value']:{form}}" + ("" if low is None else f" ({low:{form}} … {high:{form}})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--hard", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arm", action="append", choices=ARMS)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--second", default="embedding", help="the second observer")
    args, args.options = parser.parse_known_args()
    records = {arm: trained(arm, args) for arm in args.arm or ARMS}
    observer = opened_judge(args.second, EMBEDDED_MODEL, EMBEDDED_ENCODER, "alignment")
    static = records.get(BASELINE)
    found = {arm: numbers_of(record, None if arm == BASELINE else static, observer) for arm, record in records.items()}
    for kind in next(iter(found.values())):
        if kind in ("pairs", "steps", "cost"):
            continue
        columns = ("reward", "gain", "over static", "worst tenth", "gain", "over static", f"gain by {args.second}")
        table = Table("arm", *columns, title=f"{kind} prompts")
        for arm, told in found.items():
            of = told[kind]
            names = ("gain", "over_static", "worst", "worst_gain", "worst_over_static", "second_gain")
            cells = [cell(of.get(name), ".2f" if name == "worst" else "+.2f") for name in names]
            table.add_row(arm, cell(of["reward"], ".2f"), *cells)
        table_console().print(table)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
