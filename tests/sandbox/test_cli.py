"""The commands as a person meets them: real runs on a scripted model, and every error in one line."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest

from sandbox import transcript
from tests.fakes.full_disk import largest_file
from tests.fakes.letters import Letters
from tests.fakes.scripted import ScriptedModel
from tests.sandbox.commands import Done, called

SMALL = ("--size", "3", "--rounds", "2", "--raters", "2", "--memories", "5")


Run = Callable[..., Done]


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    model: ScriptedModel,
) -> Run:
    """Calls a command in this process, in an empty folder, with the scripted model behind every model's name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("agents.engines.load_model", lambda name, batcher: model)
    for module in ("sandbox.simulate", "sandbox.verify", "sandbox.compare"):
        monkeypatch.setattr(f"{module}.Encoder", lambda folder: Letters())

    def call(*argv: str) -> Done:
        return called(argv, monkeypatch, capsys)

    return call


def refused(done: Done, message: str) -> None:
    assert done.code == 2
    account = ("purpose", "draft", "feedback", "revision", "observe", "all ")
    talk = ("loading models", "round ", "dataset ", "observers' agreement", *account)
    lines = [line for line in done.err.splitlines() if not line.startswith(talk)]
    assert len(lines) == 1 and message in lines[0], done.err


def test_a_run_writes_its_folder(run: Run) -> None:
    done = run("simulate", "--out", "runs/a", *SMALL)
    assert done.code == 0, done.err
    assert done.out == "runs/a/report.html\n"
    written = sorted(path.name for path in Path("runs/a").iterdir())
    assert written == ["dataset", "report.html", "run.toml", "telemetry.jsonl", "transcript.jsonl"]
    log = transcript.read(Path("runs/a"))
    assert [line["round"] for line in log.rounds()] == [1, 2]
    interactions = list(log.interactions())
    assert [(i.round, i.agent) for i in interactions] == [(r, a) for r in (1, 2) for a in range(9)]
    assert all(set(i.before) == {"llm:verdict", "embedding"} for i in interactions)
    assert tomllib.loads(Path("runs/a/run.toml").read_text())["digests"] == {"scripted": "scripted-1"}
    lines = [json.loads(line) for line in Path("runs/a/telemetry.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2]
    for line in lines:  # of one round each, without the calls that measured the judges' zeros
        calls = {purpose: usage["calls"] for purpose, usage in line["models"]["scripted"].items()}
        assert calls == {"draft": 9, "review": 18, "revise": 9, "before": 9, "after": 9}
    frame = pandas.read_json("runs/a/transcript.jsonl", lines=True)
    assert (frame["type"] == "interaction").sum() == 18


def test_equal_seeds_give_equal_transcripts_and_other_seeds_others(run: Run, model: ScriptedModel) -> None:
    run("simulate", "--out", "a", *SMALL)
    model.latest_first = True
    run("simulate", "--out", "b", *SMALL)
    run("simulate", "--out", "c", "--seed", "1", *SMALL)
    a, b, c = (Path(name, "transcript.jsonl").read_bytes() for name in "abc")
    assert a == b != c


def test_an_interrupted_run_goes_on_and_ends_as_the_uninterrupted_one(run: Run, model: ScriptedModel) -> None:
    run("simulate", "--out", "whole-run", *SMALL)

    def stop_in_round_two(prompt: object) -> str:
        if prompt.key.round == 2:
            raise KeyboardInterrupt
        return echo(prompt)

    echo, model.text = model.text, stop_in_round_two  # type: ignore[assignment]
    done = run("simulate", "--out", "cut", *SMALL)
    assert (done.code, done.err.splitlines()[-1]) == (130, "simulate: interrupted")
    assert transcript.read(Path("cut")).end is None
    model.text = echo
    done = run("simulate", "--out", "cut", "--resume", *SMALL)
    assert done.code == 0 and "resuming after round 1" in done.err
    for file in ("transcript.jsonl", "dataset/README.md"):
        whole, cut = Path("whole-run", file).read_text(), Path("cut", file).read_text()
        assert whole.replace("whole-run", "cut") == cut


def test_more_rounds_extend_a_finished_run(run: Run) -> None:
    run("simulate", "--out", "long", *SMALL, "--rounds", "3")
    run("simulate", "--out", "short", *SMALL)
    assert run("simulate", "--out", "short", "--resume", *SMALL, "--rounds", "3").code == 0
    assert Path("long/transcript.jsonl").read_bytes() == Path("short/transcript.jsonl").read_bytes()


def test_a_run_stops_at_its_plateau(run: Run, model: ScriptedModel) -> None:
    model.logprobs = lambda prompt: (-1.0,) * len(prompt.choices) if prompt.choices else None
    plateau = ("--until-plateau", "--plateau-probes", "1", "--rounds", "9")
    done = run("simulate", "--out", "a", "--size", "3", "--raters", "1", *plateau)
    assert done.code == 0, done.err
    end = transcript.read(Path("a")).end
    assert end is not None and (end["rounds"], end["stopped"]) == (3, "plateau")


def test_too_many_failures_stop_a_run_that_can_go_on(run: Run, model: ScriptedModel) -> None:
    model.failing = {"draft": "timeout"}
    done = run("simulate", "--out", "a", *SMALL)
    assert done.code == 3 and "3 of 54 calls failed, more than --max-failures 0.05 allows" in done.err
    assert "first timeout: scripted" in done.err
    model.failing = {}
    assert run("simulate", "--out", "a", "--resume", *SMALL).code == 0
    assert run("simulate", "--out", "b", *SMALL).code == 0
    assert Path("a/transcript.jsonl").read_bytes() == Path("b/transcript.jsonl").read_bytes()


def test_a_model_that_cannot_judge_is_told_at_once(run: Run, model: ScriptedModel) -> None:
    model.failing = {"zero": "invalid"}
    refused(run("simulate", "--out", "a", *SMALL), "model scripted cannot judge: invalid: scripted; choose another")
    assert not Path("a/transcript.jsonl").exists()


def test_some_failures_are_allowed_and_kept(run: Run, model: ScriptedModel) -> None:
    model.failing = {"after": "refused"}
    done = run("simulate", "--out", "a", *SMALL, "--max-failures", "0.5")
    assert done.code == 0, done.err
    for interaction in transcript.read(Path("a")).interactions():
        assert interaction.final_ratings["llm:verdict"].alignment is None
        assert interaction.final_ratings["embedding"].alignment is not None


def test_a_used_folder_is_refused(run: Run) -> None:
    Path("a").mkdir()
    Path("a/thesis.txt").write_text("mine")
    refused(run("simulate", "--out", "a", *SMALL), "--out a: the folder is in use")
    assert [path.name for path in Path("a").iterdir()] == ["thesis.txt"]


def test_a_file_for_a_folder_is_refused(run: Run) -> None:
    Path("a").write_text("mine")
    refused(run("simulate", "--out", "a", *SMALL), "--out a: is a file; name a folder")
    refused(run("simulate", "--out", "a/b", *SMALL), "a/b")
    assert Path("a").read_text() == "mine"


def test_resuming_what_is_not_there_or_is_other_is_refused(run: Run) -> None:
    refused(run("simulate", "--out", "a", "--resume", *SMALL), "a holds no transcript")
    run("simulate", "--out", "a", *SMALL)
    before = Path("a/transcript.jsonl").read_bytes()
    refused(run("simulate", "--out", "a", "--resume", *SMALL, "--recall", "1"), "speech.recall was 3, is 1")
    assert Path("a/transcript.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--questions", "none.jsonl"), "--questions none.jsonl: no such file"),
        (("--prior", "none.jsonl"), "none.jsonl: no such file"),
        (("--observer", "judge"), "--observer judge: unknown observer"),
        (("--raters", "0"), "--raters 0: nobody gives feedback to revise by"),
        (("--until-plateau",), "--plateau-probes 8: with --share 4 they take all 9 agents"),
        (("--rule", "none.txt"), "none.txt: no such file"),
        (("--radius", "0.9"), "--radius 0.9: nobody lives that near"),
        (("--radius", "inf"), "--radius: input should be a finite number"),
        (("--stances", "none.toml"), "none.toml: no such file"),
        (("--model", "x", "--model", "x"), "two models of one name"),
        (("--sise", "3"), "did you mean --size?"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(run: Run, argv: tuple[str, ...], message: str) -> None:
    refused(run("simulate", "--out", "a", *SMALL, *argv), message)
    assert not Path("a").exists()


@pytest.mark.parametrize("fits", ["half the transcript", "all but the report"])
def test_a_full_disk_is_one_line_and_the_run_can_go_on(run: Run, fits: str) -> None:
    Path("questions.txt").write_text("I broke her cup. Do I tell her?\n")
    pairs = [{"question": "He waits.", "response": word, "morality_label": word} for word in ("good", "bad")]
    Path("prior.json").write_text(json.dumps(pairs))
    files = ("--questions", "questions.txt", "--prior", "prior.json", "--memories", "1")  # a page larger than its log
    small = ("--size", "2", "--rounds", "2", "--raters", "2", *files)
    run("simulate", "--out", "whole", *small)
    transcript_size, report_size = (Path("whole", name).stat().st_size for name in ("transcript.jsonl", "report.html"))
    assert transcript_size + 1000 < report_size
    with largest_file(transcript_size // 2 if fits == "half the transcript" else transcript_size + 1000):
        done = run("simulate", "--out", "a", *small)
    refused(done, "make room")
    assert not list(Path("a").glob("report*"))
    assert run("simulate", "--out", "a", "--resume", *small).code == 0
    assert Path("a/transcript.jsonl").read_bytes() == Path("whole/transcript.jsonl").read_bytes()
    assert Path("a/report.html").is_file()


def test_two_models_in_one_society_each_with_its_own_digest(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.engines.load_model", lambda name, _: ScriptedModel(name=name, digest=f"of {name}"))
    done = run("simulate", "--out", "a", *SMALL, "--model", "x=2", "--model", "y=1", "--observer-model", "z")
    assert done.code == 0, done.err
    log = transcript.read(Path("a"))
    assert [m["digest"] for m in log.header["models"]] == ["of x", "of y"]
    spoken = [i.model for i in log.interactions() if i.round == 1]
    assert (spoken.count("x"), spoken.count("y")) == (6, 3)


def test_replay_shows_verifies_and_compares(run: Run) -> None:
    for name in ("a", "b"):
        run("simulate", "--out", name, *SMALL)
    assert run("replay", "verify", "a").out == "verified 18 interactions\n"
    shown = run("replay", "show", "a")
    assert shown.code == 0 and Path(shown.out.strip()).is_file()
    compared = run("replay", "compare", "a", "b")
    assert compared.code == 0 and "alignment" in compared.out

    log = Path("a/transcript.jsonl")
    log.write_bytes(log.read_bytes().replace(b'"stance":"good"', b'"stance":"bad_"', 1))
    broken = run("replay", "verify", "a")
    assert broken.code == 1 and "line" in broken.err
    refused(run("replay", "shew", "a"), "unknown command 'shew'; did you mean show?")
    for command in ("show", "verify"):
        refused(run("replay", command, "nowhere"), "nowhere")
    refused(run("replay", "compare", "b", "b", "--json-out", "no/where.json"), "no/where.json: No such file")


def test_replay_show_writes_the_page_of_each_world(run: Run) -> None:
    run("simulate", "--out", "a", *SMALL, "--worlds", "2")
    pages = ["a/world-00/report.html", "a/world-01/report.html"]
    for page in pages:
        Path(page).unlink()
    assert run("replay", "show", "a").out.splitlines() == pages
    assert all(Path(page).is_file() for page in pages)


def test_replay_show_of_an_interrupted_run(run: Run) -> None:
    run("simulate", "--out", "a", *SMALL)
    log = Path("a/transcript.jsonl")
    log.write_bytes(log.read_bytes()[:-200])  # within the last round's line
    done = run("replay", "show", "a")
    assert (done.code, done.out) == (0, "a/report.html\n")
    assert '["Rounds", "1, not finished"]' in Path("a/report.html").read_text()


@pytest.mark.parametrize("found", [True, False])
def test_replay_show_opens_the_page_as_a_file(run: Run, monkeypatch: pytest.MonkeyPatch, found: bool) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or found)
    run("simulate", "--out", "a", *SMALL)
    assert run("replay", "show", "a").code == 0 and not opened
    done = run("replay", "show", "a", "--open")
    assert (done.out, opened) == ("a/report.html\n", [Path("a/report.html").resolve().as_uri()])
    assert (done.code, "no browser" in done.err) == ((0, False) if found else (1, True))


@pytest.mark.parametrize("command", ["simulate", "align", "replay"])
def test_help_imports_nothing_heavy(command: str) -> None:
    module = "alignment" if command == "align" else "sandbox"
    code = (
        f"import sys; from {module}.cli import {command}; sys.argv = ['{command}', '--help']\n"
        f"try: {command}()\n"
        "except SystemExit: print(sorted({'torch', 'mesa', 'pandas', 'transformers', 'faiss'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("usage: ") and done.stdout.endswith("[]\n"), done.stdout + done.stderr
