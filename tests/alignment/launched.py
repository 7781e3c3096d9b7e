"""The command `align` as `accelerate launch` starts it in tests.

Questions are all different to it; to `align eva` and `align meta-judge` they are as far as their words are. With
$PRETEND_GPUS its processes on the CPU count as GPUs: accelerate divides a model by FSDP on such only, though PyTorch
does it through gloo as well. With $KILLED the first process is killed for real: "step 5" is in the middle of the step
after the fifth, "saving 4" while the checkpoint after the fourth is written; of those two, "iteration-1/responses 5" is
in the middle of the line after the fifth, "before iteration-2/rewards" when that phase begins.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState, DistributedType, PartialState
from transformers import Trainer, TrainerState

from alignment import held_out, phases
from alignment.cli import align
from tests.alignment.conftest import OneHot
from tests.fakes.words import Words


def pretend() -> None:
    """Have accelerate take several processes on the CPU for as many GPUs."""
    found = PartialState.__init__

    def init(self: PartialState, *args: Any, **named: Any) -> None:
        found(self, *args, **named)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = init


def doomed(moment: str) -> None:
    """Have the first process killed at that moment."""
    kind, step = moment.split()
    owner, name = (TrainerState, "save_to_json") if kind == "saving" else (Trainer, "training_step")
    found = getattr(owner, name)

    def last(self: Any, *args: Any, **named: Any) -> Any:
        state = self if kind == "saving" else self.state
        if state.global_step == int(step) and PartialState().is_main_process:
            os.kill(os.getpid(), signal.SIGKILL)
        return found(self, *args, **named)

    setattr(owner, name, last)


def doomed_phase(moment: str) -> None:
    """Have this process killed at that moment, in a phase or before it."""
    kind, which = moment.split()
    write_whole, append_rows = phases.write_whole, phases.append_rows

    def beginning(path: Path, text: Iterable[str]) -> None:
        if kind == "before" and path.with_suffix("").match(which):
            os.kill(os.getpid(), signal.SIGKILL)
        write_whole(path, text)

    def appending(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            if path.with_suffix("").match(kind) and len(phases.whole_rows(path)) == int(which):
                line = phases.json_line(row)
                with path.open("a", encoding="utf-8") as file:
                    file.write(line[: len(line) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            append_rows(path, [row])

    phases.write_whole, phases.append_rows = beginning, appending


def with_words() -> None:
    """Have trainings by iterations count words, and ask for few rows at once."""
    from alignment import judge
    from alignment.eva import setup as eva
    from alignment.meta_judge import setup as meta_judge

    eva.Encoder = meta_judge.Encoder = judge.Encoder = Words  # type: ignore[assignment,misc]
    phases.PORTION = 3


if __name__ == "__main__":
    held_out.Encoder = OneHot  # type: ignore[assignment,misc]
    if sys.argv[1:2] in (["eva"], ["meta-judge"]):
        with_words()
    if "PRETEND_GPUS" in os.environ:
        pretend()
        atexit.register(lambda: print("trained as", AcceleratorState().distributed_type))
    if "KILLED" in os.environ:
        moment = os.environ["KILLED"]
        (doomed_phase if "/" in moment else doomed)(moment)
    align()
