"""Runs a command and ends it, with all it started, as soon as whoever started this script is gone, however it died.

`python guard.py SECONDS COMMAND …`, with a pipe as stdin: when that closes, on SIGTERM, or when the command exits, the
command's whole process group gets SIGTERM and, SECONDS later, SIGKILL. Exits with the command's code. Uses no package.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time

TICK = 0.1  # seconds
DYING = 2.0  # seconds for what was killed; longer, and it is a dead process that nobody has waited for


def main(grace: float, command: list[str]) -> int:
    """Run `command` until it exits, stdin closes or SIGTERM comes; the code to exit with."""
    told = threading.Event()  # an exception could come before the child is known
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    while child.poll() is None and not told.is_set() and not _closed(sys.stdin.fileno()):
        pass
    end(child, grace)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def end(child: subprocess.Popen[bytes], grace: float) -> None:
    """End all that is left of the process group that `child` leads, by force after `grace` seconds."""
    if _signalled(child.pid, signal.SIGTERM) and not _gone(child, grace):
        _signalled(child.pid, signal.SIGKILL)
        _gone(child, DYING)  # what comes next may need the memory that they still hold
    child.wait()


def _gone(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether nothing is left of the group within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        child.poll()  # or the dead child would count as left
        if not _signalled(child.pid, 0):
            return True
        time.sleep(TICK)
    return False


def _closed(pipe: int) -> bool:
    readable, _, _ = select.select([pipe], [], [], TICK)
    return bool(readable) and not os.read(pipe, 1024)


def _signalled(group: int, number: int) -> bool:
    """Send a signal (0: none) to the group; whether anyone was there."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
