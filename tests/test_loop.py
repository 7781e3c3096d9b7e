"""The whole loop on the real embedded models, at the smallest size: society, training, aligned society, comparison."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from sandbox import transcript

pytestmark = pytest.mark.slow

SMALL = ["--size", "3", "--rounds", "1", "--max-tokens", "16", "--feedback-tokens", "8", "--recall", "1"]
HELDOUT = [*SMALL, "--questions", "heldout", "--share", "1", "--revisions", "0"]


def run(*argv: str, code: int = 0) -> str:
    """Runs a command in a process of its own and returns what it printed."""
    module = "alignment" if argv[0] == "align" else "sandbox"
    call = f"from {module}.cli import {argv[0]}; {argv[0]}()"
    done = subprocess.run([sys.executable, "-c", call, *argv[1:]], capture_output=True, text=True, timeout=280)
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loop")


@pytest.fixture(scope="module")
def society(folder: Path) -> Path:
    run("simulate", *SMALL, "--share", "3", "--raters", "2", "--out", str(folder / "society"))
    return folder / "society"


@pytest.fixture(scope="module")
def aligned(folder: Path, society: Path) -> Path:
    said = run(
        "align", "stable", str(society), "--out", str(folder / "aligned"),
        "--epochs", "4", "--learning-rate", "5e-5", "--groups-per-step", "1", "--responses", "6", "--test-share", "0.3",
    )  # fmt: skip
    assert "pair accuracy" in said and "perplexity" in said
    return folder / "aligned"


@pytest.fixture(scope="module")
def before(folder: Path) -> Path:
    run("simulate", *HELDOUT, "--out", str(folder / "before"))
    return folder / "before"


def test_the_society_is_complete_and_rated(society: Path) -> None:
    interactions = list(transcript.read(society).interactions())
    assert len(interactions) == 9 and all(i.outcome == "ok" for i in interactions)
    for i in interactions:
        assert set(i.before) == set(i.final_ratings) == {"llm:verdict", "embedding"}
    alignments = [i.before["llm:verdict"].alignment or 0 for i in interactions]
    assert max(alignments) - min(alignments) > 0.5, "ratings do not differ between answers"


def test_the_model_learned_and_loads_plainly(aligned: Path) -> None:
    lineage = json.loads((aligned / "lineage.json").read_text())
    assert lineage["root_model"] == "smollm2-135m-instruct"
    metrics = json.loads((aligned / "metrics.json").read_text())
    assert metrics["before"] != metrics["after"]
    log = map(json.loads, (aligned / "trainer_log.jsonl").read_text().splitlines())
    losses = [row["loss"] for row in log if "loss" in row]  # every step sees all responses of all groups
    assert len(losses) == 4 and losses[-1] < losses[0] - 0.1, losses
    from agents.models import model_folder

    old = AutoModelForCausalLM.from_pretrained(model_folder("smollm2-135m-instruct"))
    new = AutoModelForCausalLM.from_pretrained(aligned)
    still = [name for (name, a), b in zip(old.named_parameters(), new.parameters(), strict=True) if torch.equal(a, b)]
    assert still == []


def test_the_aligned_model_speaks_and_is_judged_by_its_root(folder: Path, aligned: Path, before: Path) -> None:
    run("simulate", *HELDOUT, "--model", str(aligned), "--out", str(folder / "after"))
    header = transcript.read(folder / "after").header
    assert [model["name"] for model in header["models"]] == ["aligned"]
    assert header["observers"][0]["model"] == "smollm2-135m-instruct"
    assert str(folder) not in (folder / "after/transcript.jsonl").read_text(), "a path stands in the transcript"
    compared = run("replay", "compare", str(before), str(folder / "after"))
    assert "alignment" in compared and "engagement" in compared and "9" in compared


def test_equal_seeds_give_equal_transcripts(folder: Path, before: Path) -> None:
    run("simulate", *HELDOUT, "--out", str(folder / "again"))
    assert (folder / "again/transcript.jsonl").read_bytes() == (before / "transcript.jsonl").read_bytes()


def test_ctrl_c_leaves_a_run_that_goes_on_to_the_same_end(folder: Path) -> None:
    two_rounds = [*HELDOUT, "--size", "2", "--rounds", "2", "--max-tokens", "40"]
    run("simulate", *two_rounds, "--out", str(folder / "whole"))
    cut = folder / "cut"
    call = [sys.executable, "-c", "from sandbox.cli import simulate; simulate()", *two_rounds, "--out", str(cut)]
    process = subprocess.Popen(call, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while not ((cut / "transcript.jsonl").exists() and '"type":"round"' in (cut / "transcript.jsonl").read_text()):
        assert time.monotonic() < deadline and process.poll() is None, "the first round never came"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.splitlines()[-1] == "simulate: interrupted"
    assert len(transcript.read(cut).rounds()) == 1
    run("simulate", *two_rounds, "--out", str(cut), "--resume")
    assert (cut / "transcript.jsonl").read_bytes() == (folder / "whole/transcript.jsonl").read_bytes()
