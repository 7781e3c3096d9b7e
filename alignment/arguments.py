"""From the options of a training and the table [trainer] to transformers' TrainingArguments."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from transformers import TrainingArguments

from agents.errors import BadInput
from alignment.config import StepOptions
from alignment.group_trainer import bf16_at_hand
from alignment.methods import Method
from sandbox.config import nearest

# Trainer settings that have an option of their own, whatever the method.
OPTION_OF = {
    "output_dir": "--out",
    "seed": "--seed",
    "num_train_epochs": "--epochs",
    "learning_rate": "--learning-rate",
    "gradient_accumulation_steps": "--groups-per-step",
    "train_sampling_strategy": "--seed or --stages",
    "save_strategy": "--save-steps",
    "save_steps": "--save-steps",
    "resume_from_checkpoint": "--resume",
    "report_to": "--report-to",
    "gradient_checkpointing": "activation_checkpointing, its name since transformers 5",
}
GROUPS_AT_ONCE = "per_device_train_batch_size"


def training_arguments(options: StepOptions, method: Method) -> TrainingArguments:
    """The trainer's settings; raises BadInput where [trainer] names what it should not, or batches don't divide."""
    flags = OPTION_OF | {name: f"--{method.flags.get(name, name).replace('_', '-')}" for name in method.settings}
    known = [field.name for field in fields(method.config) if field.init]
    for key in options.trainer:
        if key in flags:
            raise BadInput(f"[trainer] {key}: has an option of its own; use {flags[key]}")
        if key not in known:
            raise BadInput(f"[trainer]: unknown key {key!r}; {nearest(key, known)}")
    given = _common(options) | method.defaults | method.settings | options.trainer
    at_once = given.pop(GROUPS_AT_ONCE, 1)
    given.setdefault("learning_rate", options.learning_rate or method.learning_rate[options.lora])
    try:
        processes = TrainingArguments(use_cpu=given["use_cpu"]).world_size
        return method.config(
            **given,
            per_device_train_batch_size=at_once * method.rows,
            gradient_accumulation_steps=_steps(options, at_once, processes),
        )
    except (TypeError, ValueError, ImportError) as error:
        raise BadInput(f"[trainer]: {' '.join(str(error).split())}; mend the table") from error


def _common(options: StepOptions) -> dict[str, Any]:
    use_cpu = options.trainer.get("use_cpu", False) or not torch.accelerator.is_available()
    return {
        "output_dir": f"{options.out}.checkpoints",
        "seed": options.seed,
        "num_train_epochs": 1,  # the visits of all epochs stand in the dataset one after another
        "train_sampling_strategy": "sequential",
        "save_strategy": "steps" if options.save_steps else "no",
        "save_steps": options.save_steps or 500,
        "save_total_limit": 2,  # one is removed while other processes may still be writing into the next
        "report_to": options.report_to or "none",
        "include_num_input_tokens_seen": "non_padding",
        "use_cpu": use_cpu,
        "bf16": bf16_at_hand(use_cpu=use_cpu, fp16=options.trainer.get("fp16", False)),
        "dataloader_pin_memory": not use_cpu,
        "remove_unused_columns": False,
        "disable_tqdm": True,
    }


def _steps(options: StepOptions, at_once: int, processes: int) -> int:
    """How many batches make a step."""
    if at_once < 1 or options.groups_per_step % (at_once * processes):
        raise BadInput(
            f"--groups-per-step {options.groups_per_step}: is not a multiple of the {at_once * processes} groups that "
            f"{processes} processes take at once; choose one, or another {GROUPS_AT_ONCE} in [trainer]"
        )
    return options.groups_per_step // (at_once * processes)
