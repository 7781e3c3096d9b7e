"""What a person sees on stderr while a run goes on: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from agents.metered import Metered
from agents.observers import DIMENSIONS
from agents.records import OK
from sandbox.interaction import Interaction

PLAIN_SECONDS = 20.0  # between two lines where stderr is not a terminal
LIVE_SECONDS = 0.5


@dataclass(slots=True)
class Scoreboard:
    """Counts of a run so far; `line` is what is shown of them. Rates are those of this process, since it was made.

    `rounds` and `played` are those of all its worlds together.
    """

    rounds: int
    interactions_a_round: int
    calls_a_round: int
    models: list[Metered]
    played: int = 0  # rounds of the run that lie behind
    talked: int = 0  # interactions of the rounds that are being played
    failures: int = 0
    summary: dict[str, Any] = field(default_factory=dict)  # of the last round
    clock: Callable[[], float] = time.monotonic
    _started: float = field(init=False)
    _before: Counter[str] = field(init=False)
    _played_at_start: int = field(init=False)
    _talked_at_start: int = field(init=False)

    def __post_init__(self) -> None:
        self._started, self._before = self.clock(), self._counts()
        self._played_at_start, self._talked_at_start = self.played, self.talked

    def add(self, interaction: Interaction) -> None:
        """Count one interaction."""
        self.talked += 1
        self.failures += interaction.outcome != OK

    def end_round(self, summary: dict[str, Any]) -> None:
        """Count a round, and keep its mean ratings to show."""
        self.played, self.talked, self.summary = self.played + 1, self.talked - self.interactions_a_round, summary

    @property
    def round(self) -> int:
        """The round that is being played, from 1."""
        return min(self.played + 1, self.rounds)

    def done(self) -> float:
        """The share of this process's calls that have been answered; 1 when the run is over."""
        if self.played == self.rounds:
            return 1.0
        return min(1.0, self._answered() / self._calls())

    def line(self) -> str:
        """One line: interactions and their rate, tokens/s, failures, mean ratings of the last round, time left."""
        seconds = max(self.clock() - self._started, 1e-9)
        since = self._since()
        talked = self.played * self.interactions_a_round + self.talked
        here = talked - self._played_at_start * self.interactions_a_round - self._talked_at_start
        parts = [
            f"{talked}/{self.interactions_a_round * self.rounds} interactions",
            f"{here / seconds:.2f}/s",
            f"{since['written'] / seconds:.0f} tokens/s written, {since['read'] / seconds:.0f} read",
            f"{self.failures} failed",
            *(f"{name} {value}" for name in DIMENSIONS if (value := self._change(name))),
            self._left(seconds),
        ]
        return " · ".join(parts)

    def _left(self, seconds: float) -> str:
        answered = self._answered()
        if not answered:
            return "starting"
        return f"{max(0, self._calls() - answered) * seconds / answered / 60:.1f} min left"

    def _calls(self) -> float:
        begun = self._talked_at_start / self.interactions_a_round
        return max(1.0, self.calls_a_round * (self.rounds - self._played_at_start - begun))

    def _answered(self) -> int:
        """Calls that are done with; a round that is over counts whole, though failures may have spared it some."""
        return max(self._since()["calls"], self.calls_a_round * (self.played - self._played_at_start))

    def _change(self, dimension: str) -> str:
        means = [value for value in self.summary.get(dimension, {}).values() if value is not None]
        return " → ".join(f"{value:.2f}" for value in means)

    def _counts(self) -> Counter[str]:
        return Counter(
            calls=sum(model.calls for model in self.models),
            read=sum(model.prompt_tokens for model in self.models),
            written=sum(model.completion_tokens for model in self.models),
        )

    def _since(self) -> Counter[str]:
        now = self._counts()
        now.subtract(self._before)
        return now


@contextmanager
def shown(board: Scoreboard) -> Iterator[Callable[[], None]]:
    """Show `board` while the block runs, inside an event loop. Yields a function that prints the line at once."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("round {task.fields[round]}"), BarColumn(20), TextColumn("{task.description}"))
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("", total=1.0, round="")

            def show() -> None:
                progress.update(
                    task,
                    completed=board.done(),
                    description=board.line(),
                    round=f"{board.round}/{board.rounds}",
                )

            yield from _repeated(show, LIVE_SECONDS)
    else:

        def show() -> None:
            head = f"round {board.round}/{board.rounds} {board.done():4.0%}"
            print(f"{head} · {board.line()}", file=sys.stderr, flush=True)

        yield from _repeated(show, PLAIN_SECONDS)


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how many of about `total` there are while the block runs. Yields a function that counts more of them."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (BarColumn(20), TextColumn("{task.completed} {task.description}"))
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda more: progress.advance(task, more)
    else:
        counted, told = 0, time.monotonic()

        def count(more: int) -> None:
            nonlocal counted, told
            counted += more
            if time.monotonic() - told > PLAIN_SECONDS:
                told = time.monotonic()
                print(f"{counted} {what}", file=sys.stderr, flush=True)

        yield count


def _repeated(show: Callable[[], None], seconds: float) -> Iterator[Callable[[], None]]:
    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            show()

    task = asyncio.get_running_loop().create_task(repeat())
    try:
        yield show
    finally:
        task.cancel()
