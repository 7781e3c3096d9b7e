"""The command `align`."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.cli import Command, run_command, subcommand
from sandbox.config import load


def align() -> None:
    """Entry point of `align`."""
    run_command("align", lambda argv: subcommand("align", ALIGN, argv))


def _stable(argv: Sequence[str]) -> int:
    from alignment.config import AlignStableOptions

    options = load(AlignStableOptions, argv, prog="align stable")
    from alignment.training import run_stable  # imports torch: not before the options are read

    run_stable(options)
    return 0


def _check(argv: Sequence[str]) -> int:
    from alignment.config import AlignCheckOptions

    options = load(AlignCheckOptions, argv, prog="align check")
    from alignment.check import run_check

    run_check(options)
    return 0


def _verify(argv: Sequence[str]) -> int:
    from alignment.config import AlignVerifyOptions

    options = load(AlignVerifyOptions, argv, prog="align verify")
    from alignment.lineage import run_verify

    return run_verify(options)


ALIGN: dict[str, tuple[str, Command]] = {
    "stable": ("train a model on groups of rated answers by Stable Alignment", _stable),
    "verify": ("check what a trained model was made of, back to the transcripts", _verify),
    "check": ("show what a trainer would read, with one example", _check),
}
