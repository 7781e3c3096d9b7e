"""The trainer of reward models: transformers' Trainer over groups of ranked responses (arXiv 2305.17608)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from alignment.group_trainer import GroupTrainer, GroupTrainingArguments
from alignment.reward_model.loss import ranking_loss
from alignment.reward_model.rows import LineCollator, RankedRow
from alignment.reward_model.utilities import Utility, utility_of

PROMPT_AWARE = "prompt-aware"
MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass
class RewardModelConfig(GroupTrainingArguments):
    """GroupTrainingArguments with the loss's settings."""

    utility: str = field(default=PROMPT_AWARE, metadata={"help": "U of the gap between two rewards, or prompt-aware"})
    delta: float = field(default=0.0, metadata={"help": "ratings that differ by no more make no pair"})
    max_length: int = field(default=512, metadata={"help": "tokens of prompt and response"})

    learning_rate: float = 5e-5


class RewardModelTrainer(GroupTrainer):
    """Trains a sequence classifier with one output, whose σ is the reward, by `ranking_loss` averaged over groups.

    `train_dataset` holds `RankedRow`s. Beside the loss it logs `pairs_in_order`, the share of ranked pairs whose
    rewards are in that order, over all groups since the last log. Raises BadInput where the utility is unknown.
    """

    args: RewardModelConfig

    def __init__(
        self,
        model: Any,
        args: RewardModelConfig,
        train_dataset: Sequence[RankedRow],
        processing_class: Any,
        **trainer: Any,
    ) -> None:
        self._utility = utility_named(args.utility)
        super().__init__(
            model,
            args,
            train_dataset=_Rows(train_dataset),
            processing_class=processing_class,
            data_collator=LineCollator(processing_class),
            **trainer,
        )
        self._seen = torch.zeros(2, device=args.device)  # pairs in order, pairs

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The sum of the groups' losses over the step's number of groups, so that batches add up to the mean."""
        rewards = group_rewards(model, inputs)
        ratings, present, delta = inputs["ratings"], self.counted(inputs), self.args.delta
        openness = inputs["openness"] if self._utility is None else None
        losses = ranking_loss(rewards, ratings, present, self._utility, openness=openness, delta=delta)
        if model.training:
            self._seen += torch.stack(pairs_in_order(rewards.detach(), ratings, present, delta))
        loss = self.averaged(losses, num_items_in_batch)
        return (loss, {"rewards": rewards}) if return_outputs else loss

    def noted(self) -> dict[str, float]:
        """The share of ranked pairs in the right order."""
        right, pairs = self.accelerator.reduce(self._seen).tolist()
        self._seen.zero_()
        return {"pairs_in_order": right / pairs} if pairs else {}


def utility_named(name: str) -> Utility | None:
    """The utility of that name; None for the one that goes by each prompt's openness. Raises BadInput."""
    return None if name == PROMPT_AWARE else utility_of(name)


def group_rewards(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """The reward of every response of a batch, rewards[G,K] in (0, 1); 0 where a group has none."""
    lines = {name: batch[name] for name in MODEL_INPUTS if name in batch}
    rewards = model(**lines).logits.squeeze(-1).float().sigmoid()
    return torch.zeros_like(batch["ratings"]).masked_scatter(batch["present"], rewards)


def pairs_in_order(rewards: Tensor, ratings: Tensor, present: Tensor, delta: float) -> tuple[Tensor, Tensor]:
    """Ranked pairs whose rewards are in the order of their ratings (equal ones count half), and ranked pairs."""
    there = present.unsqueeze(-1) & present.unsqueeze(-2)
    ranked = there & (ratings.unsqueeze(-1) - ratings.unsqueeze(-2) > delta)
    gaps = (rewards.unsqueeze(-1) - rewards.unsqueeze(-2))[ranked]
    return ((gaps.sign() + 1) / 2).sum(), ranked.sum()


class _Rows(Dataset[RankedRow]):
    """Rows as torch wants them: a list of dataclasses would be taken for columns."""

    def __init__(self, rows: Sequence[RankedRow]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> RankedRow:
        return self._rows[index]
