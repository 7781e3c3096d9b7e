"""How long does a report page take to write, and to open in a browser? Societies of realistic words, without a model.

    python benchmarks/report.py [--shapes 10x50 100x3] [--opens 5] [--chromium PATH] [--out FILE.json]

A shape is the side of the grid and the number of rounds: 10x50 are 100 agents and 5,000 interactions. An answer has
three or four sentences of the shipped prior, a reason has one, four neighbours speak, and three memories are recalled.

    write     seconds of `write_report`, and the most memory that its process took
    page      megabytes of the page, and of the files beside it
    open      seconds from the address to the first chain on the screen, the page read as a file by a Chromium started
              anew each time (its start is not counted): the median, and the slowest
    turn      milliseconds from a move of the slider, to a round whose texts were not unpacked, to the chain: the median

Needs Playwright (`pip install -e '.[browser]'`) and a Chromium. The last line is the table as JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from agents.records import Answer, Feedback, Rating, ReadingCall
from memory.memory import Recollection
from sandbox.interaction import Interaction, Question, Step
from sandbox.transcript import Writer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DATA = Path(__file__).parents[1] / "sandbox" / "data"
OBSERVERS = ("llm:verdict", "embedding")
WRITE = """
import resource, sys, time
from pathlib import Path
from sandbox.report.page import write_report
start = time.perf_counter()
write_report(Path(sys.argv[1]))
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""

Row = dict[str, Any]


def write_society(folder: Path, size: int, rounds: int) -> Path:
    """Write the transcript of `rounds` rounds of size × size agents to `folder`."""
    draw = random.Random(0)
    sentences = [row["response"] for row in rows("prior.jsonl")]
    questions = [Question(row["id"], row["text"], row["topic"]) for row in rows("questions.jsonl")]
    header = {
        "seed": 0,
        "world": {"size": size},
        "speech": {"rule": "Be kind."},
        "models": [{"name": "nobody"}],
        "observers": [{"name": name} for name in OBSERVERS],
    }
    writer = Writer.create(folder, header)
    for number in range(1, rounds + 1):
        asked = draw.choices(questions, k=size**2)
        writer.interactions([talk(draw, number, agent, size, asked[agent], sentences) for agent in range(size**2)])
        writer.round({})
    writer.end(rounds=rounds, stopped="rounds")
    return folder


def talk(
    draw: random.Random, number: int, agent: int, size: int, question: Question, sentences: Sequence[str]
) -> Interaction:
    """One interaction. The revision keeps most of the draft."""

    def answer(text: str) -> Answer:
        return Answer(text, f"{draw.getrandbits(128):032x}", "stop")

    def ratings() -> dict[str, Rating]:
        call = ReadingCall(("alignment", "engagement"), "d", tuple(draw.uniform(-9, 0) for _ in range(20)), 0.1)
        return {name: Rating(draw.uniform(1, 7), draw.uniform(1, 7), (call,)) for name in OBSERVERS}

    def feedback(peer: int) -> Feedback:
        logprobs = tuple(draw.uniform(-9, 0) for _ in range(10))
        return Feedback(peer, draw.uniform(1, 7), draw.choice(sentences), "d", "stop", logprobs, 0.1)

    said = draw.choices(sentences, k=3)
    step = Step(
        feedback=tuple(map(feedback, draw.sample([peer for peer in range(size**2) if peer != agent], 4))),
        revision=answer(" ".join([said[0], *draw.choices(sentences, k=2), said[2]])),
        after=ratings(),
    )
    return Interaction(
        round=number,
        agent=agent,
        model="nobody",
        stance=draw.choice(["good", "bad"]),
        question=question,
        recalled=tuple(Recollection(question.text, draw.choice(sentences), 0.5) for _ in range(3)),
        draft=answer(" ".join(said)),
        before=ratings(),
        steps=(step,),
    )


def rows(name: str) -> list[Row]:
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """A Chromium of its own, without a profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


def opened(page: Page, report: Path) -> float:
    """Seconds until the page has loaded and shows its first chain."""
    start = time.perf_counter()
    page.goto(report.resolve().as_uri())
    shown(page)
    return time.perf_counter() - start


def turned(page: Page, place: int) -> float:
    """Milliseconds from the slider's move to the chain in the round at that place, by the page's own clock."""
    script = """(place) => new Promise((done) => {
      const start = performance.now();
      const [chain, slider] = [document.getElementById("chain"), document.getElementById("round")];
      new MutationObserver((_, watch) => {
        if (chain.ariaBusy === "true") return;
        watch.disconnect();
        done(performance.now() - start);
      }).observe(chain, { attributes: true });
      slider.value = place;
      slider.dispatchEvent(new Event("input"));
    })"""
    took: float = page.evaluate(script, place)
    return took


def shown(page: Page) -> None:
    page.wait_for_selector("#chain[aria-busy=false] .answer")


def measure(size: int, rounds: int, opens: int, path: str) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        run = write_society(Path(folder) / "run", size, rounds)
        done = subprocess.run([sys.executable, "-c", WRITE, run], capture_output=True, text=True, check=True)
        seconds, memory = map(float, done.stdout.split())
        report = run / "report.html"
        took, turns = [], []
        for _ in range(opens):
            with chromium(path) as browser:
                page = browser.new_page()
                took.append(opened(page, report))
                turns.append(turned(page, rounds // 2))
        beside = sum(file.stat().st_size for file in (run / "report").glob("*.js"))
        return {
            "agents": size**2,
            "rounds": rounds,
            "write_s": round(seconds, 1),
            "memory_mb": round(memory),
            "transcript_mb": round((run / "transcript.jsonl").stat().st_size / 1e6, 1),
            "page_mb": round(report.stat().st_size / 1e6, 2),
            "beside_mb": round(beside / 1e6, 2),
            "open_s": round(median(took), 2),
            "slowest_s": round(max(took), 2),
            "turn_ms": round(median(turns)),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["10x50", "100x3"], help="side of the grid x rounds")
    parser.add_argument("--opens", type=int, default=5)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--out", type=Path, help="write the table here as JSON, too")
    options = parser.parse_args()
    table = []
    for shape in options.shapes:
        size, rounds = map(int, shape.split("x"))
        table.append(measure(size, rounds, options.opens, options.chromium))
        print(" · ".join(f"{name} {value}" for name, value in table[-1].items()), flush=True)
    text = json.dumps(table)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
