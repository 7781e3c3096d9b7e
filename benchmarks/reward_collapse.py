"""Reward collapse, replicated (arXiv 2305.17608, section 4): one utility gives all prompts one distribution.

Answers are cut to fixed lengths, and their true reward is their length: evenly spread for open prompts, in two heaps
for closed ones, however many answers a prompt has. The texts are generated here (prompts and sentences of a small
grammar), the backbone is a small BERT that starts from random numbers, or any encoder. At four moments of the training:
ranking accuracy, the distance between the rewards of open and closed prompts (W1; 0 is collapse), beside it what that
is where all rewards are the utility's best, and the distance to those (W1, mean over prompts), on as many training as
test prompts. Stopping early is a way out only where open and closed prompts part then. `--picture` draws the rewards of
the test prompts, as the paper does.

    python benchmarks/reward_collapse.py [--prompts 256] [--answers 8 --answers 32] [--steps 400] [--picture FILE]

prints a table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import wasserstein_distance
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PrinterCallback,
    TrainerCallback,
    set_seed,
)

from agents.canonical import generator
from agents.language_model import Message
from agents.models import EMBEDDED_ENCODER, encoder_folder
from agents.reward_model import PairFormat
from alignment.report.distribution import Distribution, distributions_of, picture_of
from alignment.reward_model.optimum import optimal_rewards
from alignment.reward_model.quality import Observed, RewardQuality, quality, rewards_of
from alignment.reward_model.rows import LineCollator, RankedRow, prepared
from alignment.reward_model.trainer import RewardModelConfig, RewardModelTrainer, utility_named
from alignment.reward_model.utilities import prompt_aware
from alignment.weights import reward_backbone
from sandbox.dataset import Group

UTILITIES = ("x", "log x", "-1/x", "logsigmoid(x)", "prompt-aware")
OPEN, CLOSED = ((10, 80),), ((16, 34), (56, 74))  # lengths in words: evenly between, and in two heaps
ASKED = ("Tell me a story about the", "How many windows has the")
NOUNS = "river house garden teacher market winter train letter bridge island kitchen doctor forest clock village"
VERBS = "crosses follows finds leaves remembers paints opens watches carries loses repairs hears"
ADVERBS = "slowly often again quietly never gladly today somewhere"
TEST = 16  # prompts, half of them open, as in the paper
POINTS = 4  # at which the training is measured


def text(random: np.random.Generator, words: int) -> str:
    """Sentences of the grammar, cut at so many words."""
    said: list[str] = []
    while len(said) < words:
        one, other = random.choice(NOUNS.split(), 2)
        said += [
            "the",
            str(one),
            str(random.choice(VERBS.split())),
            "the",
            str(other),
            str(random.choice(ADVERBS.split())) + ".",
        ]
    return " ".join(said[:words])


def lengths(is_open: bool, answers: int) -> list[int]:
    """The lengths of a prompt's answers, in words, evenly within each heap. More than 38 of a closed prompt have ties.

    >>> lengths(True, 8), lengths(False, 8)
    ([10, 20, 30, 40, 50, 60, 70, 80], [16, 22, 28, 34, 56, 62, 68, 74])
    """
    heaps = OPEN if is_open else CLOSED
    counts = [len(part) for part in np.array_split(range(answers), len(heaps))]
    return [round(word) for heap, count in zip(heaps, counts, strict=True) for word in np.linspace(*heap, count)]


def groups(count: int, answers: int, seed: int) -> Iterator[Group]:
    """Prompts in turn open and closed, each with its answers in random order."""
    for number in range(count):
        random = generator(seed, number, 0, "collapse")
        is_open = number % 2 == 0
        cut = random.permutation(lengths(is_open, answers)).tolist()
        prompt = f"{ASKED[not is_open]} {' and the '.join(random.choice(NOUNS.split(), 3))}?"
        yield Group(
            (Message("user", prompt),), tuple(text(random, words) for words in cut), tuple(map(float, cut)),
            (True,) * answers, ("",) * answers, prompt, openness=float(is_open),
        )  # fmt: skip


def backbone(name: str | None) -> tuple[Any, Any]:
    """The encoder of that name, or a small BERT of random numbers with the embedded encoder's tokenizer."""
    if name is not None:
        return reward_backbone(name)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder(EMBEDDED_ENCODER))
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=192, num_labels=1,
    )  # fmt: skip
    return BertForSequenceClassification(config), tokenizer


