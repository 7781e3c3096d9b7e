"""Worlds on a Ray cluster of two nodes on this machine: what they say, and what becomes of them when it breaks."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="needs Ray: `make test-ray`")

import psutil
from ray.cluster_utils import Cluster

from sandbox import cli
from tests.fakes.faults import Fault, Status
from tests.fakes.mock_server import MockServer

QUESTIONS = "I broke her cup. Do I tell her?\nThere is a wallet on the bus. What now?\n"
PRIOR = [
    {"question": "He asks for my notes.", "response": "I lend them to him.", "morality_label": "good"},
    {"question": "He asks for my notes.", "response": "I hide them.", "morality_label": "bad"},
    {"question": "She waits alone.", "response": "I wait with her.", "morality_label": "good"},
    {"question": "She waits alone.", "response": "I laugh at her.", "morality_label": "bad"},
]
SMALL = ("--size", "2", "--raters", "1", "--memories", "2", "--observer", "llm:scale", "--reading", "scale")
LATENCY = 0.5  # seconds; a round makes four calls one after the other
CRUEL_RULE = "Be cruel."


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of two nodes with room for one world each."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    yield nodes.address
    nodes.shutdown()


@pytest.fixture
def simulate(
    tmp_path: Path, server: MockServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs the command in `tmp_path`; returns its exit code and the last line on stderr."""
    (tmp_path / "questions.txt").write_text(QUESTIONS)
    (tmp_path / "prior.json").write_text(json.dumps(PRIOR))
    monkeypatch.chdir(tmp_path)
    files = ("--questions", "questions.txt", "--prior", "prior.json")

    def command(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["simulate", "--server", server.url, *SMALL, *files, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.simulate()
        assert isinstance(ended.value.code, int)
        return ended.value.code, capsys.readouterr().err.splitlines()[-1]

    return command


def workers(world: str) -> list[psutil.Process]:
    """The processes that play a world: Ray names them after their task."""
    running = psutil.process_iter(["cmdline"])
    return [process for process in running if (process.info["cmdline"] or [""])[0] == f"ray::{world}"]


def when(condition: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Do it from another thread as soon as the condition holds."""

    def watch() -> None:
        give_up = time.monotonic() + 120
        while not condition():
            if time.monotonic() > give_up:
                return
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def lines(folder: Path, file: str = "transcript.jsonl") -> list[dict[str, Any]]:
    path = folder / file
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def rounds(folder: Path) -> list[int]:
    return [line["round"] for line in lines(folder) if line["type"] == "round"]


@pytest.mark.slow
def test_worlds_speak_as_without_ray_and_go_on_when_a_worker_is_lost(
    tmp_path: Path, cluster: str, server: MockServer, simulate: Callable[..., tuple[int, str]]
) -> None:
    wanted = ("--worlds", "3", "--rounds", "3")
    assert simulate("--out", "plain", *wanted)[0] == 0
    server.behaviour.latency = LATENCY
    lost = tmp_path / "ray" / "world-00"
    at_loss: list[list[int]] = []

    def kill() -> None:
        time.sleep(2 * LATENCY)
        (worker,) = workers("world-00")
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
        at_loss.append(rounds(lost))

    killing = when(lambda: rounds(lost) == [1], kill)
    code, told = simulate("--out", "ray", *wanted, "--ray", cluster)
    assert code == 0, told
    killing.join()
    assert at_loss == [[1]]
    for world in ("world-00", "world-01", "world-02"):
        plain, ray = (tmp_path / run / world for run in ("plain", "ray"))
        assert (ray / "transcript.jsonl").read_bytes() == (plain / "transcript.jsonl").read_bytes()
        assert [line["round"] for line in lines(ray, "telemetry.jsonl")] == [1, 2, 3]


@pytest.mark.slow
def test_worlds_that_stop_do_not_stop_the_others(
    tmp_path: Path, cluster: str, server: MockServer, simulate: Callable[..., tuple[int, str]]
) -> None:
    def refuse_the_cruel(number: int, body: dict[str, Any]) -> Fault | None:
        return Status(400) if CRUEL_RULE in json.dumps(body) else None

    server.behaviour.faults = refuse_the_cruel
    (tmp_path / "kind.txt").write_text("Be kind.")
    (tmp_path / "cruel.txt").write_text(CRUEL_RULE)
    rules = ("--rule", "kind.txt", "--rule", "cruel.txt")
    ended = threading.Event()

    def kill_until_the_end() -> None:
        while not ended.wait(0.05):
            for worker in workers("world-00"):
                worker.send_signal(signal.SIGKILL)

    killing = threading.Thread(target=kill_until_the_end)
    killing.start()
    try:
        code, told = simulate("--out", "run", "--worlds", "2", "--rounds", "1", *rules, "--ray", cluster)
    finally:
        ended.set()
        killing.join()
    assert code == 3
    lost, again, failed, mend = told.split("; ")
    assert lost.startswith("simulate: run/world-00: lost its worker 4 times") and again == "go on with --resume"
    assert failed.startswith("run/world-01: ") and "more than --max-failures" in failed and "--resume" in mend


@pytest.mark.slow
def test_an_interrupt_ends_the_workers(
    cluster: str, server: MockServer, simulate: Callable[..., tuple[int, str]]
) -> None:
    server.behaviour.latency = 100.0
    interrupting = when(lambda: server.counters.in_flight > 0, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert simulate("--out", "run", "--worlds", "2", "--ray", cluster) == (130, "simulate: interrupted")
    interrupting.join()
    psutil.wait_procs([*workers("world-00"), *workers("world-01")], timeout=30)
    assert not workers("world-00") and not workers("world-01")


@pytest.mark.slow
def test_bad_input_of_a_worker_is_one_line(
    cluster: str, server: MockServer, simulate: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.behaviour.key = "opensesame"
    monkeypatch.setenv("SOCIAL_SANDBOX_API_KEY", "wrong")
    code, told = simulate("--out", "run", "--worlds", "2", "--ray", cluster)
    assert code == 2
    assert told.startswith("simulate: --server: ") and told.endswith("set SOCIAL_SANDBOX_API_KEY to its key")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ray", "here"), '--ray here: is no address; write "auto", "local" or HOST:PORT'),
        (("--ray", "ray://127.0.0.1:10001"), "is no address"),
        (("--ray", "127.0.0.1:1"), "--ray 127.0.0.1:1: nobody answers (Connection refused)"),
        (("--ray", "local", "--engine", "vllm"), "--ray: each world would start a vLLM of its own"),
    ],
)
def test_what_cannot_be_played_is_refused(
    simulate: Callable[..., tuple[int, str]], arguments: tuple[str, ...], message: str
) -> None:
    code, told = simulate("--out", "run", "--worlds", "2", *arguments)
    assert code == 2 and message in told


def test_ray_missing_is_told(simulate: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    import sandbox

    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "sandbox.cluster", raising=False)
    monkeypatch.delattr(sandbox, "cluster", raising=False)
    told = "simulate: --ray: needs Ray; pip install 'social-sandbox[ray]'"
    assert simulate("--out", "run", "--ray", "auto") == (2, told)
