"""A model learns from the pairs of a file, by any of the optimisers (`alignment.preferences`)."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from transformers import set_seed

from agents.errors import BadInput
from alignment import lineage
from alignment.arguments import training_arguments
from alignment.checkpoints import latest_checkpoint
from alignment.config import IteratedOptions
from alignment.groups import checked, read_file
from alignment.methods import Lesson, Method
from alignment.plan import Stage, visits
from alignment.setup import keep_events, old_names_allowed, take_steps
from alignment.stable import prepared
from alignment.tokens import ChatFormat
from alignment.trained import write_json, write_model, write_record
from alignment.weights import whole_model, with_adapter
from sandbox.folders import appearing


@dataclass(frozen=True, slots=True)
class Learned:
    """What a training took: the pairs it met, those whose prompt had no room, and the seconds of its steps."""

    pairs: int
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


def learn(pairs: Path, base: str, folder: Path, options: IteratedOptions) -> Learned:
    """Train the model `base` on the pairs of a file and write what it became, with its record, to `folder`.

    Goes on from a checkpoint where there is one. Raises BadInput where no pair can be learned from.
    """
    with old_names_allowed():
        return _learn(pairs, base, folder, options.model_copy(update={"out": folder, "model": base}))


def _learn(pairs: Path, base: str, folder: Path, options: IteratedOptions) -> Learned:
    from alignment.baselines import dpo_rows

    method = method_of(options, base)
    args = training_arguments(options, method)
    checkpoints = Path(args.output_dir)
    groups = read_file(pairs).groups
    set_seed(options.seed)  # a new adapter starts from random numbers
    model, tokenizer = whole_model(base)
    side = prepared(groups, ChatFormat.of(tokenizer), options.max_length)
    stage = Stage({"imitation": None}, options.epochs)
    order = visits([group.type for group in side.groups], [stage], seed=options.seed)
    rows = dpo_rows([side.rows[place] for place in order], options.seed)
    if not rows:
        raise BadInput(f"--epochs {options.epochs:g}: comes to no pair at all of {len(side.rows)}; choose more")
    trained_model = with_adapter(model, options.lora_rank) if options.lora else model
    with ExitStack() as stack:
        trainer = method.trainer(Lesson(trained_model, tokenizer, (), rows, None), args)
        checkpoint = latest_checkpoint(checkpoints, args.world_size) if options.save_steps else None
        stopwatch = take_steps(trainer, (), stack, checkpoint)
        fresh = stack.enter_context(appearing(folder))
        write_model(fresh, trainer, tokenizer, options, lambda: whole_model(base)[0])
        write_record(fresh, options, {"learning_rate": args.learning_rate}, trainer.state, ())
        made_of = lineage.lineage_of(options, [pairs], checked(groups, delta=options.delta), fresh, groups)
        write_json(fresh / lineage.FILE, made_of)
        keep_events(checkpoints, fresh)
        learned = Learned(
            pairs=len(rows),
            dropped=len(side.dropped),
            steps=trainer.state.global_step,
            seconds=round(stopwatch.seconds, 3),
            input_tokens=int(trainer.state.num_input_tokens_seen),
        )
        write_json(fresh / "learned.json", asdict(learned))
    shutil.rmtree(checkpoints, ignore_errors=True)
    return learned
