"""Plays the worlds of a run on their engines: opens or resumes their transcripts and tells how it goes."""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.engines import Where, opened
from agents.server import Patience
from memory.encoder import Encoder
from sandbox import telemetry, transcript
from sandbox.cast import Cast, cast
from sandbox.config import SimulateOptions
from sandbox.console import table_console
from sandbox.progress import Scoreboard, shown
from sandbox.rounds import TooManyFailures, calls_a_round, lessons, play_rounds, remember
from sandbox.society import Built, Plan, build, resolved
from sandbox.tasks import running

VERSIONED = ("social-sandbox", "mesa", "torch", "transformers", "sentence-transformers", "faiss-cpu", "numpy")


async def play(options: SimulateOptions, plans: Sequence[Plan], encoder: Encoder) -> None:
    """Play the worlds of a run at once, on the same engines.

    A world that fails too much does not stop the others; TooManyFailures is raised when they have ended.
    """
    say("loading models")
    async with opened(where(options, plans), say) as engines:
        actors = await cast(options, engines, encoder)
        worlds = [world_of(plan, actors, resume=options.resume) for plan in plans]
        # What is loaded stays, and a round makes few cycles: looking for garbage took a third of its CPU time, and more
        # the more agents there were.
        gc.freeze()
        gc.set_threshold(500_000, 20, 20)
        board = scoreboard(worlds, options.round_limit)
        with shown(board) as show:
            async with running(play_world(world, board, show) for world in worlds) as tasks:
                failures = [failed for failed in await asyncio.gather(*tasks) if failed]
        meters = [meter for world in worlds for meter in world.built.meters]
        table_console(stderr=True).print(telemetry.account(meters))
        for error in telemetry.first_errors(meters):
            say(f"first {error}")
    if failures:
        raise TooManyFailures("; ".join(failures))


def where(options: SimulateOptions, plans: Sequence[Plan]) -> Where:
    """Where this run looks for its models."""
    observed = 2 * len(options.observer)
    agents = sum(plan.options.size**2 for plan in plans)
    return Where(
        servers=tuple(options.server),
        engine=options.engine,
        vllm_command=options.vllm_command,
        calls_at_once=agents * (options.raters + observed),
        patience=Patience(options.timeout, options.retries),
    )


@dataclass(frozen=True, slots=True)
class OpenWorld:
    """A world with its transcript open; `played` are the summaries of the rounds that lie behind."""

    folder: Path
    built: Built
    writer: transcript.Writer
    played: list[dict[str, Any]]


def world_of(plan: Plan, actors: Cast, *, resume: bool) -> OpenWorld:
    """A world as new, or as it stood after the last complete round of its transcript."""
    folder, built = plan.options.out, build(plan, actors)
    played: list[dict[str, Any]] = []
    if resume and (folder / transcript.FILE).exists():
        writer, kept = transcript.Writer.resume(folder, built.header)
        played = kept.rounds()
        remember(built.society.world, lessons(kept.interactions()))
        say(f"resuming after round {len(played)}")
    else:
        writer = transcript.Writer.create(folder, built.header)
    write_settings(folder, plan.options, built.header)
    return OpenWorld(folder, built, writer, played)


async def play_world(world: OpenWorld, board: Scoreboard, show: Callable[[], None]) -> str | None:
    """Play a world to its end, or until it fails too much: then why."""
    measured = telemetry.Telemetry(world.folder / telemetry.FILE, world.built.meters)

    def on_round(summary: dict[str, Any]) -> None:
        measured.end_round(summary["round"])
        board.end_round(summary)
        show()

    try:
        await play_rounds(world.built.society, world.writer, world.played, board.add, on_round)
    except TooManyFailures as error:
        return f"{world.folder}: {error}"
    return None


def scoreboard(worlds: Sequence[OpenWorld], rounds: int) -> Scoreboard:
    """What is to be done in this run, for the progress line."""
    societies = [world.built.society for world in worlds]
    return Scoreboard(
        rounds=rounds * len(worlds),
        interactions_a_round=len(societies[0].world.people),
        calls_a_round=round(sum(map(calls_a_round, societies)) / len(worlds)),
        models=[meter for world in worlds for meter in world.built.meters],
        played=sum(len(world.played) for world in worlds),
    )


def write_settings(folder: Path, options: SimulateOptions, header: dict[str, Any]) -> None:
    """Write run.toml."""
    (folder / "run.toml").write_text(resolved(options, header, versions()), encoding="utf-8")


def versions() -> dict[str, str]:
    """The versions of what decides the words of a run."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        found[name] = importlib.metadata.version(name)
    return found


def say(line: str) -> None:
    """Tell the person who watches."""
    print(line, file=sys.stderr, flush=True)
