"""What goes wrong on a model server, one value a kind, and plans that say which requests it happens to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any


@dataclass(frozen=True, slots=True)
class Status:
    """An error in JSON under the HTTP status `code`; `retry_after` (seconds) becomes the header Retry-After."""

    code: int
    message: str = "injected fault"
    retry_after: float | None = None


class Flaw(Enum):
    """A request that gets no proper answer. All but HANG and RESET come under status 200."""

    HANG = auto()  # no answer until the client gives up
    RESET = auto()  # the connection is reset
    HTML = auto()  # a page, as a proxy would show it
    TRUNCATED = auto()  # the first half of the JSON
    NO_CHOICES = auto()
    BLANK = auto()  # content ""
    NULL = auto()  # content null
    TOO_LONG = auto()  # five tokens more than max_tokens
    NO_LOGPROBS = auto()  # logprobs null, wanted or not
    NAN = auto()  # the JSON extension NaN in place of every log-probability
    SURROGATE = auto()  # ends with half of a surrogate pair, escaped


Fault = Status | Flaw
Plan = Callable[[int, dict[str, Any]], Fault | None]


def never(number: int, body: dict[str, Any]) -> Fault | None:
    """The plan without faults. `number` counts chat requests from 1, `body` is the request's JSON."""
    return None


def on(numbers: Iterable[int], fault: Fault) -> Plan:
    """`fault` on the chat requests with these numbers, counted from 1."""
    wanted = frozenset(numbers)
    return lambda number, body: fault if number in wanted else None


def every(n: int, fault: Fault) -> Plan:
    """`fault` on the n-th, 2n-th, 3n-th … chat request; `every(1, fault)` is always."""
    return lambda number, body: None if number % n else fault
