"""The folder that a training leaves behind: the model, and what tells how it came about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerState

from agents.local import saving
from alignment.config import StepOptions
from alignment.phases import json_line
from alignment.stability import is_point
from sandbox.toml import toml_of

ADAPTER = "adapter"


def write_model(
    folder: Path | None, trainer: Trainer, tokenizer: Any, options: StepOptions, untrained: Callable[[], Any]
) -> None:
    """Write the model to `folder`, with an adapter merged into the `untrained` one.

    All processes call this; only the first one has a folder. Raises BadInput where there is no room.
    """
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # gathered, where processes hold parts
    if folder is None:
        return
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    with saving(options.out):
        if options.lora:
            from peft import PeftModel  # which is at hand where there is an adapter

            model.save_pretrained(
                folder / ADAPTER, state_dict=weights, save_embedding_layers=False, selected_adapters=["default"]
            )
            model, weights = PeftModel.from_pretrained(untrained(), folder / ADAPTER).merge_and_unload(), None
        model.save_pretrained(folder, state_dict=weights)
        tokenizer.save_pretrained(folder)


def write_record(
    folder: Path,
    options: StepOptions,
    resolved: Mapping[str, Any],
    state: TrainerState,
    points: Iterable[Mapping[str, Any]],
) -> None:
    """Write the options, as they were `resolved`, the `points` watched, and the trainer's own log."""
    values = options.model_dump(mode="json", exclude={"config", "out", "sources", "resume"})
    (folder / "align.toml").write_text(toml_of({**values, **resolved}), encoding="utf-8")
    write_rows(folder / "stability.jsonl", points)
    steps = [line for line in state.log_history if not is_point(line) and "train_loss" not in line]
    write_rows(folder / "trainer_log.jsonl", map(_of_step, steps))


def _of_step(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the trainer's log without speeds, which are those since it went on from a checkpoint."""
    return {name: value for name, value in line.items() if not name.startswith("train_")}


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON Lines."""
    path.write_text("".join(map(json_line, rows)), encoding="utf-8")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one JSON object, for people too."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n", encoding="utf-8")
