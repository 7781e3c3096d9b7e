"""A vLLM server on this machine that lives as long as it is needed: how to start it, wait for it, and end it surely."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from agents.errors import BadInput

GUARD = Path(__file__).with_name("guard.py")
LOOPBACK = "127.0.0.1"
TICK = 0.25  # seconds between looks at the child
TOLD_LINES = 15  # of the log, when it fails
TOLD_CAUSES = 5  # exceptions that it names before them
TOLD_CHARACTERS = 100  # of a log line, while it starts

# The rest waits in vLLM's queue: a CPU is busy with fewer, and on a GPU each takes the memory of a row of logits.
MOST_AT_ONCE_CPU = 64
MOST_AT_ONCE_GPU = 512
GPU_MEMORY = 0.9  # of the card, for all started servers together
CACHE_MEMORY = 0.25  # of what the machine has free, on a CPU: weights and activations need the rest
MOST_CACHE_GIB = 16
BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})  # without either, bfloat16 hangs

# "(EngineCore pid=715) INFO 11-24 20:29:50 [utils.py:347] " before what a log line has to say
LOG_PREFIX = re.compile(r"^(\([^)]*\) )?([A-Z]+ [\d-]+ [\d:]+ \[[^\]]*\] )?")
EXCEPTION = re.compile(r"[\w.]+(Error|Exception): \S")


@dataclass(frozen=True, slots=True)
class Started:
    """A server that answers at `url` (without /v1) to those who know `key`."""

    url: str
    key: str


@dataclass(frozen=True, slots=True)
class Times:
    """In seconds: how long to wait for health, how often to tell of it, how long the server may take to end itself.

    The first is long because the weights may have to be fetched from the hub meanwhile.
    """

    patience: float = 3600.0
    telling: float = 10.0
    grace: float = 10.0


def command_at_hand() -> list[str] | None:
    """How to start vLLM here: with this interpreter if it has the package, else by the command on PATH; else None."""
    if importlib.util.find_spec("vllm"):
        return [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    return ["vllm", "serve"] if shutil.which("vllm") else None


def gpu_at_hand() -> bool:
    """Whether the driver lists an NVIDIA GPU and CUDA_VISIBLE_DEVICES doesn't hide them all. Imports no torch."""
    tool = shutil.which("nvidia-smi")
    if tool is None or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    listed = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True)
    return listed.returncode == 0 and listed.stdout.startswith("GPU ")


def arguments(
    model: str,
    served_name: str,
    port: int,
    *,
    calls_at_once: int,
    gpu: bool,
    processor_flags: frozenset[str],
    memory_share: float = 1.0,
) -> list[str]:
    """What follows vLLM's command. `memory_share`: of the GPU's memory, where several servers are started."""
    most = MOST_AT_ONCE_GPU if gpu else MOST_AT_ONCE_CPU
    common = ["--model", model, "--served-model-name", served_name, "--host", LOOPBACK, "--port", str(port)]
    common += ["--max-num-seqs", str(min(max(calls_at_once, 1), most))]
    common += ["--max-model-len", "auto"]  # the model's window, or what of it fits into memory
    common += ["--generation-config", "vllm"]  # words are drawn as the call says, not by the model's own defaults
    common += ["--enable-prefix-caching", "--enable-prompt-tokens-details"]
    common += ["--no-enable-log-requests", "--disable-uvicorn-access-log"]
    if gpu:
        return [*common, "--dtype", "auto", "--gpu-memory-utilization", f"{GPU_MEMORY * memory_share:.2f}"]
    dtype = "auto" if processor_flags & BFLOAT16 else "float32"
    # A prompt with a seed that is read in two chunks kills the engine on a CPU.
    return [*common, "--dtype", dtype, "--enforce-eager", "--block-size", "32", "--no-enable-chunked-prefill"]


def cache_gibibytes(available: int, memory_share: float = 1.0) -> int:
    """GiB of keys and values that a server on a CPU may keep, of `available` bytes of memory."""
    return min(max(int(available * CACHE_MEMORY * memory_share / 2**30), 1), MOST_CACHE_GIB)


def require_program(command: Sequence[str]) -> None:
    """Raises BadInput where a command that is to start vLLM names no program."""
    if not command or shutil.which(command[0]) is None:
        raise BadInput(f"vLLM's command {' '.join(command)!r}: there is no such program; name one that starts vLLM")


