"""A training by eva read back from its folder, and the numbers that sum it up."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from alignment.eva.creator import weights_of
from alignment.eva.curriculum import Task
from alignment.eva.setup import MODEL
from alignment.likelihood import Estimate, estimate, mean_estimate
from alignment.phases import whole_rows
from alignment.report.words import with_interval
from alignment.reward_model.openness import spread
from sandbox.compare.diversity import Encode
from sandbox.texts import Wording

Row = dict[str, Any]
WORST = 10  # the worst answers are one of so many


@dataclass(frozen=True, slots=True)
class Iteration:
    """An iteration as its files tell it; that of the untrained model, 0, has answers only.

    `learned` is what its training took, `log` the trainer's log.
    """

    number: int
    tasks: list[Task]
    evolved: list[Row]
    responses: list[Row]
    rewards: list[Row]
    pairs: list[Row]
    answers: list[Row]
    learned: Row
    log: list[Row]


@dataclass(frozen=True, slots=True)
class Record:
    """A training: its folder, its settings (align.toml), its iterations from 0, and what each phase took."""

    folder: Path
    settings: Row
    iterations: list[Iteration]
    telemetry: list[Row]


def read_record(folder: Path, iterations: int) -> Record:
    """The training in `folder`, up to so many iterations. Raises BadInput where a file is broken."""
    settings = tomllib.loads((folder / "align.toml").read_text("utf-8"))
    read = [_iteration(folder / f"iteration-{number}", number) for number in range(iterations + 1)]
    return Record(folder, settings, read, whole_rows(folder / "telemetry.jsonl"))


def metrics_of(record: Record, encode: Encode) -> Row:
    """The numbers of a training, for metrics.json: every iteration's own, and the answers before and after each."""
    start = record.iterations[0].answers
    metric = record.settings["metric"]
    return {
        "method": "eva",
        **{name: record.settings[name] for name in ("optimiser", "curriculum", "metric", "judge")},
        "iterations": [_numbers(each, metric, encode) for each in record.iterations[1:]],
        "answers": [
            {"iteration": each.number, **answers_numbers(each.answers, start if each.number else None)}
            for each in record.iterations
        ],
        "cost": cost_of(record.telemetry),
    }


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
            "reward": _plain(mean_estimate(rewards)),
            "worst": _plain(worst_estimate(rewards)),
            "tokens": fmean(row["tokens"] for row in said) if said else None,
            "finished": fmean(row["finished"] for row in said) if said else None,
        }
        if start is not None:
            then = {row["question"]: row["reward"] for row in start if row["set"] == kind}
            both = [(r["reward"], then[q]) for q, r in now.items() if r["reward"] is not None and then[q] is not None]
            numbers["gain"] = _plain(mean_estimate([new - old for new, old in both]))
            numbers["worst_gain"] = _plain(worst_gain(both))
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


def answers_table(metrics: Mapping[str, Any]) -> Table:
    """The answers to what was never trained on, after every iteration, for a person."""
    table = Table("after iteration", "prompts", "reward", "change", "worst tenth", "change", "tokens", "finished")
    for row in metrics["answers"]:
        for kind, told in row.items():
            if kind != "iteration":
                changes = [_told(told.get("gain"), "+.3f"), _told(told.get("worst_gain"), "+.3f")]
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


def _numbers(iteration: Iteration, metric: str, encode: Encode) -> Row:
    texts = [task.text for task in iteration.tasks]
    wording = Wording()
    wording.add((text, ()) for text in texts)
    worded = wording.measures()
    known = [[reward for reward in row["rewards"] if reward is not None] for row in iteration.rewards]
    full = [rewards for rewards in known if len(rewards) > 1]
    weights = [weight for weight in weights_of(iteration.rewards, metric) if weight is not None]
    replies = [reply for row in iteration.responses for reply in row["responses"]]
    said = [reply for reply in replies if reply["outcome"] == "ok"]
    return {
        "iteration": iteration.number,
        "prompts": len(texts),
        "born": dict(sorted(Counter(str(task.born) for task in iteration.tasks).items())),
        "operators": operators_of(iteration),
        "words": worded.words,
        "distinct_2": worded.distinct_2,
        "spread": spread(encode(texts)) if len(texts) > 1 else None,
        "responses": len(replies),
        "failed": dict(Counter(reply["outcome"] for reply in replies if reply["outcome"] != "ok")),
        "unrated": len(said) - sum(map(len, known)),
        "tokens": fmean(reply["tokens"] for reply in said) if said else None,
        "finished": fmean(reply["finished"] for reply in said) if said else None,
        "informativeness": _plain(mean_estimate(weights)),
        "max_min": _plain(mean_estimate([max(rewards) - min(rewards) for rewards in full])),
        "reward": _plain(mean_estimate([fmean(rewards) for rewards in full])),
        "best": _plain(mean_estimate([max(rewards) for rewards in full])),
        "worst": _plain(mean_estimate([min(rewards) for rewards in full])),
        "pairs": len(iteration.pairs),
        "without_pair": len(texts) - len(iteration.pairs),
        "learned": iteration.learned,
    }


def operators_of(iteration: Iteration) -> Row:
    """By operator: how many prompts were evolved by it, kept and met, and how many were left out for which flaw."""
    met = Counter(task.operator for task in iteration.tasks if task.born == iteration.number)
    found: Row = {}
    for name in dict.fromkeys(row["operator"] for row in iteration.evolved):
        flaws = [row["flaw"] for row in iteration.evolved if row["operator"] == name]
        found[name] = {
            "evolved": len(flaws),
            "kept": flaws.count(None),
            "met": met[name],
            "flaws": dict(Counter(flaw for flaw in flaws if flaw is not None)),
        }
    return found


def _iteration(folder: Path, number: int) -> Iteration:
    def rows(name: str) -> list[Row]:
        return whole_rows(folder / f"{name}.jsonl")

    learned = folder / MODEL / "learned.json"
    return Iteration(
        number,
        [Task(**row) for row in rows("prompts")],
        rows("evolved"),
        rows("responses"),
        rows("rewards"),
        rows("pairs"),
        rows("answers"),
        json.loads(learned.read_text("utf-8")) if learned.exists() else {},
        whole_rows(folder / MODEL / "trainer_log.jsonl"),
    )


def _told(found: Mapping[str, float | None] | None, form: str = ".3f") -> str:
    return "–" if found is None else with_interval(found["value"] or 0.0, found["low"], found["high"], form)


def _plain(found: Estimate | None) -> Mapping[str, float | None] | None:
    return None if found is None else asdict(found)
