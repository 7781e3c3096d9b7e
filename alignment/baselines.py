"""What else a user would train with: supervised fine-tuning, DPO and IPO, and RLOO, by TRL's trainers.

They are fed this project's token rows, so every method learns from the same tokens: one chat template, one cut at the
longest length, the end of a turn only where an answer came to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer, RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer

from agents.canonical import generator
from agents.chat import SETTINGS, ChatTemplate, folded
from agents.errors import BadInput
from alignment.judge import Judge
from alignment.tokens import Row, drawn
from sandbox.dataset import Group

IGNORED = -100  # the label of a token that is not trained

# Of all TRL trainers: as our own trainer has it, where theirs differ.
DEFAULTS = {"activation_checkpointing": False, "logging_steps": 1}


def sft_rows(visits: Sequence[Row], seed: int) -> list[dict[str, list[int]]]:
    """Each visit's best response (of equals one at random) as `input_ids` and `labels`."""
    rows = []
    for place, row in enumerate(visits):
        (best,) = drawn(row.scores, 1, seed=seed, epoch=0, index=place)
        reply = [*row.replies[best]]
        rows.append({"input_ids": [*row.prompt, *reply], "labels": [IGNORED] * len(row.prompt) + reply})
    return rows


def dpo_rows(visits: Sequence[Row], seed: int) -> list[dict[str, list[int]]]:
    """A pair of each visit that has one: a best response against one that is rated lower, both at random.

    As `prompt_ids`, `chosen_ids` and `rejected_ids`. A visit whose responses are all rated alike has none.
    """
    rows = []
    for place, row in enumerate(visits):
        lower = [k for k, score in enumerate(row.scores) if score < max(row.scores)]
        if lower:
            (best,) = drawn(row.scores, 1, seed=seed, epoch=0, index=place)
            worse = int(generator(seed, 0, place, "rejected").choice(lower))
            pair = {"prompt_ids": row.prompt, "chosen_ids": row.replies[best], "rejected_ids": row.replies[worse]}
            rows.append({name: [*ids] for name, ids in pair.items()})
    return rows


def prompt_rows(visits: Sequence[Group], template: ChatTemplate) -> list[dict[str, Any]]:
    """Each visit's query as TRL's conversational `prompt`, and the last turn's text as `question`.

    With `agents.chat.SETTINGS` the chat template renders the prompt as in the token rows. Where `template` folds, the
    prompt's last turn may hold a system text too, which is nothing that a judge should read.
    """
    rows = []
    for group in visits:
        turns = folded(group.query) if template.folds else group.query
        rows.append({"prompt": [asdict(turn) for turn in turns], "question": group.query[-1].content})
    return rows


def sft_trainer(model: Any, args: SFTConfig, visits: Sequence[Row], tokenizer: Any) -> SFTTrainer:
    """A trainer of the visits' best responses. Its loss is the mean over a step's response tokens."""
    args.dataset_kwargs = {"skip_prepare_dataset": True}
    return SFTTrainer(
        model, args, train_dataset=Dataset.from_list(sft_rows(visits, args.seed)), processing_class=tokenizer
    )


class PairsTrainer(DPOTrainer):  # type: ignore[misc]
    """TRL's DPOTrainer on rows that are token ids already: `prompt_ids`, `chosen_ids`, `rejected_ids`."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any) -> Dataset:
        return dataset


def dpo_trainer(model: Any, args: DPOConfig, visits: Sequence[Row], tokenizer: Any, reference: Any) -> DPOTrainer:
    """A trainer of the visits' pairs, DPO or IPO as `args.loss_type` says (TRL takes IPO's means over tokens).

    `reference` is the model it starts from, another copy; None where `model` has an adapter, which TRL copies.
    Raises BadInput where no visit has a pair.
    """
    rows = dpo_rows(visits, args.seed)
    if not rows:
        raise BadInput("no group to train on has differently rated answers, and so no pair; give more groups")
    return PairsTrainer(model, reference, args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)


def rloo_trainer(model: Any, args: RLOOConfig, visits: Sequence[Group], tokenizer: Any, judge: Judge) -> RLOOTrainer:
    """A trainer that samples answers to the visits' queries and has `judge` rate them (arXiv 2402.14740).

    The advantage of an answer is its rating less `args.beta` times its summed log-ratio to the start, minus the mean
    of the same over the other answers to its query. An answer without a rating teaches nothing, and is no other's
    measure; `unrated` in the log is the share of such. TRL takes full steps only; raises BadInput where the visits
    don't fill one.
    """
    step = args.generation_batch_size // args.num_generations
    if len(visits) < step:
        raise BadInput(f"--groups-per-step {step}: there are {len(visits)} to train on, and RLOO takes full steps only")
    args.chat_template_kwargs = SETTINGS
    template = ChatTemplate.of(tokenizer, tokenizer.name_or_path)
    return RLOOTrainer(
        model,
        reward(judge),
        args,
        train_dataset=Dataset.from_list(prompt_rows(visits, template)),
        processing_class=tokenizer,
    )


def reward(judge: Judge) -> Callable[..., list[float | None]]:
    """TRL's reward function: what `judge` says of the answers to the rows' questions."""

    def rated(
        question: Sequence[str], completions: Sequence[Any], log_metric: Callable[[str, float], None], **_: Any
    ) -> list[float | None]:
        ratings = judge.rate(question, [reply[0]["content"] for reply in completions])
        log_metric("unrated", ratings.count(None) / len(ratings))
        return ratings

    rated.__name__ = judge.name
    return rated
