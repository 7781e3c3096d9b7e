"""What a training cost: time, tokens, memory, and the models it held."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from alignment.methods import Method

SECONDS = "seconds"  # in a line of the trainer's log: of training, until then
MEAN_LENGTH = "completions/mean_length"  # TRL's name for that of a step's completions, in tokens


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a whole training, the parts before it was stopped included.

    `seconds`: of the steps alone, without measuring, loading and saving. `input_tokens`: of prompts and responses that
    went through the trained model, over all processes; `generated_tokens` are those among them that it wrote itself.
    `peak_memory_bytes`: on a GPU what tensors took, else of the whole process. `models`: which were held in memory.
    """

    seconds: float
    input_tokens: int
    generated_tokens: int
    peak_memory_bytes: int
    device: str
    processes: int
    models: Sequence[str]


class Stopwatch(TrainerCallback):  # type: ignore[misc]
    """Adds the seconds of training so far to every line of the log, and goes on from a checkpoint's."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Go on where a checkpoint stopped."""
        self.seconds = max((line.get(SECONDS, 0.0) for line in state.log_history), default=0.0)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start."""
        self._began = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop: whatever else is done at a step's end is not training."""
        self.seconds += time.monotonic() - self._began

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write it down."""
        state.log_history[-1][SECONDS] = round(self.seconds, 3)


def cost_of(trainer: Trainer, stopwatch: Stopwatch, method: Method) -> Cost:
    """What the training of `trainer` by this method cost."""
    args = trainer.args
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    state = trainer.state
    return Cost(
        seconds=round(stopwatch.seconds, 3),
        input_tokens=int(state.num_input_tokens_seen),
        generated_tokens=round(batch * sum(line.get(MEAN_LENGTH, 0.0) for line in state.log_history)),
        peak_memory_bytes=peak_memory(),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        processes=args.world_size,
        models=method.models,
    )


def peak_memory() -> int:
    """The most bytes held so far: by tensors on a GPU, else by this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
