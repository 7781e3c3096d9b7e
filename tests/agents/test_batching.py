from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from agents.batching import MAX_ROWS, MAX_TOKENS, Batcher


@dataclass(frozen=True)
class Sum:
    """A job whose result is twice its number."""

    number: int
    max_tokens: int = 1
    tokens: int = 10

    @property
    def order(self) -> tuple[int, ...]:
        return (self.number,)


class Doubler:
    """Notes every batch it is given; fails on batches that hold `bad`."""

    def __init__(self, bad: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.bad = bad

    def generate(self, jobs: Sequence[Sum], abandoned: Callable[[], bool]) -> list[int]:
        self.threads.add(threading.get_ident())
        self.batches.append([job.number for job in jobs])
        if any(job.number == self.bad for job in jobs):
            raise RuntimeError("cannot double")
        return [2 * job.number for job in jobs]


async def all_of(batcher: Batcher, engine: Doubler, jobs: Sequence[Sum]) -> list[int]:
    return await asyncio.gather(*(batcher.submit(engine, job) for job in jobs))


def test_calls_that_wait_together_make_one_batch_in_order() -> None:
    engine = Doubler()
    assert asyncio.run(all_of(Batcher(), engine, [Sum(3), Sum(1), Sum(2)])) == [6, 2, 4]
    assert engine.batches == [[1, 2, 3]]


def test_whatever_the_order_of_arrival_batches_are_equal() -> None:
    jobs = [Sum(n, max_tokens=n % 3 + 1) for n in range(300)]
    seen = []
    for seed in range(3):
        random.Random(seed).shuffle(jobs)
        engine = Doubler()
        assert asyncio.run(all_of(Batcher(), engine, jobs)) == [2 * job.number for job in jobs]
        seen.append(engine.batches)
    assert seen[0] == seen[1] == seen[2]
    assert sorted(n for batch in seen[0] for n in batch) == list(range(300))


def test_a_batch_has_one_max_tokens_and_long_replies_come_first() -> None:
    engine = Doubler()
    asyncio.run(all_of(Batcher(), engine, [Sum(1, 1), Sum(2, 48), Sum(3, 24), Sum(4, 48)]))
    assert engine.batches == [[2, 4], [3], [1]]


def test_a_batch_has_one_engine() -> None:
    batcher, first, second = Batcher(), Doubler(), Doubler()

    async def both() -> None:
        await asyncio.gather(*(batcher.submit((first, second)[n % 2], Sum(n)) for n in range(6)))

    asyncio.run(both())
    assert (first.batches, second.batches) == ([[0, 2, 4]], [[1, 3, 5]])
    assert first.threads == second.threads != {threading.get_ident()}


def test_rows_and_tokens_of_a_batch_are_bounded() -> None:
    engine = Doubler()
    asyncio.run(all_of(Batcher(), engine, [Sum(n) for n in range(MAX_ROWS + 2)]))
    assert [len(batch) for batch in engine.batches] == [MAX_ROWS, 2]
    engine = Doubler()
    asyncio.run(
        all_of(Batcher(), engine, [Sum(n, tokens=MAX_TOKENS // 3 + 1) for n in range(3)] + [Sum(9, tokens=99999)])
    )
    assert engine.batches == [[0, 1], [2], [9]]


def test_the_longest_row_counts_for_all() -> None:
    """60 short rows and a long one hold few tokens, but 61 rows as long as that one would not fit."""
    engine = Doubler()
    asyncio.run(all_of(Batcher(), engine, [*(Sum(n) for n in range(60)), Sum(60, tokens=MAX_TOKENS // 60), Sum(61)]))
    assert [len(batch) for batch in engine.batches] == [60, 2]


def test_a_chain_that_is_many_tasks_deep_still_joins_the_next_batch() -> None:
    """Between its two calls every other coroutine is wrapped in ten gathers: they take some twenty passes longer."""

    async def deep(levels: int, job: Sum) -> None:
        if levels:
            await asyncio.gather(deep(levels - 1, job))
        else:
            await batcher.submit(engine, job)

    async def two_calls(n: int) -> None:
        levels = 10 * (n % 2)
        await deep(levels, Sum(n))
        await deep(levels, Sum(100 + n))

    async def everyone() -> None:
        await asyncio.gather(*(two_calls(n) for n in range(8)))

    batcher, engine = Batcher(), Doubler()
    asyncio.run(everyone())
    assert engine.batches == [list(range(8)), list(range(100, 108))]


def test_the_loop_lives_while_a_batch_runs() -> None:
    ticked = threading.Event()

    class Waiting(Doubler):
        def generate(self, jobs: Sequence[Sum], abandoned: Callable[[], bool]) -> list[int]:
            assert ticked.wait(5), "the event loop stood still"
            return super().generate(jobs, abandoned)

    async def tick() -> None:
        await asyncio.sleep(0.01)
        ticked.set()

    async def both() -> None:
        await asyncio.gather(tick(), Batcher().submit(Waiting(), Sum(1)))

    asyncio.run(both())


def test_an_error_reaches_the_callers_of_its_batch_and_no_others() -> None:
    engine = Doubler(bad=2)
    batcher = Batcher()

    async def settled() -> list[int | BaseException]:
        jobs = [Sum(1), Sum(2), Sum(3, max_tokens=5), Sum(4, max_tokens=5)]
        return await asyncio.gather(*(batcher.submit(engine, job) for job in jobs), return_exceptions=True)

    first, second, *others = asyncio.run(settled())
    assert isinstance(first, RuntimeError) and isinstance(second, RuntimeError)
    assert others == [6, 8]


def test_jobs_that_cannot_be_ordered_fail_instead_of_hanging() -> None:
    class Odd(Sum):
        @property
        def order(self) -> tuple[int, ...]:
            return ("odd",)  # type: ignore[return-value]

    with pytest.raises(TypeError):
        asyncio.run(asyncio.wait_for(all_of(Batcher(), Doubler(), [Sum(1), Odd(2)]), 5))


def test_a_cancelled_call_is_left_out() -> None:
    engine, batcher = Doubler(), Batcher()

    async def one_of_two() -> int:
        given_up = asyncio.create_task(batcher.submit(engine, Sum(1)))
        await asyncio.sleep(0)
        given_up.cancel()
        return await batcher.submit(engine, Sum(2))

    assert asyncio.run(one_of_two()) == 4
    assert engine.batches == [[2]]


class Endless(Doubler):
    """Works until nobody wants it any more."""

    def __init__(self) -> None:
        super().__init__()
        self.started, self.ended = threading.Event(), threading.Event()

    def generate(self, jobs: Sequence[Sum], abandoned: Callable[[], bool]) -> list[int]:
        self.started.set()
        while not abandoned():
            time.sleep(0.001)
        self.ended.set()
        return []


def test_a_cancelled_run_ends_at_once_and_the_batcher_serves_the_next() -> None:
    engine, batcher = Endless(), Batcher()

    async def cancelled() -> None:
        calls = asyncio.gather(*(batcher.submit(engine, Sum(n)) for n in range(3)))
        while not engine.started.is_set():
            await asyncio.sleep(0.001)
        calls.cancel()
        await calls

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(asyncio.wait_for(cancelled(), 5))
    assert engine.ended.wait(5)
    assert asyncio.run(all_of(batcher, Doubler(), [Sum(1)])) == [2]


def test_a_batch_goes_on_while_one_of_its_callers_waits() -> None:
    class Slow(Doubler):
        def generate(self, jobs: Sequence[Sum], abandoned: Callable[[], bool]) -> list[int]:
            assert cancelled.wait(5)
            return [] if abandoned() else super().generate(jobs, abandoned)

    cancelled = threading.Event()

    async def one_of_two() -> int:
        batcher, engine = Batcher(), Slow()
        given_up, kept = (asyncio.create_task(batcher.submit(engine, Sum(n))) for n in (1, 2))
        await asyncio.sleep(0.05)
        given_up.cancel()
        await asyncio.sleep(0)
        cancelled.set()
        return await kept

    assert asyncio.run(one_of_two()) == 4


def test_ctrl_c_ends_a_process_that_is_generating() -> None:
    script = """
        import asyncio, sys, time
        from agents.batching import Batcher
        from tests.agents.test_batching import Endless, Sum

        class Saying(Endless):
            def generate(self, jobs, abandoned):
                print("generating", flush=True)
                return super().generate(jobs, abandoned)

        try:
            asyncio.run(Batcher().submit(Saying(), Sum(1)))
        except KeyboardInterrupt:
            sys.exit(130)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stdout.readline() == "generating\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
