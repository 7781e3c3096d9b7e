"""A training of any method, from its options to the trained model's folder.

The methods differ in their trainer and its settings (`alignment.methods`) and in nothing else: all read the same rows,
meet the same groups in the same order, and are measured alike.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import PrinterCallback, Trainer, set_seed

from agents.errors import BadInput
from agents.models import root_model
from alignment import lineage
from alignment.arguments import training_arguments
from alignment.checkpoints import Fingerprint, WholeLines, latest_checkpoint, refuse_begun, require_same, started
from alignment.config import AlignStableOptions, TrainingOptions
from alignment.cost import Stopwatch, cost_of
from alignment.groups import Found, Ratings, checked, read_sources
from alignment.held_out import Measured, comparison, divided, measured
from alignment.judge import Judge, opened_judge
from alignment.likelihood import Estimate, accuracy_gain
from alignment.methods import Lesson, Method, method_of
from alignment.plan import stages_of, types_of, visits
from alignment.progress import TrainingProgress
from alignment.report import write_report
from alignment.safety import NAMED
from alignment.shared_prefix import best_collator
from alignment.stability import WATCHED, StabilityWatch, Watched
from alignment.stable import Prepared, prepared
from alignment.tokens import ChatFormat, Row
from alignment.trained import write_json, write_model, write_record, write_rows
from alignment.weights import whole_model, with_adapter
from sandbox.console import table_console
from sandbox.dataset import Group
from sandbox.folders import appearing, refuse_used
from sandbox.responses import Scoring


def run_training(options: TrainingOptions) -> Path:
    """Train as `options` say, measure before and after on held-out questions, and write the folder `--out`.

    Raises BadInput before any training where data, model or options are not usable; nothing is written then.
    """
    with warnings.catch_warnings():
        # peft 0.21 and TRL 1.16 ask transformers for a property under its old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return _trained(options)


def _trained(options: TrainingOptions) -> Path:
    _require_packages(options)
    refuse_used(options.out)
    scoring = Scoring(options.score_by, options.observer, options.critic_score)
    found = read_sources(options.sources, types_of(options), scoring, options.max_flawed)
    data = checked(found.groups, scale=options.rating_scale, delta=options.delta)
    method = method_of(options, data.scale)
    args = training_arguments(options, method)
    resolved = {"learning_rate": args.learning_rate, "rating_scale": data.scale}
    checkpoints = Path(args.output_dir)
    begun, checkpoint = _begun(options, checkpoints, method, resolved, data, args.world_size)
    is_first = args.process_index == 0
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False, quiet=not is_first)
    *sides, across = divided(data.groups, options)
    set_seed(options.seed)  # a new adapter starts from random numbers
    model, tokenizer = whole_model(options.model)
    format = ChatFormat.of(tokenizer)
    train, test = (prepared(side, format, options.max_length) for side in sides)
    order = _order(options, train)
    asked = [group.query for group in test.groups if group.type == "imitation"][: options.answers]
    judge = _judge(options) if method.name == "rloo" or (asked and is_first) else None
    trained_model = with_adapter(model, options.lora_rank) if options.lora else model
    collate, unshared = best_collator(trained_model, format.pad, options.max_length)
    with ExitStack() as stack:
        stack.callback(_remove_if_empty, checkpoints)  # the trainer makes it, used or not
        groups, rows = [train.groups[n] for n in order], [train.rows[n] for n in order]
        trainer = method.trainer(Lesson(trained_model, tokenizer, groups, rows, judge), args)
        unshared = getattr(trainer, "unshared", unshared)  # ours may have been told not to
        passed_over = _passed_over(trainer, method, len(order))
        for line in _told(data, found, train, test, across, unshared, passed_over):
            console.print(line)
        folder = stack.enter_context(appearing(options.out)) if is_first else None
        console.print(f"measuring the untrained model on {len(test.rows)} held-out groups")
        before = measured(trainer.model, test.rows, collate, format, data.delta)
        stopwatch = Stopwatch()
        watched = Watched(test.rows[:WATCHED], collate, format, asked, options.answer_tokens, judge)
        for callback in (stopwatch, WholeLines(), StabilityWatch(trainer, watched, options.watch)):
            trainer.add_callback(callback)
        trainer.remove_callback(PrinterCallback)
        if is_first:
            progress = TrainingProgress()
            stack.callback(progress.close)
            trainer.add_callback(progress)
        if begun is not None and not options.resume:
            trainer.accelerator.wait_for_everyone()
            if is_first:
                started(checkpoints, begun)
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
        console.print("measuring the trained model")
        after = measured(trainer.model, test.rows, collate, format, data.delta)
        gain = _gain(before, after, test.rows, data.delta)
        write_model(folder, trainer, tokenizer, options)
        if folder is not None:
            metrics = {
                "method": method.name,
                "data": {
                    **asdict(data.counts),
                    "left_out": found.left_out,
                    "flaws": [f"{flaw.place}: {flaw.what}" for flaw in found.flaws],
                    "scale": data.scale,
                    "delta": data.delta,
                },
                "train": {
                    **_counts(train),
                    "visits": len(order),
                    "passed_over": passed_over,
                    "steps": trainer.state.global_step,
                    "unshared": unshared,
                },
                "held_out": {**_counts(test), "trained_on_in_other_spelling": [group.question for group in across]},
                "before": asdict(before.quality),
                "after": asdict(after.quality),
                "accuracy_gain": gain and asdict(gain),
                "cost": asdict(cost_of(trainer, stopwatch, method)),
                "judge": judge and judge.name,
            }
            write_record(folder, options, resolved, trainer.state)
            write_rows(folder / "held_out.jsonl", _held_out(test.rows, before, after))
            write_json(folder / lineage.FILE, lineage.lineage_of(options, data, folder, train.groups))
            write_json(folder / "metrics.json", metrics)
            _keep_events(checkpoints, folder)
            write_report(folder)
    if folder is not None:
        shutil.rmtree(checkpoints, ignore_errors=True)
        table_console().print(comparison(before.quality, after.quality, gain))
        console.print(f"model {options.out}")
    return options.out


def _begun(
    options: TrainingOptions, checkpoints: Path, method: Method, resolved: dict[str, Any], data: Ratings, processes: int
) -> tuple[Fingerprint | None, Path | None]:
    """What to note of this training's beginning, if anything, and the checkpoint to go on from. Raises BadInput."""
    if not options.resume:
        refuse_begun(checkpoints)
    if not (options.resume or options.save_steps):
        return None, None  # the model's digest takes a while
    begun = Fingerprint.of(options, method.name, resolved, data, processes)
    if not options.resume:
        return begun, None
    require_same(checkpoints, begun)
    return begun, latest_checkpoint(checkpoints, processes)


