"""Learning from pairs of a better and a worse answer: DPO, SPPO, SimPO and ORPO behind one interface.

DPO and SPPO are TRL's. SimPO and ORPO it has as experiments only, which tokenize texts by themselves; here they are
losses for its DPOTrainer, which is then kept from having a reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from accelerate.utils import is_peft_model
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import Trainer
from trl import DPOConfig

from agents.errors import BadInput
from alignment.baselines import DEFAULTS, IGNORED, PairsTrainer
from alignment.methods import Lesson, Method
from alignment.weights import whole_model

PairRow = Mapping[str, Sequence[int]]  # token ids: `prompt_ids`, `chosen_ids`, `rejected_ids`
PairLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def best_worst(rewards: Sequence[float | None], *, tie: float = 0.0) -> tuple[int, int] | None:
    """The places of the highest and of the lowest reward, of equals the first: eva's pair (arXiv 2411.00062).

    None where fewer than two are known or all lie within `tie`. Raises ValueError where one is not finite.
    """
    known = {place: reward for place, reward in enumerate(rewards) if reward is not None}
    if not all(map(math.isfinite, known.values())):
        raise ValueError(f"rewards must be finite, or None where there is none, got {[*rewards]}")
    if len(known) < 2:
        return None
    best, worst = (extreme(known, key=known.__getitem__) for extreme in (max, min))
    return (best, worst) if known[best] - known[worst] > tie else None


def simpo_loss(
    chosen_logps: Any, rejected_logps: Any, chosen_lengths: Any, rejected_lengths: Any, *, beta: float, gamma: float
) -> Tensor:
    """SimPO's loss (arXiv 2405.14734, eq. 6), one value a pair: loss[B].

        loss = −log σ(β/|y_w| · log π(y_w) − β/|y_l| · log π(y_l) − γ)

    `chosen_logps[B]` and `rejected_logps[B]` are summed over an answer's tokens (nats), the lengths [B] their numbers.

    >>> simpo_loss([-6.0], [-4.0], [3], [2], beta=2.0, gamma=0.0)
    tensor([0.6931])
    """
    chosen, rejected = _per_token(chosen_logps, chosen_lengths), _per_token(rejected_logps, rejected_lengths)
    return -logsigmoid(beta * (chosen - rejected) - gamma)


def orpo_loss(
    chosen_logps: Any, rejected_logps: Any, chosen_lengths: Any, rejected_lengths: Any, *, beta: float
) -> Tensor:
    """ORPO's loss (arXiv 2403.07691, eq. 6 and 7), one value a pair: loss[B].

        loss = −log p_w − λ · log σ(log odds(p_w) − log odds(p_l)),   odds(p) = p / (1 − p)

    with p an answer's mean token likelihood, exp(log π(y) / |y|), and λ = `beta`, as TRL calls it. The first term, the
    fine-tuning, is of the answer's tokens only. Arguments as `simpo_loss` has them.

    >>> orpo_loss([-6.0], [-4.0], [3], [2], beta=0.0)
    tensor([2.])
    """
    chosen, rejected = _per_token(chosen_logps, chosen_lengths), _per_token(rejected_logps, rejected_lengths)
    return -chosen - beta * logsigmoid(_log_odds(chosen) - _log_odds(rejected))


def _per_token(logps: Any, lengths: Any) -> Tensor:
    given = torch.as_tensor(logps)
    given = given.to(torch.promote_types(given.dtype, torch.float32))
    return given / torch.as_tensor(lengths, device=given.device)


def _log_odds(logp: Tensor) -> Tensor:
    sure = logp.clamp(max=-torch.finfo(logp.dtype).eps)  # at a likelihood of 1 the odds are infinite
    return sure - torch.log(-torch.expm1(sure))


@dataclass(frozen=True, slots=True)
class Optimiser:
    """A way to learn from pairs.

    `loss` is the name of one of TRL's, which compare with a reference, or a function that needs none. `settings` are
    its own ones by their names in the trainer's; `learning_rate` is that of all weights, and of an adapter.
    """

    name: str
    loss: str | Callable[..., Tensor]
    settings: Mapping[str, float]
    learning_rate: tuple[float, float]

    @property
    def needs_reference(self) -> bool:
        """Whether the loss compares the model with the one it started from."""
        return isinstance(self.loss, str)


# As published; an adapter gets ten times the rate.
OPTIMISERS: Mapping[str, Optimiser] = MappingProxyType(
    {
        optimiser.name: optimiser
        for optimiser in (
            # arXiv 2305.18290; the rate is TRL's.
            Optimiser("dpo", "sigmoid", {"beta": 0.1}, (1e-6, 1e-5)),
            # arXiv 2405.00675 with the winner's probability 1. TRL's β is the paper's 1/η, and η is 1000: the
            # log-ratio of the chosen is drawn to η/2, that of the rejected to −η/2. A smaller β pulls harder.
            Optimiser("sppo", "sppo_hard", {"beta": 0.001}, (5e-7, 5e-6)),
            # arXiv 2405.14734, Llama-3-Base: γ/β is 0.5.
            Optimiser("simpo", simpo_loss, {"beta": 2.0, "gamma": 1.0}, (6e-7, 6e-6)),
            # arXiv 2403.07691: λ is 0.1.
            Optimiser("orpo", orpo_loss, {"beta": 0.1}, (8e-6, 8e-5)),
        )
    }
)


@dataclass
class ReferenceFreeConfig(DPOConfig):  # type: ignore[misc]
    """TRL's DPOConfig for a loss without a reference; raises ValueError on settings that such a loss has not."""

    gamma: float = field(default=0.0, metadata={"help": "γ, SimPO's margin between the rewards of chosen and rejected"})

    def __post_init__(self) -> None:
        """Refuse what would be passed over."""
        super().__post_init__()
        for name in ("label_smoothing", "ld_alpha", "loss_weights", "router_aux_loss_coef", "use_weighting"):
            if getattr(self, name):
                raise ValueError(f"{name}: {self.loss_type[0]} has no such setting")


