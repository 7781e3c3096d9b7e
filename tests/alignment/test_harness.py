"""Benchmarks through lm-evaluation-harness: its numbers are those of the model's own likelihoods."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from agents.errors import BadInput
from agents.language_model import Message
from agents.local import pretrained
from alignment.benchmarks import BENCHMARKS, Item, items_of
from alignment.harness import TASKS, Score, require_tasks, run_harness
from alignment.likelihood import likelihoods
from alignment.tokens import ChatFormat, Collator
from sandbox.dataset import Group


@pytest.fixture(scope="module")
def loaded(tiny_model_folder: Callable[..., Path]) -> tuple[Any, Any]:
    return pretrained("tiny", tiny_model_folder(3), torch.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Made-up rows of two benchmarks."""
    rows = [
        {
            "question": f"What is {number}?",
            "mc1_targets": {f"{number} it is, no doubt.": 1, "Eleven.": 0, "It is a bird, I think.": 0},
            "mc2_targets": {f"{number} it is.": 1, "A number.": 1, "A bird that sings.": 0},
        }
        for number in range(6)
    ]
    (tmp_path / "mc_task.json").write_text(json.dumps(rows))
    written = "".join(f"{number % 2},I gave away {number} pears.,True,False\n" for number in range(4))
    (tmp_path / "cm_test.csv").write_text(f"label,input,is_short,edited\n{written}")
    return tmp_path


def direct(model: Any, tokenizer: Any, items: Sequence[Item]) -> list[tuple[float, ...]]:
    """The summed log-probability of each choice as a reply, its end of turn left out."""
    format = ChatFormat.of(tokenizer)
    rows = []
    for item in items:
        count = len(item.choices)
        query = (Message("user", item.question),)
        group = Group(query, item.choices, (0.0,) * count, (False,) * count, ("",) * count, item.question)
        rows.append(format.row(group, 500))
    return [found.sums for found in likelihoods(model, [row for row in rows if row], Collator(format.pad))]


def by_metric(scores: Sequence[Score]) -> dict[tuple[str, str], Score]:
    return {(score.task, score.metric): score for score in scores}


def test_its_numbers_are_those_of_the_likelihoods(loaded: tuple[Any, Any], folder: Path) -> None:
    tasks = ("truthfulqa_mc1", "truthfulqa_mc2", "ethics")
    scores = by_metric(run_harness(*loaded, tasks, folder))
    assert [*scores] == [
        ("truthfulqa_mc1", "acc"), ("truthfulqa_mc1", "acc_norm"), ("truthfulqa_mc2", "mc2"),
        ("ethics", "acc"), ("ethics", "acc_norm"),
    ]  # fmt: skip
    for task in ("truthfulqa_mc1", "ethics"):
        items = items_of(task, folder)
        sums = direct(*loaded, items)
        per_character = [
            [total / len(choice) for total, choice in zip(each, item.choices, strict=True)]
            for each, item in zip(sums, items, strict=True)
        ]
        for metric, values in (("acc", sums), ("acc_norm", per_character)):
            right = [float(item.right[int(np.argmax(v))]) for item, v in zip(items, values, strict=True)]
            assert scores[task, metric].values == tuple(right)
            assert scores[task, metric].value == pytest.approx(np.mean(right))
            assert scores[task, metric].stderr == pytest.approx(np.std(right, ddof=1) / len(right) ** 0.5)
    items = items_of("truthfulqa_mc2", folder)
    mass = [np.exp(sums) for sums in direct(*loaded, items)]
    wanted = [m[list(item.right)].sum() / m.sum() for item, m in zip(items, mass, strict=True)]
    assert scores["truthfulqa_mc2", "mc2"].values == pytest.approx(wanted, abs=1e-4)


def test_accuracy_follows_the_labels(loaded: tuple[Any, Any], folder: Path) -> None:
    """On labels that are turned round the same model is wrong where it was right."""
    was = by_metric(run_harness(*loaded, ["ethics"], folder))["ethics", "acc"]
    text = (folder / "cm_test.csv").read_text()
    turned = text.replace("\n0,", "\n#,").replace("\n1,", "\n0,").replace("\n#,", "\n1,")
    (folder / "cm_test.csv").write_text(turned)
    now = by_metric(run_harness(*loaded, ["ethics"], folder))["ethics", "acc"]
    assert [a + b for a, b in zip(was.values, now.values, strict=True)] == [1.0] * 4


def test_a_limit_takes_fewer_and_one_item_has_no_error(loaded: tuple[Any, Any], folder: Path) -> None:
    few = by_metric(run_harness(*loaded, ["truthfulqa_mc1"], folder, limit=3))["truthfulqa_mc1", "acc"]
    whole = by_metric(run_harness(*loaded, ["truthfulqa_mc1"], folder))["truthfulqa_mc1", "acc"]
    assert few.values == whole.values[::2]
    (one, _) = run_harness(*loaded, ["ethics"], folder, limit=1)
    assert one.stderr is None and len(one.values) == 1


def test_the_shipped_pairs_need_no_folder(loaded: tuple[Any, Any]) -> None:
    acc, norm = run_harness(*loaded, ["pairs"], None, limit=12)
    assert (acc.metric, norm.metric) == ("acc", "acc_norm") and len(acc.values) == 12


def test_model_tokenizer_and_random_numbers_stay_as_they_are(loaded: tuple[Any, Any], folder: Path) -> None:
    model, tokenizer = loaded
    model.train()
    side, state = tokenizer.padding_side, torch.get_rng_state()
    run_harness(model, tokenizer, ["ethics"], folder)
    assert model.training and tokenizer.padding_side == side and torch.equal(torch.get_rng_state(), state)
    model.eval()


def test_every_benchmark_has_a_task_file() -> None:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: node.value)
    told = {path.stem: Loader(path.read_text()).get_single_data() for path in TASKS.glob("*.yaml")}
    del told["choice"]
    assert told.keys() == BENCHMARKS.keys()
    assert all(task["task"] == task["dataset_kwargs"]["task"] == name for name, task in told.items())


def test_what_is_missing_is_told_before_a_model_is_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="task hhh: .* holds no hhh_alignment"):
        require_tasks(["ethics", "hhh"], folder)
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "lm_eval":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadInput, match=r"pip install 'social-sandbox\[harness\]'"):
        require_tasks(["ethics"], folder)