@asynccontextmanager
async def started(
    model: str,
    served_name: str,
    *,
    command: Sequence[str],
    calls_at_once: int,
    say: Callable[[str], None],
    memory_share: float = 1.0,
    times: Times | None = None,
) -> AsyncIterator[Started]:
    """Start `command` on `model`, a folder or a hub name, wait for its health, and end it at the end.

    It ends with this process too, even by SIGKILL. `calls_at_once` is how many calls can be ready together,
    `memory_share` this server's share of what is set aside for all. Its log is a temporary file, kept if it fails.
    Raises BadInput, with the log's last lines, where the server doesn't come up.
    """
    times = times or Times()
    require_program(command)
    gpu = gpu_at_hand()
    port, key = _free_port(), secrets.token_urlsafe(32)
    options = arguments(
        model,
        served_name,
        port,
        calls_at_once=calls_at_once,
        gpu=gpu,
        processor_flags=frozenset() if gpu else processor_flags(),
        memory_share=memory_share,
    )
    # By the environment, since all users of a machine can read command lines.
    environment = {**_environment(gpu, memory_share), "VLLM_API_KEY": key}
    with _guarded([*command, *options], environment, times.grace) as child:
        running = Started(f"http://{LOOPBACK}:{port}", key)
        await _healthy(child, running.url, served_name, times, say)
        try:
            yield running
        finally:
            if child.ended:
                child.log_kept = True
                say(f"vLLM for {served_name} has ended by itself, {child.end}; its log: {child.log}")


@dataclass(slots=True)
class _Child:
    """The server's process, behind its guard, and its log, which is a file until the end, and longer if `log_kept`."""

    process: subprocess.Popen[bytes]
    log: Path
    log_kept: bool = False

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def end(self) -> str:
        return f"exit code {self.process.returncode}"

    def lines(self) -> list[str]:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line.rstrip() for line in lines if line.strip()]


@contextmanager
def _guarded(command: Sequence[str], environment: dict[str, str], grace: float) -> Iterator[_Child]:
    """Run `command` under the guard, which ends it when its stdin closes: here, or when this process dies."""
    descriptor, name = tempfile.mkstemp(prefix="vllm-", suffix=".log")
    guard = [sys.executable, "-I", str(GUARD), str(grace)]
    with open(descriptor, "wb") as log:  # noqa: PTH123  (a descriptor)
        process = subprocess.Popen(
            [*guard, *command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is for this process, which ends the guard in its own time
        )
    child = _Child(process, Path(name))
    try:
        yield child
    finally:
        process.terminate()  # a fork of this process could hold the pipe open
        process.communicate()
        if not child.log_kept:
            child.log.unlink()


async def _healthy(child: _Child, url: str, name: str, times: Times, say: Callable[[str], None]) -> None:
    began = time.monotonic()
    tellings = 0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        while not await _answers(session, f"{url}/health"):
            waited = time.monotonic() - began
            if child.ended:
                raise _failure(child, name, f"ended with {child.end} before it was ready")
            if waited > times.patience:
                raise _failure(child, name, f"was not ready after {waited:.0f} s")
            if waited >= times.telling * (tellings + 1):
                tellings += 1
                say(f"starting vLLM for {name}: {waited:.0f} s ({_shortened(child.lines())})")
            await asyncio.sleep(TICK)


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def _failure(child: _Child, name: str, what: str) -> BadInput:
    child.log_kept = True
    first = f"vLLM for {name} {what}; mend what its log says, or take --engine local; the whole log: {child.log}"
    lines = child.lines()
    last = lines[-TOLD_LINES:]
    return BadInput("\n".join([first, *(cause for cause in _causes(lines) if cause not in last), *last]))


def _causes(lines: Sequence[str]) -> list[str]:
    """The exceptions that a log names, each once. The first lies far above the end, which only points back to it."""
    named = (LOG_PREFIX.sub("", line) for line in lines)
    return list(dict.fromkeys(line for line in named if EXCEPTION.match(line)))[:TOLD_CAUSES]


def _shortened(lines: Sequence[str]) -> str:
    line = LOG_PREFIX.sub("", lines[-1]).strip() if lines else "nothing logged yet"
    return line if len(line) <= TOLD_CHARACTERS else f"{line[: TOLD_CHARACTERS - 1]}…"


def _environment(gpu: bool, memory_share: float) -> dict[str, str]:
    """What the server sees of ours; what the user has set there counts."""
    ours = {"VLLM_NO_USAGE_STATS": "1"}
    available = None if gpu else _available_memory()
    if available is not None:
        ours["VLLM_CPU_KVCACHE_SPACE"] = str(cache_gibibytes(available, memory_share))
    return ours | os.environ


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


def processor_flags() -> frozenset[str]:
    """What this processor can do, as Linux names it; nothing where the system doesn't say."""
    found = re.search(r"^flags\s*:(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def _available_memory() -> int | None:
    """In bytes; None where the system doesn't say."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB$", _read("/proc/meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _read(path: str) -> str:
    with contextlib.suppress(FileNotFoundError):  # not Linux
        return Path(path).read_text(encoding="utf-8")
    return ""
