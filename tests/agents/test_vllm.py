from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agents.errors import BadInput
from agents.vllm import Started, Times, arguments, cache_gibibytes, command_at_hand, gpu_at_hand, started

QUICK = Times(patience=20, telling=0.2, grace=1)

# Called as `fake.py MODE PIDS …`. It writes its own and its child's process ids to the file PIDS.
FAKE = """
import http.server, json, os, signal, subprocess, sys, time
mode, pids, *words = sys.argv[1:]
if mode == "fail":
    cause = "(Worker pid=7) ERROR 11-24 20:42:18 [worker.py:63] ValueError: too little memory"
    print(cause, cause, *(f"line {n}" for n in range(30)), sep="\\n", file=sys.stderr)
    sys.exit(3)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(pids, "w") as file:
    json.dump([os.getppid(), os.getpid(), child.pid], file)
print("(EngineCore pid=715) INFO 11-24 20:29:50 [utils.py:347] Loading the weights", flush=True)
time.sleep(0.5 if mode != "never" else 600)

class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            os._exit(5)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"words": words, "key": os.environ["VLLM_API_KEY"]}).encode())

port = int(words[words.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Answers).serve_forever()
"""

# A process of its own that starts the fake, so that it can be killed.
PARENT = """
import asyncio, sys
from agents.vllm import Times, started

async def main():
    async with started("M", "m", command=sys.argv[1:], calls_at_once=4, say=print, times=Times(grace=1)) as running:
        print(running.url, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Fake:
    folder: Path

    def command(self, mode: str) -> list[str]:
        script = self.folder / "fake.py"
        script.write_text(FAKE, encoding="utf-8")
        return [sys.executable, str(script), mode, str(self.folder / "pids")]

    def pids(self) -> list[int]:
        """Of the guard, the server and the server's child, as far as they have been started."""
        try:
            pids: list[int] = json.loads((self.folder / "pids").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return []
        return pids

    def logs(self) -> list[Path]:
        return list(self.folder.glob("vllm-*.log"))


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return Fake(tmp_path)


def play(command: list[str], body: Callable[[Started], None], times: Times = QUICK) -> list[str]:
    """What was said while the server started, ran `body` and ended."""
    said: list[str] = []

    async def run() -> None:
        async with started("M", "m", command=command, calls_at_once=4, say=said.append, times=times) as running:
            body(running)

    asyncio.run(run())
    return said


def told(running: Started, path: str = "/") -> Any:
    with urllib.request.urlopen(running.url + path, timeout=5) as response:
        return json.load(response)


def alive(pid: int) -> bool:
    """Zombies don't count: not every container's first process reaps them."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def all_gone(pids: list[int], within: float = 10.0) -> bool:
    assert len(pids) == 3
    deadline = time.monotonic() + within
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, pids))


def test_it_starts_tells_of_it_and_ends(fake: Fake) -> None:
    def body(running: Started) -> None:
        assert all(map(alive, fake.pids()))
        words = told(running)["words"]
        assert words[words.index("--model") + 1] == "M" and words[words.index("--served-model-name") + 1] == "m"
        assert words[words.index("--max-num-seqs") + 1] == "4"

    said = play(fake.command("serve"), body)
    assert re.fullmatch(r"starting vLLM for m: \d+ s \(Loading the weights\)", said[-1])
    assert all_gone(fake.pids(), within=0)
    assert fake.logs() == []


def test_the_key_is_known_to_the_server_only(fake: Fake) -> None:
    def body(running: Started) -> None:
        assert len(running.key) > 20 and told(running)["key"] == running.key
        for pid in fake.pids():
            assert running.key not in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
        (log,) = fake.logs()
        assert running.key not in log.read_text(encoding="utf-8")
        assert log.stat().st_mode & 0o077 == 0

    play(fake.command("serve"), body)


def test_a_failed_start_shows_the_cause_and_the_last_lines_and_keeps_the_log(fake: Fake) -> None:
    with pytest.raises(BadInput) as caught:
        play(fake.command("fail"), lambda _: pytest.fail("it never served"))
    first, *lines = str(caught.value).splitlines()
    (log,) = fake.logs()
    assert first.startswith("vLLM for m ended with exit code 3 before it was ready; ") and first.endswith(str(log))
    assert lines == ["ValueError: too little memory", *(f"line {n}" for n in range(15, 30))]
    assert log.read_text(encoding="utf-8").count("\n") == 32


def test_patience_ends(fake: Fake) -> None:
    with pytest.raises(BadInput, match=r"vLLM for m was not ready after \d+ s; .*\n.* Loading the weights$"):
        play(fake.command("never"), lambda _: None, Times(patience=0.7, telling=9, grace=1))
    assert all_gone(fake.pids(), within=0)


def test_an_exception_ends_it_and_one_of_bad_input_keeps_no_log(fake: Fake) -> None:
    def body(_: Started) -> None:
        raise BadInput("of another matter")

    with pytest.raises(BadInput, match="of another matter"):
        play(fake.command("serve"), body)
    assert all_gone(fake.pids(), within=0)
    assert fake.logs() == []


def test_one_that_ignores_sigterm_is_killed(fake: Fake) -> None:
    play(fake.command("stubborn"), lambda _: None)
    assert all_gone(fake.pids(), within=0)


def test_one_that_dies_on_its_own_is_told_of_and_its_child_is_ended(fake: Fake) -> None:
    def body(running: Started) -> None:
        with pytest.raises(OSError):
            told(running, "/die")
        assert all_gone(fake.pids())

    said = play(fake.command("serve"), body)
    (log,) = fake.logs()
    assert said[-1] == f"vLLM for m has ended by itself, exit code 5; its log: {log}"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_nothing_outlives_the_process_that_started_it(fake: Fake, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *fake.command("stubborn")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(fake.folder)},
        text=True,
    ) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        assert all(map(alive, fake.pids()))
        parent.send_signal(number)
        parent.wait(10)
        assert all_gone(fake.pids())
        with pytest.raises(OSError):
            told(Started(url, ""))


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(BadInput, match=r"vLLM's command 'no-such-vllm serve': there is no such program"):
        play(["no-such-vllm", "serve"], lambda _: None)


def test_arguments_on_a_processor() -> None:
    assert arguments("M", "m", 8000, calls_at_once=500, gpu=False, processor_flags=frozenset({"avx2"})) == shlex.split(
        "--model M --served-model-name m --host 127.0.0.1 --port 8000 --max-num-seqs 64 --max-model-len auto"
        " --generation-config vllm --enable-prefix-caching --enable-prompt-tokens-details --no-enable-log-requests"
        " --disable-uvicorn-access-log --dtype float32 --enforce-eager --block-size 32 --no-enable-chunked-prefill"
    )


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16"])
def test_a_processor_that_has_bfloat16_may_use_it(flag: str) -> None:
    words = arguments("M", "m", 8000, calls_at_once=0, gpu=False, processor_flags=frozenset({"avx2", flag}))
    assert words[words.index("--dtype") + 1] == "auto"
    assert words[words.index("--max-num-seqs") + 1] == "1"


def test_arguments_on_a_gpu_shared_by_two() -> None:
    words = arguments("M", "m", 1, calls_at_once=500, gpu=True, processor_flags=frozenset(), memory_share=0.5)
    assert words == shlex.split(
        "--model M --served-model-name m --host 127.0.0.1 --port 1 --max-num-seqs 500 --max-model-len auto"
        " --generation-config vllm --enable-prefix-caching --enable-prompt-tokens-details --no-enable-log-requests"
        " --disable-uvicorn-access-log --dtype auto --gpu-memory-utilization 0.45"
    )


def test_the_cache_takes_a_quarter_of_the_memory_within_bounds() -> None:
    gib = 2**30
    assert [cache_gibibytes(n * gib) for n in (1, 20, 500)] == [1, 5, 16]
    assert cache_gibibytes(20 * gib, memory_share=0.5) == 2


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def test_the_command_at_hand_is_the_one_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command_at_hand() is None
    program(tmp_path, "vllm", "true")
    assert command_at_hand() == ["vllm", "serve"]


def test_the_command_at_hand_is_this_interpreter_where_it_has_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert command_at_hand() == [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]


def test_a_gpu_is_at_hand_where_the_driver_lists_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert not gpu_at_hand()
    program(tmp_path, "nvidia-smi", "echo 'No devices found.'; exit 6")
    assert not gpu_at_hand()
    program(tmp_path, "nvidia-smi", "echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'")
    assert gpu_at_hand()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not gpu_at_hand()
