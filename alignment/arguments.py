"""From the options of `align stable` and the table [trainer] to transformers' TrainingArguments."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from agents.errors import BadInput
from alignment.config import AlignStableOptions
from alignment.stable import StableAlignmentConfig
from sandbox.config import nearest

LEARNING_RATE = 2e-5  # as published
LORA_LEARNING_RATE = 2e-4

# Trainer settings that have an option of their own.
OPTION_OF = {
    "output_dir": "--out",
    "seed": "--seed",
    "num_train_epochs": "--epochs",
    "learning_rate": "--learning-rate",
    "gradient_accumulation_steps": "--groups-per-step",
    "weight": "--weight",
    "margin": "--margin",
    "reduction": "--reduction",
    "rating_scale": "--rating-scale",
    "responses": "--responses",
    "max_length": "--max-length",
}


def training_arguments(options: AlignStableOptions, scale: float) -> StableAlignmentConfig:
    """The trainer's settings; raises BadInput where [trainer] names what it should not, or batches don't divide."""
    known = [field.name for field in fields(StableAlignmentConfig) if field.init]
    for key in options.trainer:
        if key in OPTION_OF:
            raise BadInput(f"[trainer] {key}: has an option of its own; use {OPTION_OF[key]}")
        if key not in known:
            raise BadInput(f"[trainer]: unknown key {key!r}; {nearest(key, known)}")
    settings: dict[str, Any] = {
        "output_dir": f"{options.out}.checkpoints",  # written only where [trainer] sets a save_strategy
        "seed": options.seed,
        "num_train_epochs": options.epochs,
        "learning_rate": options.learning_rate or (LORA_LEARNING_RATE if options.lora else LEARNING_RATE),
        "weight": options.weight,
        "margin": options.margin,
        "reduction": options.reduction,
        "rating_scale": scale,
        "responses": options.responses,
        "max_length": options.max_length,
        "disable_tqdm": True,
        **options.trainer,
    }
    try:
        args = StableAlignmentConfig(**settings)
    except (TypeError, ValueError) as error:
        raise BadInput(f"[trainer]: {' '.join(str(error).split())}; mend the table") from error
    at_once = args.per_device_train_batch_size * args.world_size
    if options.groups_per_step % at_once:
        raise BadInput(
            f"--groups-per-step {options.groups_per_step}: is not a multiple of the {at_once} groups that "
            f"{args.world_size} processes take at once; choose one, or another per_device_train_batch_size in [trainer]"
        )
    args.gradient_accumulation_steps = options.groups_per_step // at_once
    return args
