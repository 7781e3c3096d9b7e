"""A process that dies at a chosen moment, as by SIGKILL: from then on nothing that it does reaches the disk."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHANGES = ("mkdir", "rename", "replace", "unlink", "rmdir", "truncate", "fsync")  # of the module os


class Died(BaseException):
    """No Exception, so that nothing handles it."""


@dataclass(slots=True)
class Life:
    """Counts moments: one before each change to the disk, four within each line that is written without a buffer.

    After `most` of them the process is dead. Files that are written with a buffer stay empty when it dies meanwhile.
    """

    most: int | None = None
    moments: int = 0

    @property
    def dead(self) -> bool:
        return self.most is not None and self.moments > self.most

    def pass_moment(self) -> None:
        self.moments += 1
        if self.dead:
            raise Died

    def write(self, data: bytes, write: Callable[[bytes], int]) -> int:
        """Write as much of `data` as this life allows."""
        for size in cuts(data):
            try:
                self.pass_moment()
            except Died:
                if self.moments == self.most + 1:  # the moment of death
                    write(data[:size])
                raise
        return write(data)


def cuts(data: bytes) -> Iterator[int]:
    """Where lines can break off: behind their first byte, in the middle, before their newline, and behind it."""
    start = 0
    while start < len(data):
        end = data.index(b"\n", start) + 1
        yield from (start + 1, (start + end) // 2, end - 1, end)
        start = end


@contextmanager
def living(life: Life) -> Iterator[None]:
    """All that this process does to files while the block runs is done in that `life`."""

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            return life.write(bytes(data), super().write)

    really_open, really_os_open = io.open, os.open

    def opening(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any) -> Any:
        if set(mode) & set("wxa+") and (life.dead or "w" in mode or not Path(file).exists()):
            life.pass_moment()
        return Raw(file, mode) if (mode, buffering) == ("ab", 0) else really_open(file, mode, buffering, *rest, **named)

    def os_opening(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_CREAT:
            life.pass_moment()
        return really_os_open(path, flags, *rest, **named)

    def mortal(change: Callable[..., Any]) -> Callable[..., Any]:
        def changing(*given: Any, **named: Any) -> Any:
            life.pass_moment()
            return change(*given, **named)

        return changing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", opening)
        patch.setattr(os, "open", os_opening)
        for name in CHANGES:
            patch.setattr(os, name, mortal(getattr(os, name)))
        yield
