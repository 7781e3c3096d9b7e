"""The real vLLM, started once for all tests here on the embedded model, by the command in VLLM_COMMAND."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from agents import prompts
from agents.language_model import Completion, Key, Prompt
from agents.models import EMBEDDED_MODEL, model_folder
from agents.observers import DIMENSIONS
from agents.rating import SCALE_LABELS, words_of
from agents.server import KEY_VARIABLE, Address, Patience, connected
from agents.vllm import BFLOAT16, Started, gpu_at_hand, processor_flags, started
from sandbox import transcript

if TYPE_CHECKING:
    from agents.local import LocalModel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif("VLLM_COMMAND" not in os.environ, reason="set VLLM_COMMAND, as `make test-vllm` does"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Started]:
    """The server, which must leave nothing behind."""
    context = started(
        str(model_folder(EMBEDDED_MODEL)),
        EMBEDDED_MODEL,
        command=shlex.split(os.environ["VLLM_COMMAND"]),
        calls_at_once=32,
        say=print,
    )
    before = descendants(os.getpid())
    with asyncio.Runner() as runner:
        running = runner.run(context.__aenter__())
        processes = descendants(os.getpid()) - before
        assert len(processes) >= 3  # the guard, the server, its engine
        try:
            yield running
        finally:
            runner.run(context.__aexit__(None, None, None))
    assert not processes & set(parents())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(running.url).port or 0), timeout=5)


def parents() -> dict[int, int]:
    """From each process that is alive to its parent."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text(encoding="utf-8").rsplit(")", 1)[1].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            found[int(stat.parent.name)] = int(parent)
    return found


def descendants(pid: int) -> set[int]:
    parent_of = parents()
    found = {pid}
    while more := {child for child, parent in parent_of.items() if parent in found} - found:
        found |= more
    return found - {pid}


