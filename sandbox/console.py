"""How lines and tables reach the person at the terminal."""

from __future__ import annotations

import sys

from rich.console import Console

PLAIN_WIDTH = 160  # columns where there is no terminal, so that cells don't wrap


def table_console(*, stderr: bool = False) -> Console:
    """Standard output or error; the names and questions that tables hold are never read as markup or emoji."""
    console = Console(markup=False, emoji=False, stderr=stderr)
    return console if console.is_terminal else Console(markup=False, emoji=False, stderr=stderr, width=PLAIN_WIDTH)


def say(line: str) -> None:
    """Tell the person who watches."""
    print(line, file=sys.stderr, flush=True)
