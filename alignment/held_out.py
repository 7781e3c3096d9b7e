"""Held-out questions: which they are, and how a model reads their answers before and after a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from torch import Tensor

from agents.errors import BadInput
from agents.models import encoder_folder
from alignment.config import TrainingOptions
from alignment.likelihood import Estimate, Likelihoods, Quality, likelihoods, neutral_perplexity, quality
from alignment.tokens import ChatFormat, Row
from memory.encoder import Encoder
from sandbox.dataset import Group, split


@dataclass(frozen=True, slots=True)
class Measured:
    """A model on the held-out rows: the summary, and the likelihoods behind it."""

    quality: Quality
    likelihoods: list[Likelihoods]


def divided(groups: Sequence[Group], options: TrainingOptions) -> tuple[list[Group], list[Group], list[Group]]:
    """(training, held-out, neither) groups, by question, with paraphrases on one side.

    Neither: whose question would be held out, but is trained on in another spelling. Raises BadInput where a side is
    empty.
    """
    if options.test_share == 0:
        return list(groups), [], []
    questions = list(dict.fromkeys(group.question for group in groups))
    vectors = Encoder(encoder_folder(options.encoder)).encode(questions)
    is_test = split(questions, vectors, test_share=options.test_share, seed=options.seed)
    training = [group for group in groups if not is_test[group.question]]
    spelled = {_spelling(group.question) for group in training}
    testing = [group for group in groups if is_test[group.question]]
    apart = [group for group in testing if _spelling(group.question) not in spelled]
    if not training or not apart:
        raise BadInput(
            f"--test-share {options.test_share:g}: the {len(questions)} questions are all alike and cannot be divided; "
            "give more, or set it to 0 to hold none out"
        )
    return training, apart, [group for group in testing if _spelling(group.question) in spelled]


def _spelling(question: str) -> str:
    """The question without case and spaces, which an encoder may take for differences of meaning."""
    return " ".join(question.casefold().split())


def measured(
    model: Any,
    rows: Sequence[Row],
    collate: Callable[[Sequence[Row]], dict[str, Tensor]],
    format: ChatFormat,
    delta: float,
) -> Measured:
    """Measure the model as it stands on held-out rows and on the neutral text."""
    found = likelihoods(model, rows, collate)
    return Measured(quality(rows, found, neutral_perplexity(model, format), delta=delta), found)


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