def _order(options: TrainingOptions, train: Prepared) -> list[int]:
    """The places in `train` of the groups that are met, one after the other. Raises BadInput where it is none."""
    order = visits([group.type for group in train.groups], stages_of(options), seed=options.seed)
    if not order:
        raise BadInput(f"--epochs {options.epochs:g}: comes to no group at all of {len(train.groups)}; choose more")
    return order


def _require_packages(options: TrainingOptions) -> None:
    """Raises BadInput where a package is missing that this training needs."""
    needed = ["accelerate"] + ["peft"] * options.lora + ["trl"] * (not isinstance(options, AlignStableOptions))
    for package in needed:
        try:
            import_module(package)
        except ImportError as error:
            raise BadInput(f"training needs {package}: pip install 'social-sandbox[align]'") from error


def _keep_events(checkpoints: Path, folder: Path) -> None:
    """Move what was logged for TensorBoard, which writes beside the checkpoints, into the model's folder."""
    if (checkpoints / "runs").exists():
        shutil.move(checkpoints / "runs", folder / "runs")


def _judge(options: TrainingOptions) -> Judge:
    return opened_judge(
        options.judge, options.judge_model or root_model(options.model), options.encoder, options.score_by
    )


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


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


def _counts(side: Prepared) -> dict[str, Any]:
    return {
        "groups": len(side.rows),
        "responses": sum(len(row.replies) for row in side.rows),
        "truncated": side.truncated,
        "dropped": [group.question for group in side.dropped],
    }


def _told(
    data: Ratings,
    found: Found,
    train: Prepared,
    test: Prepared,
    across: Sequence[Group],
    unshared: str | None,
    passed_over: Mapping[str, int],
) -> Iterator[str]:
    counts = data.counts
    yield (
        f"{len(data.groups)} groups ({counts.merged} merged by equal query, {counts.copies} copies dropped, "
        f"{counts.single} with one response, {counts.level} level), rating scale {data.scale:g}, "
        f"equal within {data.delta:.3g}"
    )
    yield (
        f"{len(train.rows)} to train on, {len(test.rows)} held out; "
        f"{train.truncated + test.truncated} responses cut at --max-length"
    )
    if found.left_out:
        yield "left out: " + ", ".join(f"{count} {reason}" for reason, count in found.left_out.items())
    if counts.conflicting:
        yield f"{counts.conflicting} responses stand several times with different ratings; their mean counts"
    for flaw in found.flaws[:NAMED]:
        yield f"left out: {flaw.place}, {flaw.what}"
    if len(found.flaws) > NAMED:
        yield f"left out: {len(found.flaws) - NAMED} more flawed responses"
    for group in (*train.dropped, *test.dropped):
        yield f"dropped, its prompt fills --max-length: {group.question[:60]!r}"
    for group in across:
        yield f"not held out, for it is trained on in another spelling: {group.question[:60]!r}"
    for reason, count in passed_over.items():
        yield f"passed over in training: {count} groups, {reason}"
    if unshared is None:
        yield "a prompt is computed once for all its responses"
    else:
        yield f"a prompt is computed anew for each of its responses: {unshared}"
