"""A training of any method, from its options to the trained model's folder.

The methods differ in their trainer and its settings (`alignment.methods`) and in nothing else: all read the same rows,
meet the same groups in the same order, and are measured alike.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import Trainer, set_seed

from agents.models import root_model
from alignment.config import PolicyOptions
from alignment.cost import cost_of
from alignment.held_out import Measured, comparison, divided, measured
from alignment.judge import Judge, opened_judge
from alignment.likelihood import Estimate, accuracy_gain
from alignment.methods import Lesson, Method
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
from alignment.shared_prefix import best_collator
from alignment.stability import WATCHED, StabilityWatch, Watched, points
from alignment.stable import prepared
from alignment.tokens import ChatFormat, Row
from alignment.trained import write_model
from alignment.weights import whole_model, with_adapter
from sandbox.console import table_console
from sandbox.dataset import Group
from sandbox.folders import appearing


def run_training(options: PolicyOptions) -> Path:
    """Train as `options` say, measure before and after on held-out questions, and write the folder `--out`.

    Raises BadInput before any training where data, model or options are not usable; nothing is written then.
    """
    with old_names_allowed():
        return _trained(options)


def _trained(options: PolicyOptions) -> Path:
    setup = opened(options)
    data, method, console, is_first = setup.data, setup.method, setup.console, setup.is_first
    *sides, across = divided(data.groups, options)
    set_seed(options.seed)  # a new adapter starts from random numbers
    model, tokenizer = whole_model(options.model)
    format = ChatFormat.of(tokenizer)
    train_side, test = (prepared(side, format, options.max_length) for side in sides)
    order = order_of(options, train_side.groups)
    asked = [group.query for group in test.groups if group.type == "imitation"][: options.answers]
    judge = _judge(options) if method.name == "rloo" or (asked and is_first) else None
    trained_model = with_adapter(model, options.lora_rank) if options.lora else model
    collate, unshared = best_collator(trained_model, format.pad, options.max_length)
    with ExitStack() as stack:
        stack.callback(remove_if_empty, setup.checkpoints)
        groups, rows = [train_side.groups[n] for n in order], [train_side.rows[n] for n in order]
        trainer = method.trainer(Lesson(trained_model, tokenizer, groups, rows, judge), setup.args)
        unshared = getattr(trainer, "unshared", unshared)  # ours may have been told not to
        passed_over = _passed_over(trainer, method, len(order))
        for line in (
            *data_told(setup, train_side, test, across),
            *_told((*train_side.dropped, *test.dropped), unshared, passed_over),
        ):
            console.print(line)
        folder = stack.enter_context(appearing(options.out)) if is_first else None
        console.print(f"measuring the untrained model on {len(test.rows)} held-out groups")
        before = measured(trainer.model, test.rows, collate, format, data.delta)
        watched = Watched(test.rows[:WATCHED], collate, format, asked, options.answer_tokens, judge)
        stopwatch = train(setup, trainer, [StabilityWatch(trainer, watched, options.watch)], stack)
        console.print("measuring the trained model")
        after = measured(trainer.model, test.rows, collate, format, data.delta)
        gain = _gain(before, after, test.rows, data.delta)
        write_model(folder, trainer, tokenizer, options, lambda: whole_model(options.model)[0])
        if folder is not None:
            metrics = {
                "method": method.name,
                "data": data_metrics(setup),
                "train": {
                    **counts_of(train_side),
                    "visits": len(order),
                    "passed_over": passed_over,
                    "steps": trainer.state.global_step,
                    "unshared": unshared,
                },
                "held_out": {**counts_of(test), "trained_on_in_other_spelling": [group.question for group in across]},
                "before": asdict(before.quality),
                "after": asdict(after.quality),
                "accuracy_gain": gain and asdict(gain),
                "cost": asdict(cost_of(trainer, stopwatch, method)),
                "judge": judge and judge.name,
            }
            write_folder(
                folder,
                setup,
                trainer,
                train_side.groups,
                metrics=metrics,
                points=map(asdict, points(trainer.state.log_history)),
                held_out=_held_out(test.rows, before, after),
            )
    if folder is not None:
        shutil.rmtree(setup.checkpoints, ignore_errors=True)
        table_console().print(comparison(before.quality, after.quality, gain))
        console.print(f"model {options.out}")
    return options.out


def _judge(options: PolicyOptions) -> Judge:
    return opened_judge(
        options.judge, options.judge_model or root_model(options.model), options.encoder, options.score_by
    )


def _gain(before: Measured, after: Measured, rows: Sequence[Row], delta: float) -> Estimate | None:
    return accuracy_gain(
        [found.per_token for found in before.likelihoods],
        [found.per_token for found in after.likelihoods],
        [row.scores for row in rows],
        delta=delta,
    )


def _held_out(rows: Sequence[Row], before: Measured, after: Measured) -> Iterator[dict[str, Any]]:
    """Every held-out group with the mean token log-probabilities of its responses."""
    for row, old, new in zip(rows, before.likelihoods, after.likelihoods, strict=True):
        yield {"question": row.question, "scores": row.scores, "before": old.per_token, "after": new.per_token}


def _passed_over(trainer: Trainer, method: Method, visits: int) -> dict[str, int]:
    """How many visits the method has no use for, by reason."""
    taught = len(trainer.train_dataset)
    args = trainer.args
    step = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size // method.rows
    found = {
        "no pair of differently rated answers": visits - taught,
        "at the end, not filling a step": taught % step if method.name == "rloo" else 0,
    }
    return {reason: count for reason, count in found.items() if count}


def _told(dropped: Sequence[Group], unshared: str | None, passed_over: Mapping[str, int]) -> Iterator[str]:
    for group in dropped:
        yield f"dropped, its prompt fills --max-length: {group.question[:60]!r}"
    for reason, count in passed_over.items():
        yield f"passed over in training: {count} groups, {reason}"
    if unshared is None:
        yield "a prompt is computed once for all its responses"
    else:
        yield f"a prompt is computed anew for each of its responses: {unshared}"
