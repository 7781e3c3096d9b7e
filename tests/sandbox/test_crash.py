"""Runs that die at any moment in which something is written, and go on: all end as if they hadn't died."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agents.language_model import Completion, ModelError, Prompt
from sandbox import cli, transcript
from tests.fakes.dying import Died, Life, living
from tests.fakes.full_disk import largest_file
from tests.fakes.letters import Letters
from tests.fakes.scripted import ScriptedModel

SMALL = ("--size", "2", "--rounds", "2", "--raters", "2", "--memories", "5", "--share", "2")
AGENTS, ROUNDS = 4, 2
ALL = {(round, agent) for round in range(1, ROUNDS + 1) for agent in range(AGENTS)}


@dataclass
class Staggered(ScriptedModel):
    """Later agents wait longer, so that interactions become final, and are written, one after the other."""

    fails: Callable[[Prompt], bool] = lambda prompt: False

    async def complete(self, prompt: Prompt) -> Completion:
        for _ in range(20 * prompt.key.agent):
            await asyncio.sleep(0)
        if self.fails(prompt):
            raise ModelError("timeout", "scripted")
        return await super().complete(prompt)

    @property
    def asked(self) -> set[tuple[int, int]]:
        """The interactions, as (round, agent), that it was asked in."""
        return {(prompt.key.round, prompt.key.agent) for prompt in self.prompts if prompt.key.round}


@dataclass
class Simulation:
    """Calls simulate in this process, in `folder`, with the scripted `model` behind every name."""

    folder: Path
    options: tuple[str, ...]
    patch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    batch_invariant: bool = True
    digest: str = "scripted-1"
    failing: Callable[[Prompt], bool] = lambda prompt: False
    model: Staggered = field(default_factory=Staggered)

    def __call__(self, *more: str, life: Life | None = None) -> tuple[int, str]:
        """The exit code of simulate and what was said; raises Died."""
        return self.command("simulate", "--out", "run", *self.options, *more, life=life)

    def command(self, *argv: str, life: Life | None = None) -> tuple[int, str]:
        self.model = Staggered(digest=self.digest, batch_invariant=self.batch_invariant, fails=self.failing)
        self.folder.mkdir(exist_ok=True)
        self.patch.chdir(self.folder)
        self.patch.setattr("agents.engines.load_model", lambda name, batcher: self.model)
        self.patch.setattr("sandbox.simulate.Encoder", lambda folder: Letters())
        self.patch.setattr(sys, "argv", [*argv])
        with living(life or Life()), pytest.raises(SystemExit) as exit:
            {"simulate": cli.simulate, "replay": cli.replay}[argv[0]]()
        assert isinstance(exit.value.code, int)
        return exit.value.code, self.capsys.readouterr().err

    def dies_after(self, moments: int, *more: str) -> None:
        with pytest.raises(Died):
            self(*more, life=Life(moments))

    def goes_on(self) -> None:
        """By --resume, and where nothing is there that could go on, from the start."""
        code, said = self("--resume")
        if code == 2 and "holds no transcript; leave --resume out" in said:
            code, said = self()
        assert code == 0, said

    @property
    def transcript(self) -> bytes:
        return (self.folder / "run" / transcript.FILE).read_bytes()

    @property
    def complete(self) -> set[tuple[int, int]]:
        """The complete interactions of a run that broke off, or only those of complete rounds where others go."""
        written = self.transcript if (self.folder / "run" / transcript.FILE).exists() else b""
        lines = [json.loads(line) for line in written.split(b"\n")[:-1]]
        last = max((line["round"] for line in lines if line["type"] == "round"), default=0)
        found = {(line["round"], line["agent"]) for line in lines if line["type"] == "interaction"}
        return {(round, agent) for round, agent in found if self.batch_invariant or round <= last}

    def contents(self) -> dict[str, bytes | None]:
        """All files and folders of the run but its telemetry; of folders and pages only that they are there."""
        return {
            path.relative_to(self.folder).as_posix(): None
            if path.is_dir() or path.name == "report.html"
            else path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.name != "telemetry.jsonl"
        }


Make = Callable[..., Simulation]


@pytest.fixture
def simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Make:
    """Makes simulations, each in a folder of its own."""

    def make(name: str, *options: str, batch_invariant: bool = True) -> Simulation:
        return Simulation(tmp_path / name, (*SMALL, *options), monkeypatch, capsys, batch_invariant)

    return make


def lives(simulation: Make, *options: str, batch_invariant: bool = True) -> tuple[dict[str, bytes | None], int]:
    """The contents of an uninterrupted run, and how many moments it took."""
    whole = simulation("whole", *options, batch_invariant=batch_invariant)
    whole()  # what is imported meanwhile may write files too
    shutil.rmtree(whole.folder)
    life = Life()
    assert whole(life=life)[0] == 0
    return whole.contents(), life.moments


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "batch_invariant"),
    [(("--revisions", "1"), True), (("--revisions", "2"), True), (("--revisions", "1"), False)],
)
def test_a_run_that_dies_at_any_moment_goes_on_to_the_same_bytes(
    simulation: Make, options: tuple[str, ...], batch_invariant: bool
) -> None:
    whole, moments = lives(simulation, *options, batch_invariant=batch_invariant)
    assert moments > 4 * len(ALL), "not even every line of the transcript"
    for moment in range(moments):
        run = simulation(str(moment), *options, batch_invariant=batch_invariant)
        run.dies_after(moment)
        complete = run.complete
        run.goes_on()
        assert run.contents() == whole, moment
        assert run.model.asked == ALL - complete, moment


@pytest.mark.slow
def test_a_run_that_dies_at_any_moment_of_its_resumption_goes_on_to_the_same_bytes(simulation: Make) -> None:
    """A finished run is extended: its end line goes, and its dataset and page give way to new ones."""
    whole, _ = lives(simulation, "--rounds", "3")
    finished = simulation("finished")
    finished()
    again, life = simulation("again", "--rounds", "3"), Life()
    shutil.copytree(finished.folder, again.folder)
    again("--resume", life=life)
    for moment in range(life.moments):
        run = simulation(f"{moment}", "--rounds", "3")
        shutil.copytree(finished.folder, run.folder)
        run.dies_after(moment, "--resume")
        run.goes_on()
        assert run.contents() == whole, moment


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--revisions", "1"), ("--worlds", "2")])
def test_a_run_that_dies_several_times_goes_on_to_the_same_bytes(simulation: Make, options: tuple[str, ...]) -> None:
    whole, moments = lives(simulation, *options)
    for seed in range(20):
        run, draw = simulation(f"{seed}", *options), random.Random(seed)
        for moment in [draw.randrange(moments) for _ in range(3)]:
            try:
                run("--resume", life=Life(moment))
                run(life=Life(moment))
            except Died:
                pass
        run.goes_on()
        assert run.contents() == whole, seed


@pytest.mark.slow
def test_a_fork_that_dies_at_any_moment_goes_on_as_that_fork_or_has_not_begun(simulation: Make) -> None:
    fork = ("replay", "fork", "run", "--at", "1", "--out", "fork", "--seed", "4")
    parent, whole, life = simulation("parent"), simulation("whole"), Life()
    parent()
    shutil.copytree(parent.folder, whole.folder)
    assert whole.command(*fork, life=life)[0] == 0
    begun = 0
    for moment in range(life.moments):
        run = simulation(f"{moment}")
        shutil.copytree(parent.folder, run.folder)
        with pytest.raises(Died):
            run.command(*fork, life=Life(moment))
        code, said = run.command("simulate", "--resume", "--out", "fork")
        begun += code == 0
        if code == 2 and ("holds no transcript" in said or "remove the folder and fork again" in said):
            shutil.rmtree(run.folder / "fork", ignore_errors=True)
            code, said = run.command(*fork)
        assert code == 0, (moment, said)
        assert run.contents() == whole.contents(), moment
    assert 0 < begun < life.moments


def test_a_run_that_is_to_end_before_its_open_round_drops_that(simulation: Make) -> None:
    short, run = simulation("whole", "--rounds", "1"), simulation("a")
    short()
    run()
    lines = run.transcript.splitlines(keepends=True)
    (run.folder / "run" / transcript.FILE).write_bytes(b"".join(lines[: 1 + AGENTS + 1 + 2]))
    code, said = run("--resume", "--rounds", "1")
    assert code == 0, said
    assert run.transcript == short.transcript and run.model.asked == set()


def test_a_torn_line_of_telemetry_is_dropped(simulation: Make) -> None:
    run = simulation("a")
    run()
    file = run.folder / "run" / "telemetry.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[1][:-9])
    assert run("--resume", "--rounds", "3")[0] == 0
    assert [json.loads(line)["round"] for line in file.read_text().splitlines()] == [1, 3]


# Calls that failed.


def test_what_failed_in_a_round_that_broke_off_is_asked_again_and_what_came_before_is_not(simulation: Make) -> None:
    whole = simulation("whole")
    whole()
    run = simulation("a", "--max-failures", "0.01")
    run.failing = lambda prompt: (prompt.key.round, prompt.key.agent, prompt.key.purpose) == (2, 2, "revise")
    code, said = run()
    assert code == 3 and "round 2 did not end: mend the cause and play it again with --resume" in said
    run.failing = lambda prompt: False
    run.goes_on()
    assert run.model.asked == {(2, 2), (2, 3)}
    assert run.transcript == whole.transcript


def test_what_failed_within_the_quota_stays_failed(simulation: Make) -> None:
    run = simulation("a", "--max-failures", "0.5")
    run.failing = lambda prompt: (prompt.key.round, prompt.key.purpose) == (1, "revise")
    assert run()[0] == 0
    kept = run.transcript
    run.failing = lambda prompt: False
    assert run("--resume", "--rounds", "3")[0] == 0
    assert run.model.asked == {(3, agent) for agent in range(AGENTS)}
    assert run.transcript.startswith(kept[: kept.rindex(b"\n", 0, -1) + 1])


# Refusals.


def test_another_model_under_the_name_is_refused_by_its_digest(simulation: Make) -> None:
    run = simulation("a")
    run()
    before = run.contents()
    run.digest = "scripted-2"
    code, said = run("--resume")
    assert code == 2 and 'models[0].digest was "scripted-1", is "scripted-2"' in said.splitlines()[-1]
    assert run.contents() == before


def test_other_settings_are_refused_by_their_names_and_a_broken_chain_by_its_line(simulation: Make) -> None:
    run = simulation("a")
    run()
    before = run.contents()
    code, said = run("--resume", "--seed", "7", "--temperature", "0.5", "--raters", "1")
    told = said.splitlines()[-1]
    assert code == 2 and "was written with another header: " in told
    for key in ("seed was 0, is 7", "speech.temperature was 0.8, is 0.5", "world.raters was 2, is 1"):
        assert key in told
    assert run.contents() == before
    file = run.folder / "run" / transcript.FILE
    file.write_bytes(file.read_bytes().replace(b'"stance":"good"', b'"stance":"bad_"', 1))
    changed = run.contents()
    code, said = run("--resume")
    line = 1 + file.read_bytes()[: file.read_bytes().index(b'"bad_"')].count(b"\n")
    assert code == 2 and f"{transcript.FILE} line {line} does not verify" in said.splitlines()[-1]
    assert run.contents() == changed


# A full disk.


@pytest.mark.parametrize("share", [0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_run_on_a_full_disk_ends_in_one_line_and_goes_on_when_there_is_room(simulation: Make, share: float) -> None:
    whole = simulation("whole")
    whole()
    run = simulation("a")
    with largest_file(int(share * len(whole.transcript))):
        code, said = run()
    assert code == 2 and "make room" in said.splitlines()[-1] and "Traceback" not in said
    run.goes_on()
    assert run.contents() == whole.contents()
