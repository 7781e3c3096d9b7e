"""One run from options to folder: build, play, and write transcript, telemetry, dataset and report."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import platform
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.metered import Metered

from agents.errors import BadInput
from sandbox import dataset, transcript
from sandbox.config import SimulateOptions
from sandbox.progress import Scoreboard, shown
from sandbox.report.page import write_report
from sandbox.rounds import Society, play_rounds, remember
from sandbox.society import Built, build, resolved

VERSIONED = ("social-sandbox", "mesa", "torch", "transformers", "sentence-transformers", "faiss-cpu", "numpy")


def run(options: SimulateOptions) -> Path:
    """Play the run that `options` describe, or go on with it, and return its folder.

    Raises BadInput and TooManyFailures; an interrupted run keeps its complete rounds.
    """
    used = (options.out / transcript.FILE).exists()
    if options.resume and not used:
        raise BadInput(f"--resume: {options.out} holds no transcript; leave --resume out to start a run there")
    if not options.resume and options.out.exists() and any(options.out.iterdir()):
        raise BadInput(
            f"--out {options.out}: the folder is in use; add --resume to go on with its run, or name another"
        )
    encoder = asyncio.run(_play(options))
    export = dataset.export([options.out], options.out / "dataset", encoder)
    print(f"dataset {options.out / 'dataset'}: {export}", file=sys.stderr)
    write_report(options.out)
    return options.out


async def _play(options: SimulateOptions) -> Any:
    print("loading models", file=sys.stderr, flush=True)
    built = await build(options)
    played: list[dict[str, Any]] = []
    if options.resume:
        writer, kept = transcript.Writer.resume(options.out, built.header)
        played = kept.rounds()
        remember(built.society.world, kept.interactions())
        print(f"resuming after round {len(played)}", file=sys.stderr, flush=True)
    else:
        writer = transcript.Writer.create(options.out, built.header)
    (options.out / "run.toml").write_text(resolved(options, built.header, versions()), encoding="utf-8")

    board = scoreboard(built, options.round_limit, len(played))
    telemetry = Telemetry(options.out / "telemetry.jsonl", built.meters)
    with shown(board) as show:

        def on_round(summary: dict[str, Any]) -> None:
            telemetry.round(summary["round"])
            show()
            board.next_round(summary["round"])

        await play_rounds(built.society, writer, played, board.add, on_round)
    return built.encoder


def scoreboard(built: Built, rounds: int, played: int) -> Scoreboard:
    """What is to be done in this run, for the progress line."""
    return Scoreboard(
        rounds=rounds,
        interactions_a_round=len(built.society.world.residents),
        calls_a_round=calls_a_round(built.society),
        scorer=built.society.scorer,
        models=built.meters,
        round=played + 1,
        calls_before=sum(meter.calls for meter in built.meters),
    )


def calls_a_round(society: Society) -> int:
    """How many calls a round makes where none fails."""
    protocol, world = society.protocol, society.world
    observed = sum(2 if observer.reading == "scale" else 1 for observer in society.observers)
    reviews = sum(min(protocol.raters, len(world.neighbours(agent))) for agent in range(len(world.residents)))
    agents = len(world.residents)
    return agents * (1 + observed) + protocol.revisions * (reviews + agents * (1 + observed))


@dataclass(slots=True)
class Telemetry:
    """What may differ between two equal runs: one line a round with seconds, calls, tokens and failures by model."""

    path: Path
    meters: list[Metered]
    _before: dict[str, dict[str, Any]] = field(default_factory=dict)
    _since: float = field(default_factory=time.monotonic)

    def round(self, round: int) -> None:
        """Append the line of a round."""
        now = time.monotonic()
        line = {
            "round": round,
            "seconds": round_seconds(now - self._since),
            "time": time.time(),
            "host": platform.node(),
        }
        models = {meter.name: meter.counts() for meter in self.meters}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "models": models}) + "\n")
        self._since = now


def round_seconds(seconds: float) -> float:
    """Seconds as they are written."""
    return round(seconds, 3)


def versions() -> dict[str, str]:
    """The versions of what decides the words of a run."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        found[name] = importlib.metadata.version(name)
    return found
