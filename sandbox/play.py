"""Plays the worlds of a run on their engines, and tells how it goes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Sequence
from typing import Any

from agents.engines import Where, opened
from agents.errors import TooManyFailures
from agents.server import Patience
from memory.encoder import Encoder
from sandbox import telemetry
from sandbox.cast import cast
from sandbox.config import SimulateOptions
from sandbox.console import say, table_console
from sandbox.opening import OpenWorld, world_of
from sandbox.plan import Plan
from sandbox.progress import Scoreboard, shown
from sandbox.rounds import calls_a_round, play_rounds
from sandbox.settings import write_settings
from sandbox.tasks import running


async def play(options: SimulateOptions, plans: Sequence[Plan], encoder: Encoder) -> None:
    """Play the worlds of a run at once, on the same engines.

    A world that fails too much does not stop the others; TooManyFailures is raised when they have ended.
    """
    say("loading models")
    async with opened(where(options, sum(plan.options.size**2 for plan in plans)), say) as engines:
        actors = await cast(options, engines, encoder)
        worlds = [world_of(plan, actors, resume=options.resume) for plan in plans]
        if options.worlds > 1:
            write_settings(options.out, options, worlds[0].built.header)
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


def where(options: SimulateOptions, agents: int) -> Where:
    """Where a run of so many agents looks for its models."""
    observed = 2 * len(options.observer)
    return Where(
        servers=tuple(options.server),
        engine=options.engine,
        vllm_command=options.vllm_command,
        calls_at_once=agents * (options.raters + observed),
        patience=Patience(options.timeout, options.retries),
    )


async def play_world(world: OpenWorld, board: Scoreboard, show: Callable[[], None]) -> str | None:
    """Play a world to its end, or until it fails too much: then why."""
    measured = telemetry.Telemetry(world.folder / telemetry.FILE, world.built.meters)

    def on_round(summary: dict[str, Any]) -> None:
        measured.end_round(summary["round"])
        board.end_round(summary)
        show()

    try:
        await play_rounds(world.built.society, world.writer, world.played, world.begun, board.add, on_round)
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
        talked=sum(len(world.begun) for world in worlds),
    )
