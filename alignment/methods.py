"""The methods that a model can be trained by: each one's settings and trainer.

Stable Alignment is this project's own; the others are TRL's trainers over the same rows, to compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import Trainer

from alignment.config import (
    AlignDpoOptions,
    AlignRewardModelOptions,
    AlignRlooOptions,
    AlignSftOptions,
    AlignStableOptions,
    TrainingOptions,
)
from alignment.groups import Ratings
from alignment.judge import Judge
from alignment.weights import whole_model
from sandbox.dataset import Group

SCHEDULE = {"lr_scheduler_type": "cosine", "warmup_steps": 0.03}  # of all methods, as published for ours


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a trainer is made of: a model, and the visits of the training in order, as groups and as its rows."""

    model: Any
    tokenizer: Any
    groups: Sequence[Group]
    rows: Sequence[Any]
    judge: Judge | None


@dataclass(frozen=True, slots=True)
class Method:
    """A way to train.

    `config` is the class of the trainer's settings; `settings` those that have options of their own, and `flags` these
    options' names where they are others; `defaults` those of ours that differ from the class's. `models` are held in
    memory. `learning_rate`: of all weights, and of an adapter. A visit is `rows` rows of the trainer's batch.
    """

    name: str
    config: type[Any]
    settings: dict[str, Any]
    trainer: Callable[[Lesson, Any], Trainer]
    learning_rate: tuple[float, float]
    models: tuple[str, ...]
    rows: int = 1
    defaults: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, str] = field(default_factory=dict)


def method_of(options: TrainingOptions, data: Ratings) -> Method:
    """The method that these options are of, to train on `data`. Raises BadInput."""
    match options:
        case AlignStableOptions():
            return _stable(options, data.scale)
        case AlignSftOptions():
            return sft(options.max_length)
        case AlignDpoOptions():
            return _dpo(options)
        case AlignRlooOptions():
            return _rloo(options)
        case AlignRewardModelOptions():
            return _reward_model(options, data.delta)
    raise TypeError(f"no method has options of {type(options).__name__}")


def _stable(options: AlignStableOptions, scale: float) -> Method:
    from alignment.stable import StableAlignmentConfig, StableAlignmentTrainer

    settings = {
        "weight": options.weight,
        "margin": options.margin,
        "reduction": options.reduction,
        "responses": options.responses,
        "rating_scale": scale,
        "max_length": options.max_length,
    }
    return Method(
        "stable",
        StableAlignmentConfig,
        settings,
        lambda lesson, args: StableAlignmentTrainer(lesson.model, args, lesson.groups, lesson.tokenizer),
        learning_rate=(2e-5, 2e-4),  # the former as published
        models=("policy",),
    )


def sft(max_length: int) -> Method:
    """Supervised fine-tuning on the best response of each visit, cut at `max_length` tokens with its prompt."""
    from trl import SFTConfig  # takes seconds

    from alignment import baselines

    return Method(
        "sft",
        SFTConfig,
        {"max_length": max_length},
        lambda lesson, args: baselines.sft_trainer(lesson.model, args, lesson.rows, lesson.tokenizer),
        learning_rate=(2e-5, 2e-4),  # that of Stable Alignment, of which it is the part without contrast
        models=("policy",),
        defaults=baselines.DEFAULTS | SCHEDULE,
    )


def _dpo(options: AlignDpoOptions) -> Method:
    from trl import DPOConfig

    from alignment import baselines

    def trainer(lesson: Lesson, args: Any) -> Trainer:
        # An adapter is switched off for the reference.
        reference = None if options.lora else whole_model(options.model)[0]
        return baselines.dpo_trainer(lesson.model, args, lesson.rows, lesson.tokenizer, reference)

    return Method(
        options.loss,
        DPOConfig,
        {"beta": options.beta, "loss_type": ["sigmoid" if options.loss == "dpo" else "ipo"],
         "max_length": options.max_length},
        trainer,
        learning_rate=(1e-6, 1e-5),  # TRL's own defaults; ten times that for an adapter
        models=("policy",) if options.lora else ("policy", "reference"),
        defaults=baselines.DEFAULTS | SCHEDULE,
        flags={"loss_type": "loss"},
    )  # fmt: skip


def _rloo(options: AlignRlooOptions) -> Method:
    from trl import RLOOConfig

    from alignment import baselines

    def trainer(lesson: Lesson, args: Any) -> Trainer:
        if lesson.judge is None:
            raise ValueError("RLOO needs a judge")
        return baselines.rloo_trainer(lesson.model, args, lesson.groups, lesson.tokenizer, lesson.judge)

    held = ("policy", "reference") if options.beta and not options.lora else ("policy",)
    return Method(
        "rloo",
        RLOOConfig,
        {
            "beta": options.beta,
            "num_generations": options.generations,
            "max_completion_length": options.completion_tokens,
            "temperature": options.temperature,
        },
        trainer,
        learning_rate=(1e-6, 1e-5),
        models=(*held, "judge"),
        rows=options.generations,
        defaults=baselines.DEFAULTS
        | SCHEDULE
        | {"shuffle_dataset": False, "include_num_input_tokens_seen": "no"},  # TRL counts by itself
        flags={"num_generations": "generations", "max_completion_length": "completion-tokens"},
    )


def _reward_model(options: AlignRewardModelOptions, delta: float) -> Method:
    from alignment.reward_model.trainer import RewardModelConfig, RewardModelTrainer

    return Method(
        "reward-model",
        RewardModelConfig,
        {"utility": options.utility, "delta": delta, "max_length": options.max_length},
        lambda lesson, args: RewardModelTrainer(lesson.model, args, lesson.rows, lesson.tokenizer),
        learning_rate=(5e-5, 5e-4),
        models=("reward model",),
    )