def chat(running: Started, text: str, key: str | None = None, **fields: Any) -> dict[str, Any]:
    """A parsed reply of 16 tokens at most."""
    body = {"model": EMBEDDED_MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 16, **fields}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key or running.key}"}
    request = urllib.request.Request(f"{running.url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=600) as response:
        reply: dict[str, Any] = json.load(response)
    return reply


def words(reply: dict[str, Any]) -> str:
    text: str = reply["choices"][0]["message"]["content"]
    return text


def test_a_seed_decides_the_words(server: Started) -> None:
    first, again, other = (words(chat(server, "Tell me a story.", seed=seed, temperature=1.0)) for seed in (7, 7, 8))
    assert first == again != other


def test_only_who_has_the_key_is_answered(server: Started) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        chat(server, "Hello.", key="another")


def test_a_shared_start_is_read_from_the_cache_and_told(server: Started) -> None:
    start = "The quick brown fox jumps over the lazy dog. " * 20
    chat(server, f"{start} Who jumps?")
    cached = chat(server, f"{start} Who is lazy?")["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached > 150


def test_long_seeded_prompts_together_do_not_end_the_engine(server: Started) -> None:
    """They exceed what one step reads, 8192 tokens; on a CPU a chunk of a seeded prompt would kill the engine."""
    texts = [f"{n} {'word ' * 1100}" for n in range(9)]
    with ThreadPoolExecutor(len(texts)) as pool:
        replies = list(pool.map(lambda text: chat(server, text, seed=1, temperature=1.0, max_tokens=2), texts))
    assert sum(reply["usage"]["prompt_tokens"] for reply in replies) > 9000
    assert words(chat(server, "Are you still there?"))


SMALL = ("--size", "3", "--raters", "2", "--memories", "10", "--max-tokens", "24", "--feedback-tokens", "12")


def simulate(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "from sandbox.cli import simulate; simulate()"
    command = [sys.executable, "-c", code, *SMALL, *argv]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=900)


def test_a_society_speaks_and_judges_by_it(server: Started, tmp_path: Path) -> None:
    """Both readings, from raw probabilities: by id for the verdict, of the seven labels for the scale."""
    out = tmp_path / "run"
    observers = ("--observer", "llm:verdict", "--observer", "llm:scale")
    done = simulate(
        "--server", server.url, "--rounds", "2", *observers, "--out", str(out), **{KEY_VARIABLE: server.key}
    )
    assert done.returncode == 0, done.stderr
    assert f"{EMBEDDED_MODEL}: {server.url} · words by id · forced starts · seeds\n" in done.stderr
    interactions = list(transcript.read(out).interactions())
    assert [(i.round, i.agent) for i in interactions] == [(round, agent) for round in (1, 2) for agent in range(9)]
    for interaction in interactions:
        assert interaction.outcome == "ok"
        for ratings in (interaction.before, interaction.final_ratings):
            assert ratings["llm:verdict"].outcome == ratings["llm:scale"].outcome == "ok"
            (call,) = ratings["llm:verdict"].calls
            assert call.logprobs is not None and len(call.logprobs) == 20 and 0 < (call.label_mass or 0) < 1
        for feedback in interaction.steps[0].feedback:
            assert feedback.reason is not None and feedback.reason.startswith("This advice is ")
    assert not [path for path in out.rglob("*") if path.is_file() and server.key in path.read_text(errors="replace")]


def test_it_reads_the_same_probabilities_as_this_process(server: Started, local_model: LocalModel) -> None:
    """The same weights, template and forced start: log-probabilities agree to what two ways of computing leave.

    In bfloat16 a logit has eight bits: 0.29 was seen between the two. Another start or word is nats away.
    """
    prompt = Prompt(
        Key(1, 0, "before"),
        prompts.observe_messages("I broke her cup. Do I tell her?", "Tell her and say sorry.", "verdict", "alignment"),
        max_tokens=1,
        temperature=1.0,
        top_p=1.0,
        seed=1,
        start=prompts.STARTS["verdict"],
        choices=words_of(DIMENSIONS),
    )
    scale = replace(prompt, start=prompts.STARTS["scale"], choices=SCALE_LABELS)

    async def both() -> list[Completion]:
        async with connected([Address(server.url, server.key)], Patience()) as servers:
            served = await servers.model(EMBEDDED_MODEL)
            return [await model.complete(p) for p in (prompt, scale) for model in (served, local_model)]

    served, here, served_scale, here_scale = asyncio.run(both())
    near = 0.5 if gpu_at_hand() or processor_flags() & BFLOAT16 else 1e-3
    assert served.choice_logprobs == pytest.approx(here.choice_logprobs, abs=near)
    assert served_scale.choice_logprobs == pytest.approx(here_scale.choice_logprobs, abs=near)
    assert served.prompt_tokens == here.prompt_tokens


def test_simulate_starts_it_and_ends_it(tmp_path: Path) -> None:
    before = set(parents())
    out = tmp_path / "run"
    done = simulate("--vllm-command", os.environ["VLLM_COMMAND"], "--rounds", "1", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert f"starting vLLM for {EMBEDDED_MODEL}" in done.stderr and "words by id" in done.stderr
    assert (out / "report.html").is_file() and transcript.read(out).end is not None
    started_since = set(parents()) - before
    assert not [pid for pid in started_since if b"vllm" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_model_that_is_trained_judges_by_it_before_and_after(server: Started, tmp_path: Path) -> None:
    """Actor, judge and meta-judge by the server; what the model becomes, which no server has, by one of its own."""
    deeds = ("keep a purse", "read a diary", "sell a gift", "skip a queue", "break a vase", "hide a note")
    (tmp_path / "prompts.txt").write_text("".join(f"May I {deed}?\n" for deed in deeds), encoding="utf-8")
    sizes = {"iterations": 1, "prompts": 2, "responses": 2, "judgements": 2, "answers": 2, "groups-per-step": 2}
    tokens = {"max-tokens": 8, "judge-tokens": 8, "max-length": 640}
    given = [f"--{name}={value}" for name, value in {**sizes, **tokens}.items()]
    servers = ["--server", server.url, "--vllm-command", os.environ["VLLM_COMMAND"]]
    out = tmp_path / "trained"
    judges = ["--judge=expected", "--observer=embedding"]
    command = ["meta-judge", str(tmp_path / "prompts.txt"), *judges, *given, *servers]
    done = subprocess.run(
        [sys.executable, "-c", "from alignment.cli import align; align()", *command, "--out", str(out)],
        env={**os.environ, KEY_VARIABLE: server.key},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"{EMBEDDED_MODEL}: {server.url} · words by id" in done.stderr
    assert "starting vLLM for" in done.stderr and "iteration 1 · answers 1/1" in done.stderr
    lines = (out / "iteration-1" / "judgements.jsonl").read_text("utf-8").splitlines()
    judgements = [found for line in lines for found in json.loads(line)["judgements"].values()]
    assert len(lines) == 2 and all(0 < each["score"] < 5 for found in judgements for each in found)
    told = json.loads((out / "metrics.json").read_text("utf-8"))
    assert told["iterations"][0]["meta_judge"]["unread"] == 0
    assert [row["held-out"]["rated"] for row in told["answers"]] == [1, 1]
