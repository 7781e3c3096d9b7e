"""The Stable Alignment trainer: transformers' Trainer over groups of rated responses (arXiv 2305.16960)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from agents.errors import BadInput
from alignment.group_trainer import GroupTrainer, GroupTrainingArguments, Prepared
from alignment.groups import group_of
from alignment.losses import active_hinges, stable_alignment_loss
from alignment.shared_prefix import batch_nll, best_collator
from alignment.tokens import ChatFormat, Collator, Row, drawn
from sandbox.dataset import Group


@dataclass
class StableAlignmentConfig(GroupTrainingArguments):
    """GroupTrainingArguments with the loss's settings. As published: learning_rate 2e-5, cosine, 3 % of warm-up."""

    weight: float = field(default=0.2, metadata={"help": "λ, the weight of the contrast with worse responses"})
    margin: float = field(default=1.0, metadata={"help": "M, the margin at a rating difference of the whole scale"})
    rating_scale: float = field(default=7.0, metadata={"help": "S, the span of the rating scale"})
    reduction: str = field(default="sum", metadata={"help": "over a group's hinges: sum, mean or max"})
    responses: int = field(default=3, metadata={"help": "K, responses of a group in one step"})
    max_length: int = field(default=512, metadata={"help": "tokens of prompt and response; longer responses are cut"})
    shared_prefix: bool = field(default=True, metadata={"help": "compute a prompt once for its responses, if possible"})

    learning_rate: float = 2e-5


def prepared(groups: Iterable[Group | Mapping[str, Any]], format: ChatFormat, max_length: int) -> Prepared[Row]:
    """`groups` as token rows of at most `max_length` tokens a response; raises BadInput where none has room."""
    read = [g if isinstance(g, Group) else group_of(g, f"row {number}") for number, g in enumerate(groups, start=1)]
    row_of = {group: format.row(group, max_length) for group in dict.fromkeys(read)}  # some may stand there often
    made = [(group, row) for group in read if (row := row_of[group]) is not None]
    if read and not made:
        raise BadInput(f"--max-length {max_length}: every prompt is at least that long; choose more")
    return Prepared(
        groups=tuple(group for group, _ in made),
        rows=tuple(row for _, row in made),
        dropped=tuple(group for group, row in row_of.items() if row is None),
    )


class DrawnRows(Dataset[Row]):
    """Rows with at most K responses each, drawn anew every epoch; an item is a whole group."""

    def __init__(self, rows: Sequence[Row], responses: int, seed: int) -> None:
        self.rows, self.responses, self.seed, self.epoch = rows, responses, seed, 0

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        """The group at `index` with the responses drawn for this epoch."""
        row = self.rows[index]
        places = drawn(row.scores, self.responses, seed=self.seed, epoch=self.epoch, index=index)
        return replace(
            row,
            replies=tuple(row.replies[place] for place in places),
            scores=tuple(row.scores[place] for place in places),
            truncated=tuple(row.truncated[place] for place in places),
        )


class StableAlignmentTrainer(GroupTrainer):
    """Trains `model` on groups by `stable_alignment_loss`, averaged over the groups of a step.

    Datasets hold `Group`s, or rows `{query, responses, scores, …}` as `group_of` reads them (a `datasets.Dataset` of a
    run's export); ratings are taken as they are: `alignment.groups.checked` levels what is nearly equal. `train_rows`
    tells what became of the training set. Raises BadInput where nothing fits `max_length`.

    A group's prompt is computed once for all its responses where the model allows it and where that costs less
    (`alignment.shared_prefix`): the loss and its gradient are the same. `unshared` tells why the model doesn't
    allow it, and is None where it does.

    Beside the loss it logs `active_hinges` (the share of hinges above zero; 0 is plain fine-tuning) and `nll_best`
    (mean token loss of the best responses), both over all groups since the last log.
    """

    args: StableAlignmentConfig

    def __init__(
        self,
        model: Any,
        args: StableAlignmentConfig,
        train_dataset: Iterable[Group | Mapping[str, Any]],
        processing_class: Any,
        eval_dataset: Iterable[Group | Mapping[str, Any]] | None = None,
        **trainer: Any,
    ) -> None:
        format = ChatFormat.of(processing_class)
        self.train_rows = prepared(train_dataset, format, args.max_length)
        held_out = None if eval_dataset is None else prepared(eval_dataset, format, args.max_length)
        super().__init__(
            model,
            args,
            train_dataset=DrawnRows(self.train_rows.rows, args.responses, args.seed),
            eval_dataset=held_out and DrawnRows(held_out.rows, args.responses, args.seed),
            processing_class=processing_class,
            data_collator=Collator(format.pad),
            **trainer,
        )
        self.unshared: str | None = "shared_prefix is off"
        if args.shared_prefix:
            self.data_collator, self.unshared = best_collator(self.model, format.pad, args.max_length)
        self.add_callback(_NextDraw())
        self._seen = torch.zeros(4, device=args.device)  # groups, their ℓ_b, active hinges, hinges

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The sum of the groups' losses over the step's number of groups, so that batches add up to the mean."""
        nll = group_nll(model, inputs)
        ratings, present, settings = inputs["ratings"], self.counted(inputs), self.args
        losses = stable_alignment_loss(
            nll,
            ratings,
            present,
            weight=settings.weight,
            margin=settings.margin,
            scale=settings.rating_scale,
            reduction=settings.reduction,  # type: ignore[arg-type]
        )
        if model.training:
            self._note(nll.detach(), ratings, present)
        loss = self.averaged(losses, num_items_in_batch)
        return (loss, {"nll": nll}) if return_outputs else loss

    def noted(self) -> dict[str, float]:
        """The mean loss of the best responses, and the share of hinges that are active."""
        groups, best, active, hinges = self.accelerator.reduce(self._seen).tolist()
        self._seen.zero_()
        return {"nll_best": best / groups, "active_hinges": active / hinges if hinges else 0.0}

    def _note(self, nll: Tensor, ratings: Tensor, present: Tensor) -> None:
        best = stable_alignment_loss(nll, ratings, present, weight=0.0)
        active, total = active_hinges(nll, ratings, present, margin=self.args.margin, scale=self.args.rating_scale)
        self._seen += torch.stack([present.any(-1).sum(), best.sum(), active.sum(), total.sum()])


def group_nll(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Mean token loss of every response of a batch of either collator, nll[G,K]; 0 where a group has none."""
    nll, tokens = batch_nll(model, batch)
    return torch.zeros_like(batch["ratings"]).masked_scatter(batch["present"], nll / tokens)


class _NextDraw(TrainerCallback):  # type: ignore[misc]
    """Tells the training rows which epoch it is. (The data loader does so only in some set-ups.)"""

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        kwargs["train_dataloader"].dataset.epoch = int((state.epoch or 0) + 1e-6)