class ReferenceFreeTrainer(PairsTrainer):
    """TRL's DPOTrainer by a loss of its own. No reference is loaded or copied, and none is computed.

    (Under FSDP TRL still loads one while the trainer is made.) It logs `rewards/…` and `logps/…` as TRL does; a reward
    is β times the mean token log-probability.
    """

    def __init__(self, model: Any, args: ReferenceFreeConfig, pair_loss: PairLoss, **trainer: Any) -> None:
        args.precompute_ref_log_probs = not is_peft_model(model)  # TRL would load a reference, were it not for this
        super().__init__(model, None, args, **trainer)
        if is_peft_model(self.model):
            self.model.delete_adapter("ref")  # TRL's copy of the adapter
        self.pair_loss = pair_loss

    def _precompute_ref_logps(self, dataset: Dataset, *args: Any) -> Dataset:
        return dataset

    def _compute_loss(self, model: Any, inputs: dict[str, Tensor], return_outputs: bool) -> Any:
        answer = inputs["completion_mask"]
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=inputs["input_ids"].masked_fill(answer == 0, IGNORED),
            fused_lm_head=True,
        )
        logps, lengths = outputs.log_probs.sum(1), answer[:, 1:].sum(1)
        loss = self.pair_loss(*logps.chunk(2), *lengths.chunk(2)).mean()
        self._note(logps.detach(), lengths)
        return (loss, outputs) if return_outputs else loss

    def _note(self, logps: Tensor, lengths: Tensor) -> None:
        chosen, rejected = (self.args.beta * logps / lengths).chunk(2)
        told = {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/accuracies": (chosen > rejected).float(),
            "rewards/margins": chosen - rejected,
            **dict(zip(("logps/chosen", "logps/rejected"), logps.chunk(2), strict=True)),
        }
        metrics = self._metrics["train" if self.model.training else "eval"]
        for name, values in told.items():
            metrics[name].append(self.accelerator.gather_for_metrics(values).mean().item())


def optimiser_trainer(
    optimiser: Optimiser, model: Any, args: DPOConfig, rows: Sequence[PairRow], tokenizer: Any, reference: Any
) -> Trainer:
    """A trainer of `model` on pairs of token ids, which are taken as they are; `args` as `optimiser_method` has them.

    `reference` is the model it starts from, another copy; None where `model` has an adapter or the optimiser needs
    none. Raises BadInput where there is no pair, or an answer without tokens.
    """
    if not rows:
        raise BadInput("no pair to train on: no prompt has answers of different reward; give more prompts or answers")
    for number, row in enumerate(rows, start=1):
        if not (row["chosen_ids"] and row["rejected_ids"]):
            raise BadInput(f"pair {number} of {len(rows)}: an answer has no tokens; leave the pair out")
    given = {"train_dataset": Dataset.from_list([*map(dict, rows)]), "processing_class": tokenizer}
    if isinstance(optimiser.loss, str):
        return PairsTrainer(model, reference, args, **given)
    parameters = {name: getattr(args, name) for name in optimiser.settings}
    return ReferenceFreeTrainer(model, args, partial(optimiser.loss, **parameters), **given)


def optimiser_method(
    name: str, *, beta: float | None, gamma: float | None, lora: bool, max_length: int, model: str
) -> Method:
    """The optimiser called `name` as a method whose lessons' rows are pairs of token ids (`PairRow`).

    `beta` is β, or ORPO's λ, and `gamma` SimPO's γ; None: as published. `model` is the name of the model that the
    training starts from, the reference. Raises BadInput where the optimiser has no γ.
    """
    optimiser = OPTIMISERS[name]
    given = {key: value for key, value in (("beta", beta), ("gamma", gamma)) if value is not None}
    if unknown := given.keys() - optimiser.settings.keys():
        raise BadInput(f"--{', --'.join(unknown)}: {name} has none; leave it out, or choose --optimiser simpo")
    compares = optimiser.needs_reference and not lora  # an adapter is switched off for the reference

    def trainer(lesson: Lesson, args: Any) -> Trainer:
        reference = whole_model(model)[0] if compares else None
        return optimiser_trainer(optimiser, lesson.model, args, lesson.rows, lesson.tokenizer, reference)

    loss = optimiser.loss if isinstance(optimiser.loss, str) else name
    return Method(
        name,
        DPOConfig if optimiser.needs_reference else ReferenceFreeConfig,
        {**optimiser.settings, **given, "loss_type": [loss], "max_length": max_length},
        trainer,
        learning_rate=optimiser.learning_rate,
        models=("policy", "reference") if compares else ("policy",),
        defaults=DEFAULTS | {"lr_scheduler_type": "cosine"},  # without warm-up: an iteration may have one step only
        flags={"loss_type": "optimiser"},
    )
