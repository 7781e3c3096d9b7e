"""Errors that are the user's to mend: the commands print their one line and exit with the code of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class BadInput(ValueError):
    """What is wrong, where, and what to do about it, in one line. Exit code 2."""


class TooManyFailures(Exception):
    """More calls of models failed than the user allows; what was made before can be gone on from. Exit code 3."""


def first_fault(error: ValidationError) -> tuple[str, str]:
    """(where, as in "world.size", what) of the first thing that pydantic found, as part of a line."""
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])), first["msg"][0].lower() + first["msg"][1:]
