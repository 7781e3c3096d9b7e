"""Branches a run off another: its agents go on with what they remember, under other settings."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from agents.errors import BadInput
from sandbox import simulate, transcript
from sandbox.cast import judge_of
from sandbox.config import ReplayForkOptions, SimulateOptions
from sandbox.folders import refuse_used
from sandbox.plan import plan
from sandbox.replay import require_replayable
from sandbox.settings import FILE
from sandbox.transcript import Transcript

# What can't be another than the parent's, and why.
KEPT = {
    **dict.fromkeys(
        ("size", "stance", "stances", "prior", "memories", "memory_limit", "forget", "encoder"),
        "the agents have had it since their birth",
    ),
    **dict.fromkeys(("worlds", "ray"), "a branch is one world, played here"),
    "resume": "a branch that broke off goes on by `simulate --resume --out`",
}


def fork(named: ReplayForkOptions, before: SimulateOptions) -> Path:
    """Play the new run that `named` describes, which goes on from one that was played with `before`.

    Returns its folder. Raises BadInput and TooManyFailures.
    """
    run, at, options = named.run, named.at, simulated(named)
    parent = transcript.read(run)
    require_replayable(parent)
    if (options.out / FILE).exists():
        raise BadInput(f"--out {options.out}: holds a run; `simulate --resume` goes on with it, or name another folder")
    refuse_used(options.out)
    rounds = len(parent.rounds())
    if at > rounds:
        raise BadInput(f"--at {at}: {run} has {rounds} complete rounds; name one of them, or 0")
    if options.round_limit <= at:
        raise BadInput(f"--rounds {options.round_limit}: the branch begins with {at} rounds; ask for more")
    require_same_birth(options, before)
    if options.observer_model is None:  # else another speaker would bring another judge along
        options = options.model_copy(update={"observer_model": judge_of(before)})
    branch = {"run": parent.name, "round": at, "chain": chain_at(parent, at), "header": parent.header}
    (folder,) = simulate.played(options, [plan(options, parent=branch, before=before, history=parent.path)])
    return folder


def require_same_birth(options: SimulateOptions, before: SimulateOptions) -> None:
    """Raises BadInput where an option would give the agents other memories than those that they have."""
    for name, why in KEPT.items():
        if getattr(options, name) != getattr(before, name):
            raise BadInput(f"--{name.replace('_', '-')}: {why}; leave it out, or start a new run with simulate")
    for name in ("recall", "recall_threshold"):
        if options.forget == "least-recalled" and getattr(options, name) != getattr(before, name):
            raise BadInput(f"--{name.replace('_', '-')}: decided what the agents forgot; leave it out")


def simulated(named: ReplayForkOptions) -> SimulateOptions:
    """The options of the new run by itself."""
    return SimulateOptions.model_construct(**{name: getattr(named, name) for name in SimulateOptions.model_fields})


def chain_at(run: Transcript, round: int) -> str:
    """The chain value of the line that ends a round; of the header for 0. Raises BadInput before it, a line is bad."""
    return deque(transcript.first_rounds(run.path, round), maxlen=1).pop().chain
