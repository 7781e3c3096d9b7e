"""Files and folders that appear whole or not at all, whenever the process that writes them may be killed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from agents.errors import BadInput

LOCK = "lock"  # in a room; held as long as the process lives that uses it
ROOM = frozenset({"new", "old", LOCK})  # what a room can hold
WRITTEN = ("run.toml", "*.jsonl", "report*", "dataset")  # into the folder of a run, or of a world of it


def write_whole(path: Path, text: Iterable[str]) -> None:
    """Write a file, in place of an earlier one, and make its folder where there is none; `text` may come in pieces.

    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)  # of a process that was killed
    try:
        with fresh.open("x", encoding="utf-8", newline="\n") as file:
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def refuse_used(out: Path) -> None:
    """Raises BadInput where `out` is there already and is not an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"--out {out}: is in use; name another folder")


def refuse_links(run: Path) -> None:
    """Raises BadInput where a run's folder has a symbolic link under a name of ours: writing would change its target.

    A run may come from someone else. The folder itself may be a link: its user named it.
    """
    names = (*WRITTEN, "world-*", *(f"world-*/{name}" for name in WRITTEN))
    links = [path for name in names for path in run.glob(name) if path.is_symlink()]
    if links:
        raise BadInput(f"{links[0]}: is a symbolic link, and a run writes only into its folder; move the target there")


@contextmanager
def appearing(out: Path, *, replacing: bool = False) -> Iterator[Path]:
    """A new folder that becomes `out` at the end of the block, or vanishes where the block fails.

    Raises BadInput at the end where `out` is in use by then. With `replacing` it gives way instead, and is back where
    it was if the new folder could not take its place. What a process that was killed left is cleared away first.
    """
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    for room in _rooms(out):
        _clear_abandoned(room, out)
    room = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))  # beside `out`: renaming must not copy
    fresh, old = room / "new", room / "old"
    with FileLock(room / LOCK):
        try:
            fresh.mkdir()
            yield fresh
            if not replacing:
                refuse_used(out)
            elif out.exists():
                out.rename(old)
            fresh.rename(out)
        finally:
            _clear(room, out)


def _rooms(out: Path) -> list[Path]:
    """The folders beside `out` in which new ones are, or were, made ready to take its place."""
    name = re.compile(rf"\.{re.escape(out.name)}\.[a-z0-9_]{{8}}")
    beside = [path for path in out.parent.iterdir() if name.fullmatch(path.name)]
    rooms = [path for path in beside if path.is_dir() and not path.is_symlink()]
    return [room for room in rooms if {inner.name for inner in room.iterdir()} <= ROOM]


def _clear_abandoned(room: Path, out: Path) -> None:
    try:
        with FileLock(room / LOCK, timeout=0):
            _clear(room, out)
    except (Timeout, OSError):  # another process uses it, or has just cleared it away
        pass


def _clear(room: Path, out: Path) -> None:
    """Remove a room; what was put away in it for a new folder that never came is put back."""
    old = room / "old"
    if old.exists() and not out.exists():
        old.rename(out)
    shutil.rmtree(room, ignore_errors=True)
