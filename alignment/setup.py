"""What every training goes through, whatever is trained: its data and settings at the start, its steps, its record."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import PrinterCallback, Trainer, TrainerCallback

from agents.errors import BadInput
from agents.local import is_without_room, quiet, unwritten
from alignment import lineage
from alignment.arguments import training_arguments
from alignment.checkpoints import Fingerprint, WholeLines, latest_checkpoint, refuse_begun, require_same, started
from alignment.config import AlignDpoOptions, AlignRlooOptions, AlignSftOptions, TrainingOptions
from alignment.cost import Stopwatch
from alignment.group_trainer import Prepared
from alignment.groups import Found, Ratings, checked, read_sources
from alignment.methods import Method, method_of
from alignment.plan import stages_of, types_of, visits
from alignment.progress import TrainingProgress
from alignment.report import write_report
from alignment.safety import NAMED
from alignment.trained import write_json, write_record, write_rows
from sandbox.dataset import Group
from sandbox.folders import refuse_used
from sandbox.responses import Scoring


@dataclass(frozen=True, slots=True)
class Setup:
    """A training before it begins: its data, its method with the trainer's settings, and the checkpoint to go on from.

    `resolved` are the values of options that were left open. `begun` is what to note of the beginning, if anything.
    """

    options: TrainingOptions
    found: Found
    data: Ratings
    method: Method
    args: Any
    resolved: dict[str, Any]
    begun: Fingerprint | None
    checkpoint: Path | None
    console: Console

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that speaks and writes."""
        return bool(self.args.process_index == 0)

    @property
    def checkpoints(self) -> Path:
        """The folder that holds them; the trainer makes it, used or not."""
        return Path(self.args.output_dir)


@contextmanager
def old_names_allowed() -> Iterator[None]:
    """While a model trains: peft 0.21 and TRL 1.16 ask transformers for a property under its old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def opened(options: TrainingOptions) -> Setup:
    """The training that `options` describe. Raises BadInput where data or options are not usable."""
    _require_packages(options)
    refuse_used(options.out)
    scoring = Scoring(options.score_by, options.observer, options.critic_score)
    found = read_sources(options.sources, types_of(options), scoring, options.max_flawed)
    data = checked(found.groups, scale=options.rating_scale, delta=options.delta)
    method = method_of(options, data)
    args = training_arguments(options, method)
    resolved = {"learning_rate": args.learning_rate, "rating_scale": data.scale}
    quiet = args.process_index != 0
    return Setup(
        options,
        found,
        data,
        method,
        args,
        resolved,
        *_begun(options, Path(args.output_dir), method, resolved, data, args.world_size),
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False, quiet=quiet),
    )


def order_of(options: TrainingOptions, groups: Sequence[Group]) -> list[int]:
    """The places in `groups` of those that are met, one after the other. Raises BadInput where it is none."""
    order = visits([group.type for group in groups], stages_of(options), seed=options.seed)
    if not order:
        raise BadInput(f"--epochs {options.epochs:g}: comes to no group at all of {len(groups)}; choose more")
    return order


def train(setup: Setup, trainer: Trainer, callbacks: Sequence[TrainerCallback], stack: ExitStack) -> Stopwatch:
    """Take all steps, from the checkpoint where there is one; what is open at the end is closed by `stack`."""
    if setup.begun is not None and not setup.options.resume:
        trainer.accelerator.wait_for_everyone()
        if setup.is_first:
            started(setup.checkpoints, setup.begun)
    return take_steps(trainer, callbacks, stack, setup.checkpoint)


def take_steps(
    trainer: Trainer, callbacks: Sequence[TrainerCallback], stack: ExitStack, checkpoint: Path | None
) -> Stopwatch:
    """Take all steps of `trainer`, from `checkpoint` where there is one, and show them; see `train`.

    Raises BadInput where a checkpoint finds no room.
    """
    stopwatch = Stopwatch()
    for callback in (stopwatch, WholeLines(), *callbacks):
        trainer.add_callback(callback)
    trainer.remove_callback(PrinterCallback)
    if trainer.args.process_index == 0:
        progress = TrainingProgress()
        stack.callback(progress.close)
        trainer.add_callback(progress)
    try:
        with quiet():
            trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    except Exception as error:
        if not is_without_room(error):
            raise
        folder = Path(trainer.args.output_dir)
        raise unwritten(folder, error, "make room, go on with --resume") from error
    return stopwatch


def data_told(setup: Setup, train: Prepared[Any], test: Prepared[Any], across: Sequence[Group]) -> Iterator[str]:
    """What was read, and what became of it, line by line."""
    counts, data, found = setup.data.counts, setup.data, setup.found
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
    for group in across:
        yield f"not held out, for it is trained on in another spelling: {group.question[:60]!r}"


def data_metrics(setup: Setup) -> dict[str, Any]:
    """What was read, for metrics.json."""
    return {
        **asdict(setup.data.counts),
        "left_out": setup.found.left_out,
        "flaws": [f"{flaw.place}: {flaw.what}" for flaw in setup.found.flaws],
        "scale": setup.data.scale,
        "delta": setup.data.delta,
    }


def counts_of(side: Prepared[Any]) -> dict[str, Any]:
    """What is trained or measured on, for metrics.json."""
    return {
        "groups": len(side.rows),
        "responses": sum(len(row.scores) for row in side.rows),
        "truncated": side.truncated,
        "dropped": [group.question for group in side.dropped],
    }


def write_folder(
    folder: Path,
    setup: Setup,
    trainer: Trainer,
    trained: Sequence[Group],
    *,
    metrics: Mapping[str, Any],
    points: Iterable[Mapping[str, Any]],
    held_out: Iterable[Mapping[str, Any]],
) -> None:
    """Write all that stands beside the model: the record, its lineage, what was measured, the page.

    `trained` are the groups that it was trained on; `held_out` has a row for each group that it was measured on.
    """
    write_record(folder, setup.options, setup.resolved, trainer.state, points)
    write_rows(folder / "held_out.jsonl", held_out)
    made_of = lineage.lineage_of(setup.options, setup.options.sources, setup.data, folder, trained)
    write_json(folder / lineage.FILE, made_of)
    write_json(folder / "metrics.json", metrics)
    keep_events(setup.checkpoints, folder)
    write_report(folder)


def keep_events(checkpoints: Path, folder: Path) -> None:
    """Move what was logged for TensorBoard, which writes beside the checkpoints, into the model's folder."""
    if (checkpoints / "runs").exists():
        shutil.move(checkpoints / "runs", folder / "runs")


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that nothing was written to."""
    with suppress(OSError):
        folder.rmdir()


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


def _require_packages(options: TrainingOptions) -> None:
    """Raises BadInput where a package is missing that this training needs."""
    by_trl = isinstance(options, AlignSftOptions | AlignDpoOptions | AlignRlooOptions)
    for package in ["accelerate"] + ["peft"] * options.lora + ["trl"] * by_trl:
        try:
            import_module(package)
        except ImportError as error:
            raise BadInput(f"training needs {package}: pip install 'social-sandbox[align]'") from error
