"""One OpenAI-compatible endpoint: sends a body, gives the parsed reply, and says what went wrong in a typed fault."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import aiohttp
import orjson

from agents.limit import Limit

LONGEST_PAUSE = 60.0  # seconds that a Retry-After is heeded for
TOLD = 200  # characters of what a server says that an error repeats

Outcome = Literal["timeout", "unreachable", "overloaded", "failed", "refused", "invalid"]


class Fault(Exception):
    """An attempt that failed. `passing` says whether another may succeed; `status` is HTTP's, where there was one."""

    def __init__(self, outcome: Outcome, detail: str, *, passing: bool = True, status: int | None = None) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.passing = passing
        self.status = status


@dataclass(slots=True)
class Endpoint:
    """A server at `url` (without /v1). Calls that `limit` does not admit wait here, first come, first served.

    `timeout` is in seconds and counts from when a call is sent.
    """

    url: str
    session: aiohttp.ClientSession
    limit: Limit
    timeout: float
    key: str | None = None
    _waiting: deque[asyncio.Future[int]] = field(default_factory=deque)
    _closed_until: float = 0.0

    async def call(self, body: dict[str, Any]) -> Any:
        """The reply to a chat, parsed; it waits until the endpoint may take one more. Raises Fault."""
        sent_at = await self._admitted()
        answered = False
        try:
            while not self.open:
                await asyncio.sleep(max(0.0, self._closed_until - time.monotonic()))
            reply = await self.ask("/v1/chat/completions", body)
            answered = True
            return reply
        except Fault as fault:
            if fault.outcome == "overloaded":
                self.limit.overloaded(sent_at)
            raise
        finally:
            self.limit.done(answered=answered)
            self._admit_waiting()

    async def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The parsed reply of a path, by POST where there is a body, without waiting. Raises Fault."""
        method = "GET" if body is None else "POST"
        data = None if body is None else _encoded(body)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        try:
            async with asyncio.timeout(self.timeout):
                async with self.session.request(method, self.url + path, data=data, headers=headers) as response:
                    raw = await response.read()
        except TimeoutError:
            raise Fault("timeout", f"{self.url} gave no answer within {self.timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Fault("unreachable", self._told(f"{self.url}: {error or type(error).__name__}")) from error
        if response.status != 200:
            raise self._fault(response, raw)
        try:
            return _parsed(raw)
        except (ValueError, RecursionError) as error:
            raise Fault(
                "invalid", self._told(f"{self.url} answered with something other than JSON: {raw!r}")
            ) from error

    @property
    def load(self) -> int:
        """Calls that are in flight or wait here."""
        return self.limit.in_flight + len(self._waiting)

    @property
    def open(self) -> bool:
        """Whether it has not asked to be left alone for now."""
        return time.monotonic() >= self._closed_until

    def rest(self, seconds: float) -> None:
        """Send nothing for so long."""
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)

    async def _admitted(self) -> int:
        if self.limit.free():
            return self.limit.send()
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # admitted in the same moment
                self.limit.done(answered=False)
                self._admit_waiting()
            raise

    def _admit_waiting(self) -> None:
        while self._waiting and self.limit.free():
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(self.limit.send())

    def _fault(self, response: aiohttp.ClientResponse, raw: bytes) -> Fault:
        status = response.status
        detail = self._told(f"{self.url} answered {status}: {raw.decode('utf-8', 'replace')}")
        if status in (429, 503) and (pause := retry_after(response.headers.get("Retry-After"), datetime.now(UTC))):
            self.rest(min(pause, LONGEST_PAUSE))
        if status == 429:
            return Fault("overloaded", detail, status=status)
        if status >= 500 or status in (408, 409, 425):
            return Fault("failed", detail, status=status)
        return Fault("refused", detail, passing=False, status=status)

    def _told(self, text: str) -> str:
        """One short line, without the key, which some servers repeat."""
        line = " ".join(text.split())
        return (line.replace(self.key, "…") if self.key else line)[:TOLD]


# orjson takes a quarter of json's time, which was a third of a call's, but refuses NaN and lone surrogates.


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        return json.dumps(body).encode()


def _parsed(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return json.loads(raw)


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks to wait, given as a number or as a date; None where it is neither."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - now).total_seconds())
    except (ValueError, TypeError):
        return None
