"""The command `align`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from agents.errors import BadInput
from sandbox.cli import Command, run_command, subcommand
from sandbox.config import load


def align() -> None:
    """Entry point of `align`."""
    run_command("align", lambda argv: subcommand("align", ALIGN, argv))


def _command(name: str, options: str, module: str, function: str) -> Command:
    """The command `name`: its options by their name in `alignment.config`, and what runs it, where it stands.

    That may import torch, and so not before the options are read.
    """

    def run(argv: Sequence[str]) -> int:
        from alignment import config

        given = load(getattr(config, options), argv, prog=f"align {name}")
        try:
            loaded = import_module(f"alignment.{module}")
        except ModuleNotFoundError as error:
            told = " ".join(str(error).split())
            raise BadInput(f"a package is missing ({told}): pip install 'social-sandbox[align]'") from error
        code = getattr(loaded, function)(given)
        return code if isinstance(code, int) else 0

    return run


ALIGN: dict[str, tuple[str, Command]] = {
    name: (summary, _command(name, *where))
    for name, summary, *where in (
        ("stable", "train a model on groups of rated answers by Stable Alignment",
         "AlignStableOptions", "training", "run_training"),
        ("sft", "a baseline: fine-tune on the best answers", "AlignSftOptions", "training", "run_training"),
        ("dpo", "a baseline: DPO or IPO on pairs of answers", "AlignDpoOptions", "training", "run_training"),
        ("rloo", "a baseline: reinforcement by a judge of fresh answers",
         "AlignRlooOptions", "training", "run_training"),
        ("reward-model", "train a model that rates answers, to judge and to reinforce by",
         "AlignRewardModelOptions", "reward_model.training", "run_reward_model"),
        ("eva", "train a model on its own answers to prompts that evolve with it",
         "AlignEvaOptions", "eva.training", "run_eva"),
        ("meta-judge", "train a model as actor and judge by its own judgements of judgements",
         "AlignMetaJudgeOptions", "meta_judge.training", "run_meta_judge"),
        ("evaluate", "measure a model on what it was not trained on, beside another",
         "AlignEvaluateOptions", "evaluate", "run_evaluate"),
        ("compare", "trainings side by side: quality, stability and cost",
         "AlignCompareOptions", "compare", "run_compare"),
        ("verify", "check what a trained model was made of, back to the transcripts",
         "AlignVerifyOptions", "lineage", "run_verify"),
        ("check", "show what a trainer would read, with one example", "AlignCheckOptions", "check", "run_check"),
    )
}  # fmt: skip
