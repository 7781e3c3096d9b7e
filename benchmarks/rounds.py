"""How fast is a round on a server, and does it stay so when the society grows? Runs of `simulate` without a model.

    python benchmarks/rounds.py latency [--latency 0.2] [--rounds N] [--out FILE.json]
    python benchmarks/rounds.py scale [--sizes 10 30 100] [--out FILE.json]

The server (benchmarks/canned_server.py) is a process of its own that takes any number of calls at once and gives each
the same reply, for as little CPU as can be: what is measured is the client. An interaction is ten calls by the `scale`
reading: a draft, four reviews, a revision, and two ratings before and after; four steps depend on each other (draft,
review, revision, rating), so that a round cannot take less than four latencies.

    latency   10 × 10 agents, a fixed latency: seconds a round against four latencies, and the most calls in flight,
              of 600 that are ready together (four reviews and two ratings of each of 100 drafts). "bare" are the
              seconds that aiohttp alone takes for as many calls of a like size that wait for each other in that way
    scale     a latency of nothing: milliseconds an interaction and their ratio to the first size, and the memory of the
              process after the first and the last round; 3,000 interactions, or three rounds where those are more

CPU is that of `simulate` alone, from its telemetry. The first round opens the connections, and is told apart. The last
line is the table as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median
from typing import Any

import aiohttp

CALLS = 10  # an interaction
STEPS = 4  # that wait for each other
READY = 6  # calls of an interaction that are ready together
INTERACTIONS = 3000  # of a run in `scale`, at least
SIMULATE = [sys.executable, "-c", "from sandbox.cli import simulate; simulate()"]
ROOT = Path(__file__).parents[1]

Row = dict[str, Any]


@contextmanager
def canned(latency: float) -> Iterator[str]:
    """The address of a canned server that lives while the block runs."""
    command = [sys.executable, "benchmarks/canned_server.py", "--latency", str(latency)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def play(url: str, size: int, rounds: int) -> list[Row]:
    """Play a run and return its rounds' telemetry, each with the memory of the process when it ended."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        argv = ["--server", url, "--size", str(size), "--rounds", str(rounds), "--out", str(out)]
        argv += ["--observer", "llm:scale", "--reading", "scale"]
        with subprocess.Popen(
            [*SIMULATE, *argv], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as process:
            memory = watch(process, out / "telemetry.jsonl", rounds)
            process.kill()  # what follows, dataset and page, is not what is measured
        lines = [json.loads(line) for line in (out / "telemetry.jsonl").read_text().splitlines()]
    return [{**line, "memory_mb": megabytes} for line, megabytes in zip(lines, memory, strict=True)]


def watch(process: subprocess.Popen[bytes], telemetry: Path, rounds: int) -> list[float]:
    """The resident memory of the process, in MB, at the end of each round; returns after the last."""
    memory: list[float] = []
    while len(memory) < rounds:
        time.sleep(0.2)
        if process.poll() is not None:
            assert process.stderr is not None
            raise SystemExit(process.stderr.read().decode())
        if telemetry.exists() and telemetry.read_text().count("\n") > len(memory):
            status = Path(f"/proc/{process.pid}/status").read_text()
            memory.append(int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024)  # type: ignore[index]
    return memory


def latency(seconds: float, rounds: int) -> list[Row]:
    """One row: the median and the best round after the first."""
    with canned(seconds) as url:
        played = play(url, 10, rounds + 1)[1:]
        with urllib.request.urlopen(f"{url}/stats") as reply:
            peak = json.load(reply)["peak"]
        alone = asyncio.run(bare(url, rounds + 1))[1:]
    took = [line["seconds"] for line in played]
    cpu = [line["cpu_seconds"] / (100 * CALLS) * 1000 for line in played]
    return [
        {
            "agents": 100,
            "rounds": rounds,
            "seconds": round(median(took), 3),
            "best": round(min(took), 3),
            "ratio": round(median(took) / (STEPS * seconds), 2),
            "bare": round(median(alone), 3),
            "to_bare": round(median(took) / median(alone), 2),
            "cpu_ms_a_call": round(median(cpu), 3),
            "peak": peak,
            "ready": 100 * READY,
        }
    ]


async def bare(url: str, rounds: int) -> list[float]:
    """Seconds of rounds of 100 interactions that are nothing but their calls."""
    answer = {"messages": [{"role": "user", "content": "x" * 600}], "max_tokens": 96}
    review = {**answer, "max_tokens": 40, "logprobs": True, "top_logprobs": 20}
    rating = {**review, "max_tokens": 9}
    took = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(body: Row) -> Any:
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                return await response.json()

        async def interaction() -> None:
            await call(answer)
            before = asyncio.gather(call(rating), call(rating))
            await asyncio.gather(*(call(review) for _ in range(4)))
            await call(answer)
            await asyncio.gather(call(rating), call(rating), before)

        for _ in range(rounds):
            began = time.monotonic()
            await asyncio.gather(*(interaction() for _ in range(100)))
            took.append(time.monotonic() - began)
    return took


def scale(sizes: list[int]) -> list[Row]:
    """A row a size; ratios are to the first."""
    rows: list[Row] = []
    with canned(0.0) as url:
        for size in sizes:
            rounds = max(3, INTERACTIONS // size**2)
            first, *later = play(url, size, rounds)
            wall, cpu = (
                [line[name] / size**2 * 1000 for line in (first, *later)] for name in ("seconds", "cpu_seconds")
            )
            row = {"agents": size**2, "rounds": rounds, "ms": round(fmean(wall[1:]), 2), "first_ms": round(wall[0], 2)}
            row |= {"cpu_ms": round(fmean(cpu[1:]), 2)}
            base = rows[0] if rows else row
            row |= {"ratio": round(row["ms"] / base["ms"], 2), "cpu_ratio": round(row["cpu_ms"] / base["cpu_ms"], 2)}
            rows.append({**row, "memory_mb": [round(line["memory_mb"]) for line in (first, later[-1])]})
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["latency", "scale"])
    parser.add_argument("--latency", type=float, default=0.2, help="seconds that the server takes for a call")
    parser.add_argument("--rounds", type=int, default=8, help="measured rounds of `latency`")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 30, 100])
    parser.add_argument("--out", type=Path, help="write the table here as JSON, too")
    options = parser.parse_args()
    rows = latency(options.latency, options.rounds) if options.what == "latency" else scale(options.sizes)
    for row in rows:
        print(" · ".join(f"{name} {value}" for name, value in row.items()))
    text = json.dumps(rows)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
