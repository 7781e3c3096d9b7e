"""What a person sees while a model trains: a live line on a terminal, plain lines elsewhere (on stderr)."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sandbox.progress import PLAIN_SECONDS

SHOWN = {  # of what the trainers log
    "loss": "loss {:.3f}",
    "nll_best": "best answers {:.3f} nats a token",
    "active_hinges": "active hinges {:.0%}",
    "rewards/accuracies": "pairs in order {:.0%}",
    "rewards/margins": "margin {:.3f}",
    "reward": "reward {:.2f}",
    "kl": "KL {:.3f}",
}


class TrainingProgress(TrainerCallback):  # type: ignore[misc]
    """Shows steps, losses and the time left."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("step"), MofNCompleteColumn(), BarColumn(20), TextColumn("{task.description}"))
        self._live = Progress(*columns, TimeRemainingColumn(), console=console) if console.is_terminal else None
        self._task = self._live.add_task("", total=None) if self._live else None
        self._started = self._told = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._started = self._told = time.monotonic()
        if self._live:
            self._live.start()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the last step's numbers."""
        if not logs or "loss" not in logs:
            return
        line = losses_line(logs)
        if self._live and self._task is not None:
            self._live.update(self._task, completed=state.global_step, total=state.max_steps, description=line)
            return
        now, last = time.monotonic(), state.global_step == state.max_steps
        if last or now - self._told >= PLAIN_SECONDS:
            self._told = now
            left = (now - self._started) / state.global_step * (state.max_steps - state.global_step)
            step = f"step {state.global_step}/{state.max_steps}"
            print(f"{step} · {line} · {left / 60:.1f} min left", file=sys.stderr, flush=True)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave the terminal as it was."""
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was, also where training failed."""
        if self._live:
            self._live.stop()


def losses_line(logs: dict[str, float]) -> str:
    """The numbers of one log line, for a person."""
    return " · ".join(form.format(logs[name]) for name, form in SHOWN.items() if name in logs)


class PhaseProgress:
    """Shows how many of a phase's rows there are: a live line on a terminal, plain lines elsewhere (on stderr)."""

    def __init__(self, name: str, rows: int) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), MofNCompleteColumn(), BarColumn(20), TimeRemainingColumn())
        self._live = Progress(*columns, console=console) if console.is_terminal else None
        self._task = self._live.add_task(name, total=rows) if self._live else None
        self._name, self._rows, self._began = name, rows, time.monotonic()
        self._told = self._began
        self._first = self._done = -1  # rows that were there before, and now

    @property
    def made(self) -> int:
        """How many rows have been added."""
        return self._done - self._first

    def told(self, done: int) -> None:
        """Show that so many rows are there."""
        self._first, self._done = done if self._first < 0 else self._first, done
        if self._live and self._task is not None:
            self._live.start()
            self._live.update(self._task, completed=done)
            return
        now = time.monotonic()
        if self.made and (done == self._rows or now - self._told >= PLAIN_SECONDS):
            self._told = now
            left = (now - self._began) / self.made * (self._rows - done)
            print(f"{self._name} {done}/{self._rows} · {left / 60:.1f} min left", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live:
            self._live.stop()
