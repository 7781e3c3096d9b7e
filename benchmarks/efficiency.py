"""How much of an engine's speed does a society get, though its steps wait for each other?

    python benchmarks/efficiency.py [any option of simulate] [--json-out FILE.json]

One round is played (laptop.toml's settings by default, so on the model in this process), and its calls are kept. Then
the engine is started anew, so that it remembers nothing, and given the same prompts all at once, as if none waited for
another. Efficiency is tokens/s (read and written) of the society divided by tokens/s of the bare engine; the zeros of
the judges are measured before and count nowhere, nor does the embedding observer. The last line is the table as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.engines import opened
from agents.language_model import Completion, LanguageModel, Prompt
from agents.models import encoder_folder
from memory.encoder import Encoder
from sandbox.build import build
from sandbox.cast import cast
from sandbox.config import SimulateOptions, load
from sandbox.plan import plan
from sandbox.play import where
from sandbox.rounds import play_round

LAPTOP = ["--config", str(Path(__file__).parents[1] / "laptop.toml"), "--observer", "llm:verdict", "--rounds", "1"]


@dataclass
class Kept:
    """A model that keeps what it was asked."""

    model: LanguageModel
    prompts: list[Prompt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name, self.digest = self.model.name, self.model.digest
        self.batch_invariant, self.reads_words = self.model.batch_invariant, self.model.reads_words

    async def complete(self, prompt: Prompt) -> Completion:
        self.prompts.append(prompt)
        return await self.model.complete(prompt)


async def measure(options: SimulateOptions) -> dict[str, Any]:
    """Play a round, then give its prompts to a fresh engine at once."""
    plans = [plan(options)]
    async with opened(where(options, options.size**2), print) as engines:
        actors = await cast(options, engines, Encoder(encoder_folder(options.encoder)))
        kept = {name: Kept(model) for name, model in actors.models.items()}
        actors.models.update(kept)
        built = build(plans[0], actors)
        began = time.monotonic()
        async for _ in play_round(built.society, 1, lambda interaction: None):
            pass
        society_seconds = time.monotonic() - began
    async with opened(where(options, options.size**2), print) as engines:
        models = await engines.models(list(kept))
        asked = [(models[name], prompt) for name, model in kept.items() for prompt in model.prompts]
        began = time.monotonic()
        answers = await asyncio.gather(*(model.complete(prompt) for model, prompt in asked))
        bare_seconds = time.monotonic() - began
    tokens = sum(meter.prompt_tokens + meter.completion_tokens for meter in built.meters)
    bare_tokens = sum(answer.prompt_tokens + answer.completion_tokens for answer in answers)
    rates = tokens / society_seconds, bare_tokens / bare_seconds
    return {
        "agents": options.size**2,
        "calls": len(answers),
        "tokens": tokens,
        "bare_tokens": bare_tokens,
        "society_seconds": round(society_seconds, 1),
        "bare_seconds": round(bare_seconds, 1),
        "society_tokens_a_second": round(rates[0], 1),
        "bare_tokens_a_second": round(rates[1], 1),
        "efficiency": round(rates[0] / rates[1], 3),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json-out", type=Path, help="write the table here, too")
    own, others = parser.parse_known_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        options = load(SimulateOptions, [*LAPTOP, "--out", folder, *others], prog="efficiency")
        row = asyncio.run(measure(options))
    print(" · ".join(f"{name} {value}" for name, value in row.items()))
    if own.json_out:
        own.json_out.write_text(json.dumps(row) + "\n", encoding="utf-8")
    print(json.dumps(row))


if __name__ == "__main__":
    main()
