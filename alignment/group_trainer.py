"""What trainers over groups of rated responses share: a row is a group, a step's loss the mean over its groups."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from transformers import Trainer, TrainingArguments

from agents.errors import BadInput
from sandbox.dataset import Group


class Ranked(Protocol):
    """A group made ready for a model: its scores, whether each of its responses was cut, and its question."""

    @property
    def scores(self) -> tuple[float, ...]: ...  # noqa: D102
    @property
    def truncated(self) -> tuple[bool, ...]: ...  # noqa: D102
    @property
    def question(self) -> str: ...  # noqa: D102


R = TypeVar("R", bound=Ranked)


@dataclass(frozen=True, slots=True)
class Prepared(Generic[R]):
    """`groups` that can be trained on and their `rows`, in parallel; groups whose prompt left no room."""

    groups: tuple[Group, ...]
    rows: tuple[R, ...]
    dropped: tuple[Group, ...]

    @property
    def truncated(self) -> int:
        """How many responses were cut."""
        return sum(sum(row.truncated) for row in self.rows)


@dataclass
class GroupTrainingArguments(TrainingArguments):  # type: ignore[misc]
    """TrainingArguments whose batches count groups.

    Changed defaults: lr_scheduler_type cosine, warmup_steps 0.03 (a share of all), per_device_train_batch_size 1;
    remove_unused_columns and ddp_find_unused_parameters are off. Where there is no GPU, use_cpu is on; where there is
    one that has it, bf16 is on unless it was set.
    """

    lr_scheduler_type: str = "cosine"
    warmup_steps: float = 0.03
    per_device_train_batch_size: int = 1
    per_device_eval_batch_size: int = 1
    remove_unused_columns: bool = False
    logging_steps: float = 1
    logging_nan_inf_filter: bool = False  # a loss that is not a number must be seen, and stops the training
    ddp_find_unused_parameters: bool | None = False
    use_cpu: bool = False
    dataloader_pin_memory: bool = True
    bf16: bool | None = None
    save_strategy: str = "no"
    report_to: str = "none"

    def __post_init__(self) -> None:
        """Settle what depends on the machine."""
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        self.dataloader_pin_memory = self.dataloader_pin_memory and not self.use_cpu
        if self.bf16 is None:
            self.bf16 = bf16_at_hand(use_cpu=self.use_cpu, fp16=self.fp16)
        super().__post_init__()


def bf16_at_hand(*, use_cpu: bool, fp16: bool) -> bool:
    """Whether a training is to run in bfloat16: on a GPU that has it, where no other precision was asked for."""
    return not (use_cpu or fp16) and torch.cuda.is_available() and torch.cuda.is_bf16_supported()


class GroupTrainer(Trainer):  # type: ignore[misc]
    """Averages the losses of a step's groups, whatever batches and processes these come in.

    Batches have `present[G,K]`: where a group has a response.
    """

    def __init__(self, model: Any, args: GroupTrainingArguments, **trainer: Any) -> None:
        if args.n_gpu > 1:
            args._n_gpu = 1  # several GPUs by `accelerate launch`; DataParallel would tear groups apart
        super().__init__(model=model, args=args, **trainer)
        self.model_accepts_loss_kwargs = True  # compute_loss divides by the groups of the whole step

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """The batches of one step, and its number of groups over all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        for batch in batches:
            batch["counts"] = torch.ones(len(batch["present"]), dtype=torch.bool, device=device)
        if batches and self.accelerator.gradient_state.end_of_dataloader and self.accelerator.num_processes > 1:
            batches[-1]["counts"] = self._first_met(len(batches[-1]["present"])).to(device)
        groups = sum((batch["counts"].sum() for batch in batches), torch.tensor(0, device=device))
        return batches, self.accelerator.reduce(groups)

    def counted(self, inputs: dict[str, Tensor]) -> Tensor:
        """`present` without the groups that only fill up a last step."""
        present = inputs["present"]
        return torch.logical_and(present, inputs["counts"].unsqueeze(-1)) if "counts" in inputs else present

    def averaged(self, losses: Tensor, groups: Tensor | int | None) -> Tensor:
        """The part that a batch's losses[G] have in the mean over the `groups` of its step; their own mean without."""
        if groups is None:
            return losses.mean()
        processes: int = self.accelerator.num_processes  # by which gradients are divided
        return losses.sum() / groups * processes

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The loss of a batch: what `eval_strategy` reports."""
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log; raises BadInput where the loss is no longer a number."""
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise BadInput(f"training diverged in step {self.state.global_step}; choose a lower --learning-rate")
            logs |= self.noted()
        super().log(logs, start_time)

    def noted(self) -> dict[str, float]:
        """What to log beside the loss, over all groups since the last log."""
        raise NotImplementedError

    def _first_met(self, size: int) -> Tensor:
        """Which of the `size` groups that this process has last in an epoch are not there only to fill it up.

        All processes get equally many groups; what lacks is taken from the epoch's beginning.
        """
        if self.args.dataloader_drop_last:
            return torch.ones(size, dtype=torch.bool)
        at_once = size * self.accelerator.num_processes
        place = torch.arange(size) + size * self.accelerator.process_index
        return torch.lt(place, len(self.train_dataset) % at_once or at_once)
