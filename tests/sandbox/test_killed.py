"""Runs in processes of their own, killed for real, and a run of the local engine cut off in mid-round."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox import cli, transcript
from tests.fakes.faults import Fault, never
from tests.fakes.mock_server import MockServer

if TYPE_CHECKING:
    from agents.local import LocalModel
    from memory.encoder import Encoder

ROOT = Path(__file__).parents[2]
SMALL = ("--out", "run", "--size", "3", "--rounds", "2", "--raters", "2", "--memories", "5")
SIMULATE = (
    "import sandbox.simulate\n"
    "from tests.fakes.letters import Letters\n"
    "from sandbox.cli import simulate\n"
    "sandbox.simulate.Encoder = lambda folder: Letters()\n"
    "simulate()"
)
KILLS = 4


class Killing:
    """A plan without faults that kills `process` soon after the chat request number `at`, counted anew by `arm`."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.arm(0, 0.0)

    def arm(self, at: int, seconds: float) -> None:
        self.at, self.seconds, self.seen = at, seconds, 0

    def __call__(self, number: int, body: dict[str, Any]) -> Fault | None:
        self.seen += 1
        if self.seen == self.at and self.process is not None:
            threading.Timer(self.seconds, self.process.kill).start()
        return None


def started(server: MockServer, folder: Path, *options: str) -> subprocess.Popen[str]:
    """`simulate` in `folder`, going on with what is there."""
    folder.mkdir(exist_ok=True)
    resume = ["--resume"] if any(folder.rglob("run.toml*")) else []
    command = [sys.executable, "-c", SIMULATE, *SMALL, "--server", server.url, *options, *resume]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str], *codes: int) -> int:
    """The exit code of a process, which is one of `codes`."""
    _, said = process.communicate(timeout=200)
    assert process.returncode in codes, said
    return process.returncode


def kept(folder: Path) -> dict[str, bytes]:
    """The transcripts and datasets of a run; what else there is may differ."""
    chosen = [*folder.rglob(transcript.FILE), *folder.glob("run/dataset/**/*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in chosen if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "options"), [(0, ()), (1, ("--revisions", "2")), (2, ("--worlds", "2"))])
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(
    tmp_path: Path, server: MockServer, seed: int, options: tuple[str, ...]
) -> None:
    ended(started(server, tmp_path / "whole", *options), 0)
    requests = server.counters.requests
    server.behaviour.latency = 0.02
    plan = server.behaviour.faults = Killing()
    draw, ends = random.Random(seed), []
    for _ in range(KILLS):
        plan.arm(draw.randrange(requests // 4, requests * 2 // 3), draw.uniform(0, 0.05))
        plan.process = started(server, tmp_path / "cut", *options)
        ends.append(ended(plan.process, 0, -signal.SIGKILL))
    server.behaviour.faults = never
    ended(started(server, tmp_path / "cut", *options), 0)
    assert -signal.SIGKILL in ends
    assert kept(tmp_path / "cut") == kept(tmp_path / "whole")
    left = {path.name for path in (tmp_path / "cut" / "run").iterdir()}
    assert left == {path.name for path in (tmp_path / "whole" / "run").iterdir()}


@pytest.mark.slow
def test_the_local_engine_goes_back_to_the_last_complete_round(
    tmp_path: Path,
    local_model: LocalModel,
    encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its log-probabilities differ a little by what else is in the batch, so half a round can't be kept."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("agents.engines.load_model", lambda name, batcher: local_model)
    monkeypatch.setattr("sandbox.simulate.Encoder", lambda folder: encoder)

    def simulate(*more: str) -> str:
        small = ("--size", "2", "--rounds", "2", "--raters", "1", "--memories", "5")
        short = ("--max-tokens", "8", "--feedback-tokens", "8", "--reading", "scale", "--observer", "embedding")
        monkeypatch.setattr(sys, "argv", ["simulate", "--out", "run", *small, *short, *more])
        with pytest.raises(SystemExit) as exit:
            cli.simulate()
        said = capsys.readouterr().err
        assert exit.value.code == 0, said
        return said

    simulate()
    whole = kept(tmp_path)
    file = Path("run") / transcript.FILE
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + 2 * (4 + 1) + 1
    file.write_bytes(b"".join(lines[:8]) + lines[8][:100])  # two of the second round's interactions, and a torn one
    assert "resuming after round 1\n" in simulate("--resume")
    assert kept(tmp_path) == whole
