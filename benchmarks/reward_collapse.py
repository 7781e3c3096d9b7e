"""Reward collapse, replicated (arXiv 2305.17608, section 4): one utility gives all prompts one distribution.

Answers are cut to fixed lengths, and their true reward is their length: evenly spread for open prompts, in two heaps
for closed ones. The texts are generated here (prompts and sentences of a small grammar), the backbone is a small BERT
that starts from random numbers, or any encoder. At four moments of the training: ranking accuracy, the distance between
the rewards of open and closed prompts (W1; 0 is collapse) and that to the utility's best rewards (W1, mean over
prompts), on as many training as test prompts. Stopping early is a way out only where open and closed prompts part then.

    python benchmarks/reward_collapse.py [--prompts 256] [--answers 8] [--steps 300] [--model NAME]

prints a table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
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
from alignment.reward_model.quality import Observed, RewardQuality, quality, rewards_of
from alignment.reward_model.rows import LineCollator, RankedRow, prepared
from alignment.reward_model.trainer import RewardModelConfig, RewardModelTrainer, utility_named
from alignment.weights import reward_backbone
from sandbox.dataset import Group

UTILITIES = ("x", "log x", "-1/x", "logsigmoid(x)", "prompt-aware")
OPEN, CLOSED = (10, 80), (16, 22, 28, 34, 56, 62, 68, 74)  # lengths in words: evenly between, and in two heaps
ASKED = ("Tell me a story about the", "How many windows has the")
NOUNS = "river house garden teacher market winter train letter bridge island kitchen doctor forest clock village"
VERBS = "crosses follows finds leaves remembers paints opens watches carries loses repairs hears"
ADVERBS = "slowly often again quietly never gladly today somewhere"
TEST = 16  # prompts, half of them open, as in the paper
SIDES = "training / test prompts"
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
    """The lengths of a prompt's answers, in words."""
    if is_open:
        return np.linspace(*OPEN, answers).round().astype(int).tolist()
    return np.interp(np.linspace(0, 1, answers), np.linspace(0, 1, len(CLOSED)), CLOSED).round().astype(int).tolist()


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
) -> list[tuple[int, list[RewardQuality]]]:
    """(step, quality on the training and on the test prompts) at `POINTS` moments of a training by `utility`."""
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
        trainer.train()
    return found


def main() -> None:
    """Train by every utility and print what became of the rewards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=256, help="to train on (8192 in the paper)")
    parser.add_argument("--answers", type=int, default=8, help="answers a prompt, 4 to 64")
    parser.add_argument("--steps", type=int, default=400, help="of 8 prompts each")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--model", help="an encoder (a small one of random numbers)")
    parser.add_argument("--utility", action="append", help=f"repeatable ({', '.join(UTILITIES)})")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    format = PairFormat.of(backbone(options.model)[1], 160)
    sides = [
        prepared(list(groups(count, options.answers, seed)), format).rows
        for count, seed in ((options.prompts, options.seed), (TEST, options.seed + 1))
    ]
    table = Table(
        "utility", "step", "pairs in order", "open–closed W1", "to the best W1", caption="training / test prompts"
    )
    told = []
    for utility in options.utility or UTILITIES:
        began = time.monotonic()
        for step, (train, test) in trained(utility, sides, options):
            table.add_row(
                utility,
                str(step),
                *(f"{one:.3f} / {other:.3f}" for one, other in (
                    (train.pair_accuracy.value, test.pair_accuracy.value),
                    (train.open_closed, test.open_closed),
                    (train.to_optimum, test.to_optimum),
                )),
            )  # fmt: skip
            told.append({"utility": utility, "step": step, "train": _plain(train), "test": _plain(test)})
        print(f"{utility}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    Console(width=120).print(table)
    print(json.dumps({"answers": options.answers, "prompts": options.prompts, "points": told}))


def _plain(found: RewardQuality) -> dict[str, float | None]:
    return {
        "pair_accuracy": found.pair_accuracy and found.pair_accuracy.value,
        "open_closed": found.open_closed,
        "to_optimum": found.to_optimum,
        "to_limit": found.to_limit,
    }


if __name__ == "__main__":
    main()
