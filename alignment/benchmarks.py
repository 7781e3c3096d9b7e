"""Questions with choices, in one form: the sets that are shipped, and the files of published benchmarks in a folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from agents.errors import BadInput
from agents.rows import read_rows, read_text

SHIPPED = Path(str(files("alignment") / "data"))

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """A question and the replies to choose from; `right` tells of each whether it is a right one.

    `kind` is what the set sorts its items by: a skill, topic or category.
    """

    question: str
    choices: tuple[str, ...]
    right: tuple[bool, ...]
    kind: str

    def __post_init__(self) -> None:
        texts = (self.question, *self.choices)
        if not all(isinstance(text, str) and text.strip() for text in texts) or len(self.right) != len(self.choices):
            raise ValueError("question and choices must be texts, and each choice right or wrong")
        if len(set(self.right)) < 2:
            raise ValueError("there must be a right choice and a wrong one")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Which files of the user's folder, of any of `patterns`, hold a benchmark, and which item is in a row.

    `read` gives None for a row that is not asked. `form` tells the user what a file holds. `folder` is where files are
    looked for instead of the user's.
    """

    patterns: tuple[str, ...]
    form: str
    read: Callable[[Row], Item | None]
    folder: Path | None = None


def items_of(task: str, data: Path | None, limit: int | None = None) -> tuple[Item, ...]:
    """The items of a task, at most `limit` of them, evenly over its files.

    `data` is the folder with the benchmarks' files, which the shipped sets need not. Raises BadInput: an unknown task,
    no such file, a row that is none of its format.
    """
    if task not in BENCHMARKS:
        raise BadInput(f"task {task!r}: unknown; known: {', '.join(BENCHMARKS)}")
    benchmark = BENCHMARKS[task]
    paths = _paths(task, benchmark, data)
    items = [item for path in paths for item in _read(task, benchmark, path)]
    if not items:
        raise BadInput(f"task {task}: no item in {', '.join(map(str, paths))}; it reads {benchmark.form}")
    count = len(items) if limit is None else min(limit, len(items))
    return tuple(items[number * len(items) // count] for number in range(count))


def _paths(task: str, benchmark: Benchmark, data: Path | None) -> list[Path]:
    names = " or ".join(benchmark.patterns)
    folder = benchmark.folder or data
    if folder is None:
        raise BadInput(f"task {task}: reads {names}; name the folder that holds it")
    paths = sorted({path for pattern in benchmark.patterns for path in folder.glob(pattern) if path.is_file()})
    if not paths:
        raise BadInput(f"task {task}: {folder} holds no {names}, with {benchmark.form}; put it there")
    return paths


def _read(task: str, benchmark: Benchmark, path: Path) -> Iterator[Item]:
    for place, row in _rows(path):
        try:
            item = benchmark.read(row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            told = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
            raise BadInput(f"{place}: no item of task {task} ({told}); it reads {benchmark.form}") from error
        if item is not None:
            yield item


def _rows(path: Path) -> Sequence[tuple[str, Row]]:
    """(place, row) of a file of BIG-bench, a CSV, or a JSON or JSON Lines file."""
    if path.name == "task.json":
        return _big_bench(path)
    if path.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
        return [(f"{path} row {number}", dict(row)) for number, row in enumerate(rows, start=1)]
    return read_rows(path)


def _big_bench(path: Path) -> list[tuple[str, Row]]:
    try:
        examples = json.loads(read_text(path))["examples"]
        return [(f"{path} example {n}", {**row, "subset": path.parent.name}) for n, row in enumerate(examples, start=1)]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{path}: no task of BIG-bench ({error!r}); give its task.json, with a list 'examples'"
        ) from error


# What is in a row. KeyError, TypeError and ValueError tell that it is none of the format.


def _ability(row: Row) -> Item:
    return _one_right(row["question"], row["choices"], row["label"], row["skill"])


def _pair(row: Row) -> Item:
    return _one_right(row["prompt"], (row["chosen"], row["rejected"]), 0, row["topic"])


def _hhh(row: Row) -> Item:
    scores = row["target_scores"]
    return Item(row["input"].strip(), tuple(scores), tuple(score > 0 for score in scores.values()), row["subset"])


def _truthful(name: str) -> Callable[[Row], Item]:
    def read(row: Row) -> Item:
        if name in row:
            labels = dict(zip(row[name]["choices"], row[name]["labels"], strict=True))
        else:
            labels = row[f"{name}_targets"]
        right = tuple(label == 1 for label in labels.values())
        return Item(row["question"], tuple(labels), right, row.get("category", ""))

    return read


def _ethics(row: Row) -> Item | None:
    if row.get("topic", "commonsense") != "commonsense":
        return None  # asks something else: whether a reason is a reasonable one
    text = row["input"] if "input" in row else row["text"]
    wrong = {"1": True, "0": False, "wrong": True, "not wrong": False}[str(row["label"])]
    return _one_right(f"{text.strip()}\n\nIs this wrong? Answer yes or no.", ("No", "Yes"), int(wrong), "commonsense")


def _moral_story(row: Row) -> Item:
    told = " ".join(row[name].strip() for name in ("norm", "situation", "intention"))
    return _one_right(f"{told} What happens next?", (row["moral_action"], row["immoral_action"]), 0, "")


def _bbq(row: Row) -> Item | None:
    if row["context_condition"] != "ambig":
        return None
    choices = row["choices"] if "choices" in row else [row[f"ans{number}"] for number in range(3)]
    return _one_right(f"{row['context']} {row['question']}", choices, row["label"], row["category"])


def _one_right(question: str, choices: Sequence[str], label: int, kind: str) -> Item:
    if not 0 <= label < len(choices):
        raise ValueError(f"'label' is {label}, of {len(choices)} choices")
    return Item(question, tuple(choices), tuple(place == label for place in range(len(choices))), kind)


_TRUTHFUL = ("mc_task.json", "*truthfulqa*.jsonl")

BENCHMARKS = {
    "abilities": Benchmark(("abilities.jsonl",), "{skill, question, choices, label}", _ability, SHIPPED),
    "pairs": Benchmark(("pairs.jsonl",), "{topic, prompt, chosen, rejected}", _pair, SHIPPED),
    "hhh": Benchmark(("hhh_alignment/*/task.json",), "examples of {input, target_scores}", _hhh),
    "truthfulqa_mc1": Benchmark(_TRUTHFUL, "{question, mc1_targets} or {question, mc1}", _truthful("mc1")),
    "truthfulqa_mc2": Benchmark(_TRUTHFUL, "{question, mc2_targets} or {question, mc2}", _truthful("mc2")),
    "ethics": Benchmark(
        ("cm_test.csv", "commonsense/cm_test.csv", "*ethics*.jsonl"),
        "{input, label} with label 0 or 1, or {text, label} with label wrong or not wrong",
        _ethics,
    ),
    "moral_stories": Benchmark(
        ("moral_stories*.jsonl",), "{norm, situation, intention, moral_action, immoral_action}", _moral_story
    ),
    "bbq": Benchmark(
        ("*bbq*.jsonl", "bbq/*.jsonl"),
        "{context_condition, context, question, ans0, ans1, ans2, label, category}, or choices for the three",
        _bbq,
    ),
}
