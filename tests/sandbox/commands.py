"""Calls the commands in this process, as tests of whole runs do."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from sandbox import cli


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line that was said."""
        return self.err.splitlines()[-1]


def called(argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Done:
    """`simulate …` or `replay …`, called."""
    monkeypatch.setattr(sys, "argv", list(argv))
    with pytest.raises(SystemExit) as exit:
        {"simulate": cli.simulate, "replay": cli.replay}[argv[0]]()
    captured = capsys.readouterr()
    assert isinstance(exit.value.code, int)
    return Done(exit.value.code, captured.out, captured.err)