class _Points(TrainerCallback):  # type: ignore[misc]
    """Adds (step, what `measure` says) to `found` at `POINTS` moments of a training of so many steps."""

    def __init__(self, steps: int, measure: Callable[[], Any], found: list[Any]) -> None:
        self._every, self._measure, self._found = max(1, steps // POINTS), measure, found

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step % self._every == 0:
            self._found.append((state.global_step, self._measure()))


def trained(
    utility: str, sides: Sequence[Sequence[RankedRow]], options: argparse.Namespace
) -> tuple[list[tuple[int, list[RewardQuality]]], list[Distribution]]:
    """(step, quality on the training and on the test prompts) at `POINTS` moments of a training by `utility`, and how
    the rewards of open and of closed test prompts were distributed before and after.
    """
    set_seed(options.seed)
    model, tokenizer = backbone(options.model)
    found: list[tuple[int, list[RewardQuality]]] = []
    collate = LineCollator(tokenizer)
    with tempfile.TemporaryDirectory() as scratch:
        args = RewardModelConfig(
            scratch, utility=utility, max_steps=options.steps, learning_rate=options.learning_rate,
            per_device_train_batch_size=8, disable_tqdm=True, seed=options.seed,
        )  # fmt: skip
        trainer = RewardModelTrainer(model, args, sides[0], tokenizer)
        trainer.remove_callback(PrinterCallback)

        def measured(model: Any, rows: Sequence[RankedRow]) -> RewardQuality:
            nobody = Observed([tuple(map(int, row.scores)) for row in rows], None)
            return quality(rows, rewards_of(model, rows, collate), utility_named(utility), nobody, delta=0.0)

        trainer.add_callback(
            _Points(options.steps, lambda: [measured(trainer.model, rows[:TEST]) for rows in sides], found)
        )
        before = rewards_of(trainer.model, sides[1], collate)
        trainer.train()
        after = rewards_of(trainer.model, sides[1], collate)
    rows = [
        {"openness": row.openness, "before": old, "after": new}
        for row, old, new in zip(sides[1], before, after, strict=True)
    ]
    return found, distributions_of(rows, utility)


def parted_at_best(utility: str, answers: int) -> float:
    """W1 between the best rewards of an open and of a closed prompt; 0 for every utility that is the same for both."""
    best = (optimal_rewards(utility_named(utility) or prompt_aware(openness), answers) for openness in (0.0, 1.0))
    return float(wasserstein_distance(*best))


def main() -> None:
    """Train by every utility at every number of answers and print what became of the rewards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=256, help="to train on (8192 in the paper)")
    parser.add_argument("--answers", type=int, action="append", help="answers a prompt, 4 to 64; repeatable (8)")
    parser.add_argument("--steps", type=int, default=400, help="of 8 prompts each")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--model", help="an encoder (a small one of random numbers)")
    parser.add_argument("--utility", action="append", help=f"repeatable ({', '.join(UTILITIES)})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, help="a PNG to write")
    options = parser.parse_args()
    format = PairFormat.of(backbone(options.model)[1], 160)
    columns = ("answers", "utility", "step", "pairs in order", "open–closed W1", "at the best", "to the best W1")
    table = Table(*columns, caption="training / test prompts")
    told, drawn = [], []
    for answers in options.answers or [8]:
        sides = [
            prepared(list(groups(count, answers, seed)), format).rows
            for count, seed in ((options.prompts, options.seed), (TEST, options.seed + 1))
        ]
        for utility in options.utility or UTILITIES:
            best, began = parted_at_best(utility, answers), time.monotonic()
            points, distributions = trained(utility, sides, options)
            drawn += distributions
            for step, found in points:
                train, test = map(_plain, found)
                measured = (f"{train[n]:.3f} / {test[n]:.3f}" for n in ("pair_accuracy", "open_closed", "to_optimum"))
                right, parted, to_best = measured
                table.add_row(str(answers), utility, str(step), right, parted, f"{best:.3f}", to_best)
                told.append({"answers": answers, "utility": utility, "step": step, "train": train, "test": test})
            print(f"{answers} answers, {utility}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    if options.picture:
        options.picture.write_bytes(picture_of(drawn, "Rewards of test prompts"))
    Console(width=120).print(table)
    print(json.dumps({"prompts": options.prompts, "points": told}))


def _plain(found: RewardQuality) -> dict[str, float | None]:
    return {
        "pair_accuracy": found.pair_accuracy.value if found.pair_accuracy else None,
        "open_closed": found.open_closed,
        "to_optimum": found.to_optimum,
        "to_limit": found.to_limit,
    }


if __name__ == "__main__":
    main()
