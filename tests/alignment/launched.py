"""The command `align` as `accelerate launch` starts it in tests.

Questions are all different to it. With $PRETEND_GPUS its processes on the CPU count as GPUs: accelerate divides a model
by FSDP on such only, though PyTorch does it through gloo as well. With $KILLED the first process is killed for real:
"step 5" is in the middle of the step after the fifth, "saving 4" while the checkpoint after the fourth is written.
"""

from __future__ import annotations

import atexit
import os
import signal
from typing import Any

from accelerate.state import AcceleratorState, DistributedType, PartialState
from transformers import Trainer, TrainerState

from alignment import held_out
from alignment.cli import align
from tests.alignment.conftest import OneHot


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


if __name__ == "__main__":
    held_out.Encoder = OneHot  # type: ignore[assignment,misc]
    if "PRETEND_GPUS" in os.environ:
        pretend()
        atexit.register(lambda: print("trained as", AcceleratorState().distributed_type))
    if "KILLED" in os.environ:
        doomed(os.environ["KILLED"])
    align()
