"""`align reward-model`: from rated answers to a folder that rates, as an observer, a judge or a plain classifier."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from rich.table import Table
from transformers import set_seed

from agents.errors import BadInput
from agents.models import EMBEDDED_MODEL, encoder_folder
from agents.reward_model import PairFormat, positions
from alignment.config import AlignRewardModelOptions
from alignment.cost import cost_of
from alignment.held_out import divided
from alignment.judge import opened_judge
from alignment.likelihood import Estimate, accuracy_gain
from alignment.methods import Lesson
from alignment.reward_model.quality import (
    Observed,
    RewardQuality,
    Rewards,
    numbers_of,
    observed_of,
    points,
    quality,
    rewards_of,
)
from alignment.reward_model.rows import FEW, LineCollator, RankedRow, prepared, with_openness
from alignment.reward_model.trainer import utility_named
from alignment.setup import (
    counts_of,
    data_metrics,
    data_told,
    old_names_allowed,
    opened,
    order_of,
    remove_if_empty,
    train,
    write_folder,
)
from alignment.stability import Watch
from alignment.trained import write_model
from alignment.weights import reward_backbone, with_adapter
from memory.encoder import Encoder
from sandbox.console import table_console
from sandbox.folders import appearing

SHOWN = {  # of the quality, in the table at the end
    "spread": "spread of a prompt's rewards",
    "open_closed": "open against closed prompts, W1",
    "to_optimum": "to the utility's best rewards, W1",
    "to_limit": "to its limit law, W1",
    "length": "τ-b with length",
    "rated_length": "  ratings' own τ-b with length",
    "judge": "τ-b with the second observer",
}


def run_reward_model(options: AlignRewardModelOptions) -> Path:
    """Train as `options` say, measure before and after on held-out groups, and write the folder `--out`.

    Raises BadInput before any training where data, model or options are not usable; nothing is written then.
    """
    with old_names_allowed():
        return _trained(options)


def _trained(options: AlignRewardModelOptions) -> Path:
    utility = utility_named(options.utility)
    setup = opened(options)
    data, method, console, is_first = setup.data, setup.method, setup.console, setup.is_first
    *sides, across = divided(data.groups, options)
    encoder = Encoder(encoder_folder(options.encoder))
    told = sum(group.openness is not None for group in data.groups)
    set_seed(options.seed)  # the head starts from random numbers
    model, tokenizer = reward_backbone(options.model)
    longest = int(min(options.max_length, positions(model), tokenizer.model_max_length))
    tokenizer.model_max_length = longest  # as the trained folder will read
    format = PairFormat.of(tokenizer, longest)
    train_side, test = (prepared(with_openness(side, encoder), format) for side in sides)
    if not train_side.rows:
        raise BadInput("no group to train on has differently rated answers; give more groups, or a smaller --delta")
    order = order_of(options, train_side.groups)
    judge = opened_judge(options.judge, options.judge_model or EMBEDDED_MODEL, options.encoder, options.score_by)
    observed = observed_of(test.groups, judge.rate)
    trained_model = with_adapter(model, options.lora_rank, "SEQ_CLS") if options.lora else model
    collate = LineCollator(tokenizer)
    with ExitStack() as stack:
        stack.callback(remove_if_empty, setup.checkpoints)
        groups, rows = [train_side.groups[n] for n in order], [train_side.rows[n] for n in order]
        trainer = method.trainer(Lesson(trained_model, tokenizer, groups, rows, None), setup.args)

        @cache  # the start and the end are watched, and compared with each other
        def measured(step: int) -> tuple[list[tuple[float, ...]], RewardQuality]:
            found = rewards_of(trainer.model, test.rows, collate)
            return found, quality(test.rows, found, utility, observed, delta=data.delta)

        for line in data_told(setup, train_side, test, across):
            console.print(line)
        level = len(train_side.dropped) + len(test.dropped)
        if level:
            console.print(f"left out: {level} groups without differently rated responses")
        few = sum(len(row.scores) < FEW for row in train_side.rows)
        if few:
            console.print(f"{few} groups have fewer than {FEW} responses: there utilities differ little or not at all")
        console.print(f"openness of {told} groups is told by the data, of {len(data.groups) - told} by their spread")
        folder = stack.enter_context(appearing(options.out)) if is_first else None
        before_rewards, before = measured(0)
        watch = Watch(trainer, lambda step: numbers_of(measured(step)[1]), options.watch)
        stopwatch = train(setup, trainer, [watch] if test.rows else [], stack)
        after_rewards, after = measured(trainer.state.global_step)
        gain = accuracy_gain(before_rewards, after_rewards, [row.scores for row in test.rows], delta=data.delta)
        write_model(folder, trainer, tokenizer, options, lambda: reward_backbone(options.model)[0])
        if folder is not None:
            metrics = {
                "method": method.name,
                "data": {**data_metrics(setup), "openness_told": told},
                "train": {
                    **counts_of(train_side), "visits": len(order), "few_responses": few,
                    "steps": trainer.state.global_step,
                },
                "held_out": {**counts_of(test), "trained_on_in_other_spelling": [group.question for group in across]},
                "before": asdict(before),
                "after": asdict(after),
                "accuracy_gain": gain and asdict(gain),
                "cost": asdict(cost_of(trainer, stopwatch, method)),
                "judge": judge.name,
            }  # fmt: skip
            write_folder(
                folder,
                setup,
                trainer,
                train_side.groups,
                metrics=metrics,
                points=points(trainer.state.log_history),
                held_out=_held_out(test.rows, observed, before_rewards, after_rewards),
            )
    if folder is not None:
        shutil.rmtree(setup.checkpoints, ignore_errors=True)
        table_console().print(comparison(before, after, gain))
        console.print(f"reward model {options.out}: rates by --observer or --judge reward-model:{options.out}")
    return options.out


def _held_out(
    rows: Sequence[RankedRow], observed: Observed, before: Sequence[Rewards], after: Sequence[Rewards]
) -> Iterator[dict[str, Any]]:
    """Every held-out group with its rewards, and what they are compared with."""
    columns = (rows, observed.lengths, observed.ratings or [], before, after)
    for row, lengths, ratings, old, new in zip(*columns, strict=True):
        yield {
            "question": row.question,
            "openness": row.openness,
            "scores": row.scores,
            "lengths": lengths,
            "judge": ratings,
            "before": old,
            "after": new,
        }


def comparison(before: RewardQuality, after: RewardQuality, gain: Estimate | None) -> Table:
    """Before and after, side by side."""
    table = Table("held-out groups", "before", "after", "change")
    accuracies = (before.pair_accuracy, after.pair_accuracy, gain)
    table.add_row("pairs in order", *(f"{found.value:.3f}" if found else "–" for found in accuracies))
    table.add_row("  95 % interval", *(found.interval if found else "–" for found in accuracies))
    for name, label in SHOWN.items():
        table.add_row(label, *_numbers(getattr(before, name), getattr(after, name)))
    table.caption = f"{after.groups} groups, {after.pairs} pairs of differently rated answers"
    return table


def _numbers(old: float | None, new: float | None) -> tuple[Any, ...]:
    return ("–",) * 3 if old is None or new is None else (f"{old:.3f}", f"{new:.3f}", f"{new - old:+.3f}")
