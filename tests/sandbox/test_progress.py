from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agents.language_model import Key, Message, Prompt
from agents.metered import Metered
from sandbox.progress import Scoreboard, shown
from tests.fakes.scripted import ScriptedModel
from tests.sandbox.examples import interaction


class Clock:
    """Moves by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def call(model: Metered, times: int) -> None:
    prompt = Prompt(Key(1, 0, "draft"), (Message("user", "?"),), 5, 1.0, 1.0, 0)
    for _ in range(times):
        asyncio.run(model.complete(prompt))


def test_the_line_counts_this_process_and_the_whole_run() -> None:
    model, clock = Metered(ScriptedModel()), Clock()
    call(model, 20)  # the judges' zeros: before the first round
    board = Scoreboard(3, 4, 8, [model], played=1, clock=clock)
    assert board.line() == "4/12 interactions · 0.00/s · 0 tokens/s written, 0 read · 0 failed · starting"
    call(model, 6)
    clock.now += 60
    for _ in range(3):
        board.add(interaction())
    # 6 of the 16 calls of rounds 2 and 3 took a minute, 10 are left
    assert board.done() == 0.375
    assert board.line() == "7/12 interactions · 0.05/s · 0 tokens/s written, 1 read · 0 failed · 1.7 min left"
    call(model, 1)  # one of the 8 was not made: the step before it had failed
    board.add(replace(interaction(), outcome="timeout"))
    board.end_round({"alignment": {"before": 4.0, "after": 5.0}, "engagement": {"before": 3.5, "after": None}})
    assert (board.round, board.done()) == (3, 0.5)
    assert "8/12 interactions" in board.line() and "1 failed · alignment 4.00 → 5.00 · engagement 3.50" in board.line()


def test_what_is_kept_of_an_open_round_is_done_and_takes_no_time() -> None:
    model, clock = Metered(ScriptedModel()), Clock()
    board = Scoreboard(2, 4, 8, [model], played=1, talked=3, clock=clock)
    assert board.line().startswith("7/8 interactions · 0.00/s") and board.done() == 0.0
    call(model, 1)
    clock.now += 60
    assert board.done() == 0.5 and "1.0 min left" in board.line()  # of the 2 calls of the last interaction
    board.add(interaction())
    board.end_round({})
    assert board.done() == 1.0 and board.line().startswith("8/8 interactions · 0.02/s")
    assert Scoreboard(1, 4, 8, [model], talked=4).done() == 0.0, "nothing is left but the round's line"


def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    async def show() -> None:
        with shown(Scoreboard(2, 4, 8, [Metered(ScriptedModel())])) as now:
            now()

    asyncio.run(show())
    assert capsys.readouterr().err.startswith("round 1/2   0% · 0/8 interactions")
