"""Coroutines that run together, none of which outlives the block that waits for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def running(coroutines: Iterable[Coroutine[Any, Any, T]]) -> AsyncIterator[deque[asyncio.Task[T]]]:
    """Start them all. Tasks that are still in the queue when the block ends are cancelled.

    Unlike a TaskGroup it raises what the block raises, not a group, and tasks taken off the queue can be forgotten.
    """
    tasks = deque(asyncio.create_task(coroutine) for coroutine in coroutines)
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
