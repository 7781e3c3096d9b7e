"""Multiple-choice and pair benchmarks by lm-evaluation-harness, offline, from the files in a folder of the user's."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from agents.chat import SETTINGS
from agents.errors import BadInput
from alignment.benchmarks import items_of

TASKS = Path(str(files("alignment") / "tasks"))
BATCH = 8  # lines at once
UNFILTERED = "none"  # the harness's name for replies as they are


@dataclass(frozen=True, slots=True)
class Score:
    """A metric of a task: its mean over items with the standard error, and `values`, those of each item in order."""

    task: str
    metric: str
    value: float
    stderr: float | None
    values: tuple[float, ...]


def require_tasks(tasks: Sequence[str], data: Path | None) -> None:
    """Raises BadInput: no harness is installed, a task is unknown, its file is missing or none of its form."""
    for task in tasks:
        items_of(task, data)
    try:
        import lm_eval  # noqa: F401
    except ImportError as error:
        raise BadInput("tasks need lm-evaluation-harness: pip install 'social-sandbox[harness]'") from error


def run_harness(
    model: Any, tokenizer: Any, tasks: Sequence[str], data: Path | None, *, limit: int | None = None
) -> list[Score]:
    """Every metric of the tasks, each question being the user's turn of a chat and each choice the reply to it.

    `model` and `tokenizer` as `agents.local.pretrained` gives them, which stay as they are. `data` is the folder of the
    benchmarks' files; at most `limit` items of each task are taken, evenly over its files. Raises BadInput as
    `require_tasks` does.
    """
    require_tasks(tasks, data)
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    was_training, side = model.training, tokenizer.padding_side
    with _quiet():
        metadata = {"data": data, "limit": limit}
        manager = TaskManager(include_path=TASKS, include_defaults=False, metadata=metadata)
        reader = HFLM(model, tokenizer=tokenizer, batch_size=BATCH, chat_template_args=SETTINGS)
        try:
            found = evaluate(reader, manager.load(list(dict.fromkeys(tasks))), apply_chat_template=True)
        finally:
            model.train(was_training)
            tokenizer.padding_side = side
    return [score for task in dict.fromkeys(tasks) for score in _scores(task, found)]


def documents(*, task: str, data: Path | None = None, limit: int | None = None, **_: Any) -> dict[str, Any]:
    """What the harness reads for a task, by its task file: one dataset, named test."""
    from datasets import Dataset

    rows = [
        {
            "question": item.question,
            "choices": list(item.choices),
            "label": item.right.index(True),
            "right": list(item.right),
        }
        for item in items_of(task, data, limit)
    ]
    return {"test": Dataset.from_list(rows)}


def mc2(document: dict[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """MC2 of TruthfulQA, of one document: the probability of all right choices, if there were only the choices."""
    mass = softmax([total for total, _ in results])
    return {"mc2": float(mass[np.array(document["right"])].sum())}


def _scores(task: str, found: Any) -> Iterator[Score]:
    told, samples = found["results"][task], found["samples"][task]
    for metric in samples[0]["metrics"]:
        error = told[f"{metric}_stderr,{UNFILTERED}"]
        yield Score(
            task=task,
            metric=metric,
            value=float(told[f"{metric},{UNFILTERED}"]),
            stderr=None if isinstance(error, str) else float(error),  # "N/A" of a single item
            values=tuple(float(sample[metric]) for sample in samples),
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the harness tells of its own settings."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
