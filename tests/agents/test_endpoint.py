"""One endpoint against a real server on loopback: what goes wrong is typed, pauses are kept, and nobody is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from agents.endpoint import TOLD, Endpoint, Fault, retry_after
from agents.limit import Limit
from tests.fakes.faults import Flaw, Status, every, on
from tests.fakes.mock_server import MockServer

BODY = {"model": "mock", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 8}
SECRET = "sk-very-secret"


@asynccontextmanager
async def endpoint(
    url: str, *, most: int = 100, timeout: float = 5.0, key: str | None = None
) -> AsyncIterator[Endpoint]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Endpoint(url, session, Limit(most), timeout, key)


def called(url: str, body: dict[str, Any] = BODY, **settings: Any) -> Any:
    """The reply to one call, or its fault."""

    async def once() -> Any:
        async with endpoint(url, **settings) as asked:
            try:
                return await asked.call(body)
            except Fault as fault:
                assert asked.load == 0
                return fault

    return asyncio.run(once())


def test_a_call_is_a_post_with_the_key_and_gives_the_parsed_reply(server: MockServer) -> None:
    server.behaviour.key = SECRET
    reply = called(server.url, key=SECRET)
    assert reply["choices"][0]["message"]["content"]
    assert server.counters.bodies == [BODY]
    assert server.counters.headers["Content-Type"] == "application/json"


def test_without_a_key_no_authorization_is_sent(server: MockServer) -> None:
    called(server.url)
    assert "Authorization" not in server.counters.headers


@pytest.mark.parametrize(
    ("fault", "outcome", "passing", "status"),
    [
        (Status(500), "failed", True, 500),
        (Status(502), "failed", True, 502),
        (Status(503), "failed", True, 503),
        (Status(408), "failed", True, 408),
        (Status(429), "overloaded", True, 429),
        (Status(400), "refused", False, 400),
        (Status(401), "refused", False, 401),
        (Status(404), "refused", False, 404),
        (Flaw.HANG, "timeout", True, None),
        (Flaw.RESET, "unreachable", True, None),
        (Flaw.HTML, "invalid", True, None),
        (Flaw.TRUNCATED, "invalid", True, None),
    ],
    ids=str,
)
def test_faults_are_typed(server: MockServer, fault: Any, outcome: str, passing: bool, status: int | None) -> None:
    server.behaviour.faults = every(1, fault)
    found = called(server.url, timeout=0.2 if fault is Flaw.HANG else 5.0)
    assert (found.outcome, found.passing, found.status) == (outcome, passing, status)
    assert server.counters.requests == 1


def test_a_server_that_is_not_there_is_unreachable(server: MockServer) -> None:
    server.kill()
    fault = called(server.url)
    assert (fault.outcome, fault.passing) == ("unreachable", True)
    assert server.url in str(fault)


@pytest.mark.parametrize(
    "raw", [b"hello\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"], ids=["no HTTP", "nothing", "cut off"]
)
def test_a_server_that_breaks_off_is_unreachable(raw: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(raw)
        writer.close()

    async def once() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1") as listener:
            port = listener.sockets[0].getsockname()[1]
            async with endpoint(f"http://127.0.0.1:{port}") as asked:
                await asked.call(BODY)

    with pytest.raises(Fault) as caught:
        asyncio.run(once())
    assert caught.value.outcome == "unreachable"


def test_the_timeout_counts_until_the_last_byte() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
        try:
            while not reader.at_eof():
                writer.write(b" ")
                await asyncio.sleep(0.02)
        finally:
            writer.close()

    async def once() -> None:
        async with await asyncio.start_server(trickle, "127.0.0.1") as listener:
            port = listener.sockets[0].getsockname()[1]
            async with endpoint(f"http://127.0.0.1:{port}", timeout=0.2) as asked:
                await asked.call(BODY)

    with pytest.raises(Fault, match=r"gave no answer within 0\.2 s") as caught:
        asyncio.run(once())
    assert caught.value.outcome == "timeout"


@pytest.mark.parametrize("fault", [Status(500, f"bad\n  key {SECRET}" + "x" * 999), Flaw.HTML], ids=["JSON", "HTML"])
def test_an_error_is_one_short_line_without_the_key(server: MockServer, fault: Any) -> None:
    server.behaviour.faults = every(1, fault)
    told = str(called(server.url, key=SECRET))
    assert len(told) <= TOLD and "\n" not in told and SECRET not in told
    assert server.url in told


def test_calls_beyond_the_limit_wait_first_come_first_served(server: MockServer) -> None:
    server.behaviour.latency = 0.02

    async def six() -> None:
        async with endpoint(server.url, most=2) as asked:
            bodies = [{**BODY, "seed": number} for number in range(6)]
            calls = [asyncio.create_task(asked.call(body)) for body in bodies]
            await asyncio.sleep(0)
            assert (asked.limit.in_flight, asked.load) == (2, 6)
            await asyncio.gather(*calls)
            assert asked.load == 0

    asyncio.run(six())
    assert server.counters.peak == 2
    order = [body["seed"] for body in server.counters.bodies]
    assert [sorted(order[place : place + 2]) for place in (0, 2, 4)] == [[0, 1], [2, 3], [4, 5]]


def give_up_both(hanging: asyncio.Task[Any], waiting: asyncio.Task[Any]) -> None:
    waiting.cancel()
    hanging.cancel()


def give_up_as_it_is_admitted(hanging: asyncio.Task[Any], waiting: asyncio.Task[Any]) -> None:
    hanging.cancel()  # its end admits the waiting one, which is cancelled before it wakes
    asyncio.get_running_loop().call_soon(waiting.cancel)


@pytest.mark.parametrize("give_up", [give_up_both, give_up_as_it_is_admitted])
def test_a_call_that_is_given_up_frees_its_place(
    server: MockServer, give_up: Callable[[asyncio.Task[Any], asyncio.Task[Any]], None]
) -> None:
    server.behaviour.faults = on([1], Flaw.HANG)

    async def three() -> None:
        async with endpoint(server.url, most=1) as asked:
            hanging, waiting, last = (asyncio.create_task(asked.call(BODY)) for _ in range(3))
            while not server.counters.requests:
                await asyncio.sleep(0.01)
            give_up(hanging, waiting)
            await asyncio.wait([hanging, waiting])
            assert (await asyncio.wait_for(last, 5))["choices"]
            assert (asked.load, asked.limit.in_flight) == (0, 0)

    asyncio.run(three())
    assert server.counters.requests == 2


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_heeded_by_every_call(server: MockServer, code: int) -> None:
    server.behaviour.faults = on([1], Status(code, retry_after=0.3))

    async def two() -> float:
        async with endpoint(server.url) as asked:
            with pytest.raises(Fault):
                await asked.call(BODY)
            assert not asked.open
            began = time.monotonic()
            await asyncio.gather(asked.call(BODY), asked.call(BODY))
            assert asked.open
            return time.monotonic() - began

    assert 0.25 < asyncio.run(two()) < 2


def test_a_retry_after_is_heeded_for_a_minute_at_most(server: MockServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.endpoint.LONGEST_PAUSE", 0.1)
    server.behaviour.faults = on([1], Status(429, retry_after=9999))

    async def two() -> Any:
        async with endpoint(server.url) as asked:
            with pytest.raises(Fault):
                await asked.call(BODY)
            return await asyncio.wait_for(asked.call(BODY), 5)

    assert asyncio.run(two())["choices"]


def test_an_overloaded_server_gets_fewer_calls_at_once_and_a_failing_one_as_many(server: MockServer) -> None:
    def peak_after(fault: Status) -> int:
        server.counters.reset()
        server.behaviour.latency = 0.1
        server.behaviour.faults = on(range(1, 9), fault)

        async def twice() -> int:
            async with endpoint(server.url) as asked:
                await asyncio.gather(*(asked.call(BODY) for _ in range(8)), return_exceptions=True)
                server.counters.reset()
                server.behaviour.faults = on([], fault)
                await asyncio.gather(*(asked.call(BODY) for _ in range(8)))
                return server.counters.peak

        return asyncio.run(twice())

    assert peak_after(Status(429)) == 4
    assert peak_after(Status(500)) == 8


NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("0.5", 0.5),
        ("-1", 0.0),
        ("Tue, 01 Jan 2030 12:00:07 GMT", 7.0),
        ("Tue, 01 Jan 2030 11:00:00 GMT", 0.0),
        ("Tue, 01 Jan 2030 12:00:07 -0000", None),
        ("soon", None),
        ("", None),
        ("nan", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds
