"""A training by eva read back from its folder, and the numbers that sum it up."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from alignment.eva.creator import weights_of
from alignment.iterative.course import MODEL
from alignment.iterative.measures import answers_numbers, cost_of, plain
from alignment.iterative.prompts import Task, tasks_in
from alignment.likelihood import mean_estimate
from alignment.phases import whole_rows
from alignment.reward_model.openness import spread
from sandbox.compare.diversity import Encode
from sandbox.texts import Wording

Row = dict[str, Any]


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
        "informativeness": plain(mean_estimate(weights)),
        "max_min": plain(mean_estimate([max(rewards) - min(rewards) for rewards in full])),
        "reward": plain(mean_estimate([fmean(rewards) for rewards in full])),
        "best": plain(mean_estimate([max(rewards) for rewards in full])),
        "worst": plain(mean_estimate([min(rewards) for rewards in full])),
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
        tasks_in(folder / "prompts.jsonl"),
        rows("evolved"),
        rows("responses"),
        rows("rewards"),
        rows("pairs"),
        rows("answers"),
        json.loads(learned.read_text("utf-8")) if learned.exists() else {},
        whole_rows(folder / MODEL / "trainer_log.jsonl"),
    )
