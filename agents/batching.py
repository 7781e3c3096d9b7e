"""One gatherer for all models of this process: calls that wait together are answered together, one batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

# A batch starts when this many passes of the event loop in a row have added nothing. A coroutine that is several
# tasks and gathers deep needs about two passes a level from one answer to its next call; a pass takes microseconds.
IDLE_PASSES = 50

# Bounds of a batch: rows beyond which a CPU gains nothing, and rows times tokens of the longest (prompt and reply) as
# a bound on memory, for every row is kept that long: 1.5 GB of keys and values for the embedded model.
MAX_ROWS = 128
MAX_TOKENS = 32768


class Job(Protocol):
    """One call, ready for its engine. `order` says where it stands among others, whichever came first."""

    @property
    def order(self) -> tuple[Any, ...]:
        """What jobs are sorted by."""
        ...

    @property
    def max_tokens(self) -> int:
        """How long its reply may get; only equals share a batch."""
        ...

    @property
    def tokens(self) -> int:
        """Its size: prompt and longest reply."""
        ...


J = TypeVar("J", bound=Job, contravariant=True)
R = TypeVar("R", covariant=True)


class Engine(Protocol[J, R]):
    """What does the work, in the batcher's thread."""

    def generate(self, jobs: Sequence[J], abandoned: Callable[[], bool]) -> Sequence[R]:
        """The results of `jobs`, in their order. Once `abandoned()` is true nobody reads them: give up early."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    engine: Engine[Any, Any]
    job: Job
    answer: asyncio.Future[Any]


class Batcher:
    """Gathers the calls of all in-process models and runs them in its one thread, so that two never compete.

    What waits is only looked at when the event loop has come to rest, and batches are made in a fixed order: so equal
    runs make equal batches. Use it from one event loop at a time.
    """

    def __init__(self) -> None:
        self._waiting: list[_Call] = []
        self._arrivals = 0
        self._gatherer: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="models")

    async def submit(self, engine: Engine[J, R], job: J) -> R:
        """The result of `job`. What `engine` raises is raised here, for each job of the same batch."""
        call = _Call(engine, job, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._arrivals += 1
        if self._gatherer is None or self._gatherer.done():
            self._gatherer = asyncio.create_task(self._answer_all())
        result: R = await call.answer
        return result

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                await self._rest()
                self._waiting = [call for call in self._waiting if not call.answer.done()]  # those are cancelled
                if self._waiting:
                    batch = next_batch(self._waiting)
                    self._waiting = [call for call in self._waiting if call not in batch]
                    await self._run(batch)
        except Exception as error:  # nobody awaits this task: without it the callers would wait for ever
            _fail(self._waiting, error)
            self._waiting = []

    async def _rest(self) -> None:
        quiet = 0
        while quiet < IDLE_PASSES:
            before = self._arrivals
            await asyncio.sleep(0)
            quiet = quiet + 1 if self._arrivals == before else 0

    async def _run(self, batch: list[_Call]) -> None:
        def abandoned() -> bool:
            return all(call.answer.done() for call in batch)

        jobs = [call.job for call in batch]
        running = asyncio.get_running_loop().run_in_executor(self._thread, batch[0].engine.generate, jobs, abandoned)
        try:
            results = await running
        except Exception as error:
            _fail(batch, error)
        else:
            for call, result in zip(batch, results, strict=False):  # abandoned batches give fewer
                if not call.answer.done():
                    call.answer.set_result(result)


def _fail(calls: Sequence[_Call], error: Exception) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)


def next_batch(calls: Sequence[_Call]) -> list[_Call]:
    """The batch to run of those that wait: one engine, one `max_tokens`, in order, within the bounds.

    Long replies come first: in a society the others are waiting for them, and batches behind them grow meanwhile.
    """
    engines = list(dict.fromkeys(id(call.engine) for call in calls))
    ordered = sorted(calls, key=lambda c: (-c.job.max_tokens, engines.index(id(c.engine)), c.job.order))
    batch: list[_Call] = []
    longest = 0
    for call in ordered:
        longest = max(longest, call.job.tokens)
        alike = call.engine is ordered[0].engine and call.job.max_tokens == ordered[0].job.max_tokens
        if batch and (not alike or len(batch) == MAX_ROWS or (len(batch) + 1) * longest > MAX_TOKENS):
            break
        batch.append(call)
    return batch
