"""Does the spread of answers tell open prompts from closed ones? On the 48 of alignment/data/openness.jsonl.

    python benchmarks/openness.py written [--encoder NAME] [--out FILE.json]
    python benchmarks/openness.py sampled [--model NAME] [--encoder NAME] [--out FILE.json]

    written   six answers a prompt as a good model could give them, written with the prompts. Every other prompt gave
              CLOSED and OPEN in alignment/reward_model/openness.py, its kinds' mean spreads; measured on the others
    sampled   six answers a prompt from the model here, at temperature 1 and of at most 32 tokens; all prompts

AUC is how often an open prompt is estimated above a closed one, its interval 95 % bootstrap percentiles over prompts
(open and closed drawn apart; where all are told apart, it has no width). "closed" and "open" are the means of either
kind, "Brier" the mean squared error. The lines below the estimate are other readings of the same embeddings. The last
line is the table as JSON; FILE.json holds the answers too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from agents.batching import Batcher
from agents.canonical import seed_of
from agents.errors import BadInput
from agents.language_model import Key, LanguageModel, Message, Prompt
from agents.models import EMBEDDED_ENCODER, EMBEDDED_MODEL, encoder_folder, load_model
from agents.rows import read_rows
from alignment.reward_model.openness import estimate_all, spread
from memory.encoder import Encoder

PROMPTS = Path(__file__).parents[1] / "alignment" / "data" / "openness.jsonl"
ANSWERS = 6
MAX_TOKENS = 32
NEAR = 0.6  # the cosine from which on two answers count as one


@dataclass(frozen=True)
class Row:
    """A prompt, its openness (0 or 1), and answers to it."""

    prompt: str
    openness: int
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """One line of the table; what is no estimate in [0, 1] has no Brier score."""

    reading: str
    prompts: int
    auc: float
    low: float
    high: float
    closed: float
    open: float
    brier: float | None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answers", choices=("written", "sampled"))
    parser.add_argument("--model", default=EMBEDDED_MODEL, help="who answers, of `sampled`")
    parser.add_argument("--encoder", default=EMBEDDED_ENCODER)
    parser.add_argument("--out", type=Path, help="write the table and the answers as JSON")
    options = parser.parse_args()
    try:
        encoder = Encoder(encoder_folder(options.encoder))
        rows = [Row(row["prompt"], row["openness"], tuple(row["answers"])) for _, row in read_rows(PROMPTS)]
        if options.answers == "written":
            kinds = by_kind(rows[::2], [spread(encoder.encode(row.answers)) for row in rows[::2]])
            print("fitted half: CLOSED, OPEN = {:.2f}, {:.2f}".format(*map(np.mean, kinds)))
            rows = rows[1::2]
        else:
            rows = asyncio.run(answered(load_model(options.model, Batcher()), rows))
    except BadInput as error:
        print(f"openness: {error}", file=sys.stderr)
        return 2
    table = measured(rows, encoder)
    found = {"answers": options.answers, "encoder": options.encoder, "table": [asdict(line) for line in table]}
    if options.answers == "sampled":
        found["model"] = options.model
    if options.out:
        options.out.write_text(json.dumps({**found, "rows": [asdict(row) for row in rows]}) + "\n", encoding="utf-8")
    print(json.dumps(found))
    return 0


async def answered(model: LanguageModel, rows: Sequence[Row]) -> list[Row]:
    """The same prompts with the model's answers; an empty one is left out."""

    async def answer(number: int, place: int) -> str:
        prompt = Prompt(
            key=Key(0, number, "openness", place),
            messages=(Message("user", rows[number].prompt),),
            max_tokens=MAX_TOKENS,
            temperature=1.0,
            top_p=1.0,
            seed=seed_of(0, 0, number, "openness", place),
        )
        return (await model.complete(prompt)).text

    async def row(number: int) -> Row:
        texts = await asyncio.gather(*(answer(number, place) for place in range(ANSWERS)))
        return Row(rows[number].prompt, rows[number].openness, tuple(text for text in texts if text.strip()))

    return await asyncio.gather(*map(row, range(len(rows))))


def measured(rows: Sequence[Row], encoder: Encoder) -> list[Line]:
    print(f"{'reading':20} prompts    AUC   95 %          closed    open   Brier")
    estimates = estimate_all([row.answers for row in rows], encoder)
    brier = float(np.mean([(value - row.openness) ** 2 for value, row in zip(estimates, rows, strict=True)]))
    lines = [line_of("estimate", rows, estimates, round(brier, 4))]
    near = [closeness(encoder, row) for row in rows]
    return lines + [line_of(name, rows, [reading(one) for one in near], None) for name, reading in READINGS.items()]


@dataclass(frozen=True)
class Closeness:
    """Cosines of each pair of answers, and of each answer and the prompt."""

    pairs: NDArray[np.float64]
    prompt: NDArray[np.float64]


def closeness(encoder: Encoder, row: Row) -> Closeness:
    vectors = encoder.encode([row.prompt, *row.answers]).astype(np.float64)
    cosines = vectors @ vectors.T
    return Closeness(cosines[1:, 1:][np.triu_indices(len(row.answers), 1)], cosines[0, 1:])


READINGS: dict[str, Callable[[Closeness], float]] = {
    "mean pair": lambda near: float(1 - near.pairs.mean()),  # the spread, neither scaled nor clipped
    "median pair": lambda near: float(1 - np.median(near.pairs)),
    "closest pair": lambda near: float(1 - near.pairs.max()),
    "pairs far apart": lambda near: float((near.pairs < NEAR).mean()),
    "mean pair to prompt": lambda near: float((1 - near.pairs.mean()) / (1 - near.prompt.mean())),
}


def line_of(reading: str, rows: Sequence[Row], values: Sequence[float], brier: float | None) -> Line:
    kinds = by_kind(rows, values)
    drawn = stats.bootstrap(
        kinds, auc, vectorized=False, n_resamples=1000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    numbers = (auc(*kinds), drawn.low, drawn.high, *map(np.mean, kinds))
    line = Line(reading, len(rows), *(round(float(number), 4) for number in numbers), brier)
    tail = "" if brier is None else f"{brier:8.3f}"
    print(
        f"{reading:20} {len(rows):7} {line.auc:6.3f}   {line.low:.3f} … {line.high:.3f} {line.closed:6.2f}"
        f"  {line.open:6.2f}{tail}",
        flush=True,
    )
    return line


def by_kind(rows: Sequence[Row], values: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The values of closed prompts, and of open ones."""
    kinds = np.array([row.openness for row in rows])
    found = np.array(values)
    return found[kinds == 0], found[kinds == 1]


def auc(closed: NDArray[np.float64], opened: NDArray[np.float64]) -> float:
    return float(stats.mannwhitneyu(opened, closed).statistic / (len(closed) * len(opened)))


if __name__ == "__main__":
    sys.exit(main())
