"""The command `align`."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.cli import Command, run_command, subcommand
from sandbox.config import load


def align() -> None:
    """Entry point of `align`."""
    run_command("align", lambda argv: subcommand("align", ALIGN, argv))


def _train(options: str, method: str) -> Command:
    """The command that trains by a method, whose options have that name in `alignment.config`."""

    def run(argv: Sequence[str]) -> int:
        from alignment import config

        given = load(getattr(config, options), argv, prog=f"align {method}")
        from alignment.training import run_training  # imports torch: not before the options are read

        run_training(given)
        return 0

    return run


def _reward_model(argv: Sequence[str]) -> int:
    from alignment.config import AlignRewardModelOptions

    options = load(AlignRewardModelOptions, argv, prog="align reward-model")
    from alignment.reward_model.training import run_reward_model  # imports torch: not before the options are read

    run_reward_model(options)
    return 0


def _eva(argv: Sequence[str]) -> int:
    from alignment.config import AlignEvaOptions

    options = load(AlignEvaOptions, argv, prog="align eva")
    from alignment.eva.training import run_eva  # imports torch: not before the options are read

    run_eva(options)
    return 0


def _meta_judge(argv: Sequence[str]) -> int:
    from alignment.config import AlignMetaJudgeOptions

    options = load(AlignMetaJudgeOptions, argv, prog="align meta-judge")
    from alignment.meta_judge.training import run_meta_judge  # imports torch: not before the options are read

    run_meta_judge(options)
    return 0


def _check(argv: Sequence[str]) -> int:
    from alignment.config import AlignCheckOptions

    options = load(AlignCheckOptions, argv, prog="align check")
    from alignment.check import run_check

    run_check(options)
    return 0


def _compare(argv: Sequence[str]) -> int:
    from alignment.config import AlignCompareOptions

    options = load(AlignCompareOptions, argv, prog="align compare")
    from alignment.compare import run_compare

    run_compare(options)
    return 0


def _evaluate(argv: Sequence[str]) -> int:
    from alignment.config import AlignEvaluateOptions

    options = load(AlignEvaluateOptions, argv, prog="align evaluate")
    from alignment.evaluate import run_evaluate  # imports torch: not before the options are read

    run_evaluate(options)
    return 0


def _verify(argv: Sequence[str]) -> int:
    from alignment.config import AlignVerifyOptions

    options = load(AlignVerifyOptions, argv, prog="align verify")
    from alignment.lineage import run_verify

    return run_verify(options)


ALIGN: dict[str, tuple[str, Command]] = {
    "stable": (
        "train a model on groups of rated answers by Stable Alignment",
        _train("AlignStableOptions", "stable"),
    ),
    "sft": ("a baseline: fine-tune on the best answers", _train("AlignSftOptions", "sft")),
    "dpo": ("a baseline: DPO or IPO on pairs of answers", _train("AlignDpoOptions", "dpo")),
    "rloo": ("a baseline: reinforcement by a judge of fresh answers", _train("AlignRlooOptions", "rloo")),
    "reward-model": ("train a model that rates answers, to judge and to reinforce by", _reward_model),
    "eva": ("train a model on its own answers to prompts that evolve with it", _eva),
    "meta-judge": ("train a model as actor and judge by its own judgements of judgements", _meta_judge),
    "evaluate": ("measure a model on what it was not trained on, beside another", _evaluate),
    "compare": ("trainings side by side: quality, stability and cost", _compare),
    "verify": ("check what a trained model was made of, back to the transcripts", _verify),
    "check": ("show what a trainer would read, with one example", _check),
}
