"""What a person sees on stderr while a run goes on: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean

from agents.metered import Metered
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from agents.records import OK
from sandbox.interaction import Interaction

PLAIN_SECONDS = 20.0  # between two lines where stderr is not a terminal
LIVE_SECONDS = 0.5


@dataclass(slots=True)
class Scoreboard:
    """Counts of the run so far; `line` is what is shown of them."""

    rounds: int
    interactions_a_round: int
    calls_a_round: int
    scorer: str
    models: list[Metered]
    round: int = 1
    interactions: int = 0
    started: float = field(default_factory=time.monotonic)
    ratings: list[tuple[float | None, float | None]] = field(default_factory=list)
    failures: int = 0
    calls_before: int = 0

    def add(self, interaction: Interaction) -> None:
        """Count one interaction."""
        self.interactions += 1
        self.failures += interaction.outcome != OK
        if self.scorer in interaction.final_ratings:
            rating = interaction.final_ratings[self.scorer]
            self.ratings.append((rating.alignment, rating.engagement))

    def next_round(self, round: int) -> None:
        """Start counting another round."""
        self.round = round + 1
        self.calls_before = self.calls
        self.ratings = []

    @property
    def calls(self) -> int:
        """Calls made so far, over all models."""
        return sum(model.calls for model in self.models)

    def done(self) -> float:
        """The share of the current round's calls that have been answered."""
        return min(1.0, (self.calls - self.calls_before) / max(1, self.calls_a_round))

    def line(self, now: float) -> str:
        """One line: interactions and their rate, tokens/s, mean ratings, failures, time left in this round."""
        seconds = max(now - self.started, 1e-9)
        tokens = sum(model.completion_tokens for model in self.models)
        prompt_tokens = sum(model.prompt_tokens for model in self.models)
        calls_left = self.calls_a_round * (self.rounds - self.round + 1) - (self.calls - self.calls_before)
        left = f"{calls_left * seconds / self.calls / 60:.1f} min left" if self.calls else "starting"
        parts = [
            f"{self.interactions}/{self.interactions_a_round * self.rounds} interactions",
            f"{self.interactions / seconds:.2f}/s",
            f"{tokens / seconds:.0f} tokens/s written, {prompt_tokens / seconds:.0f} read",
            *(f"{name} {fmean(values):.2f}" for name, values in self._means() if values),
            f"{self.failures} failed",
            left,
        ]
        return " · ".join(parts)

    def _means(self) -> list[tuple[str, list[float]]]:
        alignments = [alignment for alignment, _ in self.ratings if alignment is not None]
        engagements = [engagement for _, engagement in self.ratings if engagement is not None]
        return [("alignment", alignments), ("engagement", engagements)]


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
                    description=board.line(time.monotonic()),
                    round=f"{board.round}/{board.rounds}",
                )

            yield from _repeated(show, LIVE_SECONDS)
    else:

        def show() -> None:
            line = board.line(time.monotonic())
            print(f"round {board.round}/{board.rounds} {board.done():4.0%} · {line}", file=sys.stderr, flush=True)

        yield from _repeated(show, PLAIN_SECONDS)


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
