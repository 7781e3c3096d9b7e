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

from agents.errors import BadInput
from agents.metered import Metered
from memory.encoder import Encoder
from sandbox import dataset, transcript
from sandbox.agreement import agreements
from sandbox.config import SimulateOptions
from sandbox.progress import Scoreboard, shown
from sandbox.report.page import write_report
from sandbox.rounds import Society, play_rounds, remember
from sandbox.society import Built, build, resolved

Counts = dict[str, dict[str, Any]]  # of a meter, by purpose

VERSIONED = ("social-sandbox", "mesa", "torch", "transformers", "sentence-transformers", "faiss-cpu", "numpy")


def run(options: SimulateOptions) -> Path:
    """Play the run that `options` describe, or go on with it, and return its folder.

    Raises BadInput and TooManyFailures; an interrupted run keeps its complete rounds.
    """
    used = (options.out / transcript.FILE).exists()
    if options.resume and not used:
        raise BadInput(f"--resume: {options.out} holds no transcript; leave --resume out to start a run there")
    if options.out.exists() and not options.out.is_dir():
        raise BadInput(f"--out {options.out}: is a file; name a folder")
    if not options.resume and options.out.exists() and any(options.out.iterdir()):
        raise BadInput(
            f"--out {options.out}: the folder is in use; add --resume to go on with its run, or name another"
        )
    encoder = asyncio.run(_play(options))
    export = dataset.export([options.out], options.out / "dataset", encoder)
    print(f"dataset {options.out / 'dataset'}: {export}", file=sys.stderr)
    print(closing(transcript.read(options.out)), file=sys.stderr)
    write_report(options.out)
    return options.out


def closing(log: transcript.Transcript) -> str:
    """The last line that a run says: how far its observers agree."""
    found = agreements(log.interactions(), log.observers)
    told = [f"{dimension} {'–' if alpha is None else f'{alpha:.2f}'}" for dimension, alpha in found.items()]
    return f"observers' agreement (Krippendorff's alpha, ordinal): {', '.join(told)}"


async def _play(options: SimulateOptions) -> Encoder:
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
            telemetry.end_round(summary["round"])
            board.end_round(summary)
            show()

        await play_rounds(built.society, writer, played, board.add, on_round)
    return built.encoder


def scoreboard(built: Built, rounds: int, played: int) -> Scoreboard:
    """What is to be done in this run, for the progress line."""
    return Scoreboard(
        rounds=rounds,
        interactions_a_round=len(built.society.world.residents),
        calls_a_round=calls_a_round(built.society),
        models=built.meters,
        played=played,
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
    """What may differ between two equal runs: one line a round, its seconds and its calls by model and purpose."""

    path: Path
    meters: list[Metered]
    _since: float = field(init=False, default_factory=time.monotonic)
    _before: dict[str, Counts] = field(init=False)

    def __post_init__(self) -> None:
        self._before = self._counts()

    def end_round(self, number: int) -> None:
        """Append the line of a round, and count anew."""
        now, counts = time.monotonic(), self._counts()
        models = {name: counted_since(self._before[name], counted) for name, counted in counts.items()}
        line = {"round": number, "seconds": round(now - self._since, 3), "time": time.time(), "models": models}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._since, self._before = now, counts

    def _counts(self) -> dict[str, Counts]:
        return {meter.name: meter.counts() for meter in self.meters}


def counted_since(before: Counts, now: Counts) -> Counts:
    """The counts of a meter, purpose by purpose, less what it had counted before."""
    differences: Counts = {}
    for purpose, usage in now.items():
        old = before.get(purpose, {})
        failures = {name: n - old.get("failures", {}).get(name, 0) for name, n in usage["failures"].items()}
        numbers = {name: round(n - old.get(name, 0), 3) for name, n in usage.items() if name != "failures"}
        if numbers["calls"]:
            differences[purpose] = {**numbers, "failures": {name: n for name, n in failures.items() if n}}
    return differences


def versions() -> dict[str, str]:
    """The versions of what decides the words of a run."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        found[name] = importlib.metadata.version(name)
    return found
