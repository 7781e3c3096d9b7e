"""A model learns from the rows of a file: from pairs by any of the optimisers, from single responses by imitation."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import set_seed

from agents.errors import BadInput
from alignment import lineage
from alignment.arguments import training_arguments
from alignment.checkpoints import latest_checkpoint
from alignment.config import IteratedOptions
from alignment.groups import ratings_of, read_file
from alignment.methods import Lesson, Method, sft
from alignment.plan import Stage, visits
from alignment.setup import keep_events, old_names_allowed, take_steps
from alignment.stable import prepared
from alignment.tokens import ChatFormat, Row
from alignment.trained import write_json, write_model, write_record
from alignment.weights import whole_model, with_adapter
from sandbox.folders import appearing


@dataclass(frozen=True, slots=True)
class Learned:
    """What a training took: the rows it met, those of its file that had no room, and the seconds of its steps."""

    rows: int
    dropped: int
    steps: int
    seconds: float
    input_tokens: int


def method_of(options: IteratedOptions, base: str) -> Method:
    """How pairs are learned from, by a model that starts as `base`. Raises BadInput where options don't fit."""
    from alignment.preferences import optimiser_method

    return optimiser_method(
        options.optimiser,
        beta=options.beta,
        gamma=options.gamma,
        lora=options.lora,
        max_length=options.max_length,
        model=base,
    )


def learn(pairs: Path, base: str, options: IteratedOptions, folder: Path) -> Learned:
    """Train the model `base` on the pairs of a file and write what it became, with its record, to `folder`.

    Goes on from a checkpoint where there is one. A pair that `--max-length` would cut is left out, and counted. Raises
    BadInput where no pair can be learned from.
    """
    from alignment.baselines import dpo_rows

    rows_of = partial(dpo_rows, seed=options.seed)
    return _learned(pairs, _of(options, base, folder), method_of(options, base), rows_of)


def fine_tune(responses: Path, base: str, options: IteratedOptions, folder: Path) -> Learned:
    """Train the model `base` to give the responses of a file, as `learn`."""
    return _learned(responses, _of(options, base, folder), sft(options.max_length), list)


def _of(options: IteratedOptions, base: str, folder: Path) -> IteratedOptions:
    return options.model_copy(update={"model": base, "out": folder})


@old_names_allowed()
def _learned(
    data: Path, options: IteratedOptions, method: Method, rows_of: Callable[[Sequence[Row]], list[Any]]
) -> Learned:
    args = training_arguments(options, method)
    checkpoints = Path(args.output_dir)
    groups = read_file(data).groups
    set_seed(options.seed)  # a new adapter starts from random numbers
    model, tokenizer = whole_model(options.model)
    side = prepared(groups, ChatFormat.of(tokenizer), options.max_length)
    # A judgement that is cut has no score, and no response that is cut an end.
    fitting = [place for place, row in enumerate(side.rows) if not any(row.truncated)]
    if not fitting:
        raise BadInput(f"--max-length {options.max_length}: has room for none of {len(groups)} rows; choose more")
    stage = Stage({"imitation": None}, options.epochs)
    order = visits([side.groups[place].type for place in fitting], [stage], seed=options.seed)
    rows = rows_of([side.rows[fitting[place]] for place in order])
    if not rows:
        raise BadInput(f"{data}: {options.epochs:g} epochs come to nothing of {len(fitting)} rows; choose more")
    trained_model = with_adapter(model, options.lora_rank) if options.lora else model
    with ExitStack() as stack:
        trainer = method.trainer(Lesson(trained_model, tokenizer, (), rows, None), args)
        checkpoint = latest_checkpoint(checkpoints, args.world_size) if options.save_steps else None
        stopwatch = take_steps(trainer, (), stack, checkpoint)
        fresh = stack.enter_context(appearing(options.out)) if args.process_index == 0 else None
        write_model(fresh, trainer, tokenizer, options, lambda: whole_model(options.model)[0])
        learned = Learned(
            rows=len(rows),
            dropped=len(side.dropped) + len(side.rows) - len(fitting),
            steps=trainer.state.global_step,
            seconds=round(stopwatch.seconds, 3),
            input_tokens=int(trainer.state.num_input_tokens_seen),
        )
        if fresh is not None:
            write_record(fresh, options, {"learning_rate": args.learning_rate}, trainer.state, ())
            made_of = lineage.lineage_of(options, [data], ratings_of(groups, delta=options.delta), fresh, groups)
            write_json(fresh / lineage.FILE, made_of)
            keep_events(checkpoints, fresh)
            write_json(fresh / "learned.json", asdict(learned))
    if args.process_index == 0:
        shutil.rmtree(checkpoints, ignore_errors=True)
    return learned
