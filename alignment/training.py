"""`align stable` from its options to the trained model's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel, PrinterCallback, set_seed

from agents.errors import BadInput
from agents.local import pretrained, saving
from agents.models import encoder_folder, model_folder
from alignment import lineage
from alignment.arguments import training_arguments
from alignment.config import AlignStableOptions
from alignment.groups import Ratings, checked, read_sources
from alignment.likelihood import Estimate, Likelihoods, Quality, accuracy_gain, likelihoods, neutral_perplexity, quality
from alignment.progress import TrainingProgress
from alignment.stable import Prepared, StableAlignmentConfig, StableAlignmentTrainer, prepared
from alignment.tokens import ChatFormat, Row
from memory.encoder import Encoder
from sandbox.console import table_console
from sandbox.dataset import Group, split
from sandbox.folders import appearing, refuse_used
from sandbox.responses import Scoring
from sandbox.toml import toml_of


@dataclass(frozen=True, slots=True)
class Measured:
    """A model on the held-out rows: the summary, and the likelihoods behind it."""

    quality: Quality
    likelihoods: list[Likelihoods]


def run_stable(options: AlignStableOptions) -> Path:
    """Train as `options` say, measure before and after on held-out questions, and write the folder `--out`.

    Raises BadInput before any training where data, model or options are not usable; nothing is written then.
    """
    for package in ("accelerate", "peft") if options.lora else ("accelerate",):
        _needed(package)
    refuse_used(options.out)
    groups, left_out = read_sources(
        options.sources, options.type, Scoring(options.score_by, options.observer, options.critic_score)
    )
    data = checked(groups, scale=options.rating_scale, delta=options.delta)
    args = training_arguments(options, data.scale)
    console = Console(
        stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False, quiet=args.process_index != 0
    )
    training, held_out = divided(data.groups, options)
    set_seed(options.seed)  # a new adapter starts from random numbers
    model, tokenizer = pretrained(options.model, model_folder(options.model), torch.float32)
    format = ChatFormat.of(tokenizer)
    test = prepared(held_out, format, options.max_length)
    with ExitStack() as stack:
        stack.callback(_remove_if_empty, Path(args.output_dir))  # the trainer makes it, used or not
        model = _with_adapter(model, options.lora_rank) if options.lora else model
        trainer = StableAlignmentTrainer(model, args, training, tokenizer)
        console.print(_told(data, left_out, trainer.train_rows, test))
        console.print(_told_prompts(trainer.unshared))
        folder = stack.enter_context(appearing(options.out)) if trainer.is_world_process_zero() else None
        console.print(f"measuring the untrained model on {len(test.rows)} held-out groups")
        before = measured(trainer, test.rows, format, data.delta)
        progress = TrainingProgress()
        stack.callback(progress.close)
        trainer.remove_callback(PrinterCallback)
        if trainer.is_world_process_zero():
            trainer.add_callback(progress)
        trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
        console.print("measuring the trained model")
        after = measured(trainer, test.rows, format, data.delta)
        gain = accuracy_gain(
            [found.per_token for found in before.likelihoods],
            [found.per_token for found in after.likelihoods],
            [row.scores for row in test.rows],
            delta=data.delta,
        )
        metrics = {
            "data": {**asdict(data.counts), "left_out": left_out, "scale": data.scale, "delta": data.delta},
            "train": {**_counts(trainer.train_rows), "unshared": trainer.unshared},
            "held_out": _counts(test),
            "before": asdict(before.quality),
            "after": asdict(after.quality),
            "accuracy_gain": gain and asdict(gain),
        }
        if folder is not None:
            _write(folder, trainer, tokenizer, options)
            _write_json(folder / lineage.FILE, lineage.lineage_of(options, data, folder))
            _write_json(folder / "metrics.json", metrics)
    if folder is not None:
        table_console().print(comparison(before.quality, after.quality, gain))
        console.print(f"model {options.out}")
    return options.out


def divided(groups: Sequence[Group], options: AlignStableOptions) -> tuple[list[Group], list[Group]]:
    """(training, held-out) groups, by question, with paraphrases on one side. Raises BadInput where a side is empty."""
    if options.test_share == 0:
        return list(groups), []
    questions = list(dict.fromkeys(group.question for group in groups))
    vectors = Encoder(encoder_folder(options.encoder)).encode(questions)
    is_test = split(questions, vectors, test_share=options.test_share, seed=options.seed)
    sides = [g for g in groups if not is_test[g.question]], [g for g in groups if is_test[g.question]]
    if not all(sides):
        raise BadInput(
            f"--test-share {options.test_share:g}: the {len(questions)} questions are all alike and cannot be divided; "
            "give more, or set it to 0 to hold none out"
        )
    return sides


def measured(trainer: StableAlignmentTrainer, rows: Sequence[Row], format: ChatFormat, delta: float) -> Measured:
    """Measure the model as it stands on held-out rows, read as in training, and on the neutral text."""
    found = likelihoods(trainer.model, rows, trainer.data_collator)
    return Measured(quality(rows, found, neutral_perplexity(trainer.model, format), delta=delta), found)


def comparison(before: Quality, after: Quality, gain: Estimate | None) -> Table:
    """Before and after, side by side."""
    table = Table("held-out questions", "before", "after", "change")
    accuracies = (before.pair_accuracy, after.pair_accuracy, gain)
    table.add_row("pair accuracy", *(f"{found.value:.3f}" if found else "–" for found in accuracies))
    table.add_row("  95 % interval", *(found.interval if found else "–" for found in accuracies))
    for label, name in (
        ("log-prob a token, best", "best_per_token"),
        ("log-prob a token, worst", "worst_per_token"),
        ("log-prob, best", "best_sum"),
        ("log-prob, worst", "worst_sum"),
        ("perplexity, best", "best_perplexity"),
        ("perplexity, neutral text", "neutral_perplexity"),
    ):
        old, new = getattr(before, name), getattr(after, name)
        table.add_row(label, *(("–",) * 3 if old is None else (f"{old:.3f}", f"{new:.3f}", f"{new - old:+.3f}")))
    table.caption = f"{after.groups} groups, {after.pairs} pairs of differently rated answers"
    return table


def _needed(package: str) -> None:
    try:
        import_module(package)
    except ImportError as error:
        raise BadInput(f"training needs {package}: pip install 'social-sandbox[align]'") from error


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _with_adapter(model: PreTrainedModel, rank: int) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def _write(folder: Path, trainer: StableAlignmentTrainer, tokenizer: Any, options: AlignStableOptions) -> None:
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    with saving(options.out):
        if options.lora:
            model.save_pretrained(folder / "adapter", save_embedding_layers=False)
            model = model.merge_and_unload()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    (folder / "align.toml").write_text(toml_of(_resolved(options, trainer.args)), encoding="utf-8")
    log = "".join(json.dumps(line) + "\n" for line in trainer.state.log_history)
    (folder / "trainer_log.jsonl").write_text(log, encoding="utf-8")


def _resolved(options: AlignStableOptions, args: StableAlignmentConfig) -> dict[str, Any]:
    values = options.model_dump(mode="json", exclude={"config", "out", "sources"})
    return {**values, "learning_rate": args.learning_rate, "rating_scale": args.rating_scale}


def _counts(rows: Prepared) -> dict[str, Any]:
    return {
        "groups": len(rows.rows),
        "responses": sum(len(row.replies) for row in rows.rows),
        "truncated": rows.truncated,
        "dropped": [group.question for group in rows.dropped],
    }


def _told(data: Ratings, left_out: dict[str, int], train: Prepared, test: Prepared) -> str:
    counts = data.counts
    lines = [
        f"{len(data.groups)} groups ({counts.merged} merged by equal query, {counts.copies} copies dropped, "
        f"{counts.single} with one response, {counts.level} level), rating scale {data.scale:g}, "
        f"equal within {data.delta:.3g}",
        f"{len(train.rows)} to train on, {len(test.rows)} held out; "
        f"{train.truncated + test.truncated} responses cut at --max-length",
    ]
    if left_out:
        lines.append("left out of the runs: " + ", ".join(f"{count} {reason}" for reason, count in left_out.items()))
    for group in (*train.dropped, *test.dropped):
        lines.append(f"dropped, its prompt fills --max-length: {group.question[:60]!r}")
    return "\n".join(lines)


def _told_prompts(unshared: str | None) -> str:
    if unshared is None:
        return "a prompt is computed once for all its responses"
    return f"a prompt is computed anew for each of its responses: {unshared}"


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n", encoding="utf-8")
