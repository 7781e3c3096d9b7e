"""Models behind servers of every kind: what they can do, how calls end under each fault, and where calls go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import aiohttp
import pytest

from agents.chat_completions import ABSENT, Abilities
from agents.endpoint import Endpoint
from agents.errors import BadInput
from agents.language_model import Completion, Key, Message, ModelError, Prompt
from agents.limit import Limit
from agents.rating import SCALE_LABELS, label_rating
from agents.server import (
    KEY_VARIABLE,
    LONGEST_BACKOFF,
    Address,
    Patience,
    ServerModel,
    address,
    backoff,
    chosen,
    connected,
)
from tests.fakes.faults import Fault, Flaw, Status, every, never, on
from tests.fakes.mock_server import Behaviour, MockServer, token_id

T = TypeVar("T")

QUICK = Patience(timeout=5.0, retries=2, backoff=0.01)
WHOLE = Abilities(forced=True, words=True, top=20, seeds=True, system=True)
BARE = Behaviour(forced=False, word_ids=False, top=0, seeds=False, system=False, usage=False, refuses_unknown=True)

DRAFT = Prompt(
    key=Key(1, 0, "draft"),
    messages=(Message("system", "Be brief."), Message("user", "Why?")),
    max_tokens=8,
    temperature=0.8,
    top_p=0.95,
    seed=7,
)
VERDICT = replace(DRAFT, max_tokens=1, start="This advice is", choices=(" kind", " cruel"))
RATED = (Message("system", "Be frank."), Message("user", "How good is it? Rate it from 1 to 7."))
SCALE = replace(DRAFT, messages=RATED, max_tokens=1, start="Rating: ", choices=SCALE_LABELS)


def of_agent(agent: int, prompt: Prompt = DRAFT) -> Prompt:
    return replace(prompt, key=replace(prompt.key, agent=agent), seed=agent)


@pytest.fixture
def other() -> Iterator[MockServer]:
    with MockServer(keep_bodies=True) as running:
        yield running


@asynccontextmanager
async def model_of(
    *servers: MockServer, patience: Patience = QUICK, key: str | None = None
) -> AsyncIterator[ServerModel]:
    async with connected([Address(server.url, key) for server in servers], patience) as found:
        model = await found.model("mock")
        for server in servers:
            server.counters.reset()
        yield model


def with_model(use: Callable[[ServerModel], Awaitable[T]], *servers: MockServer, **settings: Any) -> T:
    async def whole() -> T:
        async with model_of(*servers, **settings) as model:
            return await use(model)

    return asyncio.run(whole())


def complete(server: MockServer, prompt: Prompt, fault: Fault | None = None, **settings: Any) -> Completion:
    """The completion of `prompt`, under `fault` from the first call after the start on."""

    async def once(model: ServerModel) -> Completion:
        if fault is not None:
            server.behaviour.faults = every(1, fault)
        return await model.complete(prompt)

    return with_model(once, server, **settings)


# What servers can do.


@pytest.mark.parametrize(
    ("behaviour", "can"),
    [
        (Behaviour(), WHOLE),
        (Behaviour(word_ids=False), replace(WHOLE, words=False)),
        (Behaviour(word_ids=False, top=5), replace(WHOLE, words=False, top=5)),
        (Behaviour(top=0), replace(WHOLE, words=False, top=0)),
        (Behaviour(seeds=False), replace(WHOLE, seeds=False)),
        (Behaviour(system=False), replace(WHOLE, system=False)),
        (Behaviour(forced=False), replace(WHOLE, forced=False, words=False)),  # it takes no notice of the fields
        (Behaviour(refuses_unknown=True), replace(WHOLE, forced=False, words=False)),
        (BARE, Abilities(forced=False, words=False, top=0, seeds=False, system=False)),
    ],
)
def test_abilities_are_found_by_their_effect(behaviour: Behaviour, can: Abilities) -> None:
    async def found(model: ServerModel) -> Abilities:
        assert model.reads_words is can.words
        return model.can

    with MockServer(replace(behaviour)) as server:
        assert with_model(found, server) == can


@pytest.mark.parametrize(
    "fault",
    [
        Status(500),
        Status(429, retry_after=0.01),
        Flaw.RESET,
        Flaw.HTML,
        Flaw.TRUNCATED,
        Flaw.NO_CHOICES,
        Flaw.NO_LOGPROBS,
        Flaw.BLANK,
        Flaw.NULL,
    ],
    ids=str,
)
def test_a_passing_fault_at_the_start_costs_no_ability(server: MockServer, fault: Fault) -> None:
    server.behaviour.faults = on([3, 5], fault)  # a probe is tried three times

    async def found(model: ServerModel) -> Abilities:
        return model.can

    assert with_model(found, server) == WHOLE


def test_abilities_are_asked_for_once(server: MockServer) -> None:
    async def twice(model: ServerModel) -> None:
        await model.complete(DRAFT)
        await model.complete(of_agent(1))

    with_model(twice, server)
    assert server.counters.requests == 2


def test_several_endpoints_do_what_all_of_them_do(server: MockServer, other: MockServer) -> None:
    server.behaviour.seeds = False
    other.behaviour.top, other.behaviour.word_ids = 5, False

    async def found(model: ServerModel) -> Abilities:
        return model.can

    assert with_model(found, server, other) == replace(WHOLE, words=False, top=5, seeds=False)


# Calls that go well.


def test_a_draft(server: MockServer) -> None:
    completion = complete(server, DRAFT)
    assert completion.text and completion.finish == "length"
    assert (completion.completion_tokens, completion.retries, completion.choice_logprobs) == (8, 0, None)
    assert completion.prompt_tokens > 8
    assert completion == complete(server, DRAFT)
    assert completion.text != complete(server, of_agent(3)).text


def test_a_server_that_tells_what_it_had_cached_is_believed(server: MockServer) -> None:
    server.behaviour.cached = True
    assert complete(server, DRAFT).cached_tokens == 16


def test_a_verdict_asks_for_its_words_by_their_ids(server: MockServer) -> None:
    completion = complete(server, VERDICT)
    assert server.counters.bodies[-1]["logprob_token_ids"] == [token_id(" kind"), token_id(" cruel")]
    assert completion.text.startswith("This advice is ")
    assert completion.choice_logprobs is not None
    assert all(-9 <= value <= -4 for value in completion.choice_logprobs)


def test_words_are_looked_up_once_however_many_calls_wait_for_them(
    server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = Endpoint.ask

    async def counted(self: Endpoint, path: str, body: dict[str, Any] | None = None) -> Any:
        asked.append(path)
        return await ask(self, path, body)

    async def many(model: ServerModel) -> None:
        asked.clear()
        await asyncio.gather(*(model.complete(of_agent(agent, VERDICT)) for agent in range(20)))

    monkeypatch.setattr(Endpoint, "ask", counted)
    with_model(many, server)
    assert asked.count("/tokenize") == 3  # the start alone, and with each of two words


def test_words_are_looked_up_again_after_a_fault(server: MockServer) -> None:
    async def through_a_restart(model: ServerModel) -> list[Completion]:
        server.kill()
        threading.Timer(0.3, server.restart).start()
        return await asyncio.gather(*(model.complete(of_agent(agent, VERDICT)) for agent in range(5)))

    completions = with_model(through_a_restart, server, patience=Patience(timeout=5.0, retries=8, backoff=0.05))
    assert all(completion.choice_logprobs and completion.retries for completion in completions)


def test_words_without_tokens_of_their_own_are_not_read(server: MockServer) -> None:
    prompt = replace(VERDICT, choices=(" kind", " kind hearted"))
    assert complete(server, prompt).choice_logprobs is None


def test_a_server_without_system_messages_is_asked_for_words_in_the_chat_that_is_sent(server: MockServer) -> None:
    server.behaviour.system = False
    assert complete(server, VERDICT).choice_logprobs is not None
    assert [turn["role"] for turn in server.counters.bodies[-1]["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (Behaviour(), 7),
        (Behaviour(word_ids=False), 7),
        (Behaviour(forced=False), 7),
        (Behaviour(refuses_unknown=True, top=5), 5),
    ],
)
def test_a_scale_reads_the_labels_probabilities(behaviour: Behaviour, told: int) -> None:
    with MockServer(replace(behaviour)) as server:
        completion = complete(server, SCALE)
    assert completion.text.startswith("Rating: ")
    assert completion.choice_logprobs is not None and len(completion.choice_logprobs) == 7
    assert sum(value > ABSENT for value in completion.choice_logprobs) == told


def test_a_scale_without_probabilities_gives_the_reply() -> None:
    with MockServer(replace(BARE)) as server:
        completion = complete(server, SCALE)
    assert completion.choice_logprobs is None
    assert label_rating(completion.text) in range(1, 8)


# Faults.

TIMES = 1 + QUICK.retries


@pytest.mark.parametrize(
    ("fault", "outcome", "attempts"),
    [
        (Status(500), "failed", TIMES),
        (Status(400), "refused", 1),
        (Status(401), "refused", 1),
        (Status(429, retry_after=0.05), "overloaded", TIMES),
        (Flaw.HANG, "timeout", 2),
        (Flaw.RESET, "unreachable", TIMES),
        (Flaw.HTML, "invalid", TIMES),
        (Flaw.TRUNCATED, "invalid", TIMES),
        (Flaw.NO_CHOICES, "invalid", TIMES),
        (Flaw.TOO_LONG, "invalid", TIMES),
        (Flaw.NO_LOGPROBS, "invalid", TIMES),
        (Flaw.NAN, "invalid", TIMES),
    ],
    ids=str,
)
@pytest.mark.parametrize("prompt", [VERDICT, SCALE], ids=["verdict", "scale"])
def test_a_fault_that_stays_ends_the_call(
    server: MockServer, prompt: Prompt, fault: Fault, outcome: str, attempts: int
) -> None:
    patience = replace(QUICK, timeout=0.2) if fault is Flaw.HANG else QUICK
    with pytest.raises(ModelError) as caught:
        complete(server, prompt, fault, patience=patience)
    assert (caught.value.outcome, caught.value.retries) == (outcome, attempts - 1)
    assert server.counters.requests == attempts


@pytest.mark.parametrize("fault", [Flaw.NO_LOGPROBS, Flaw.NAN], ids=str)
@pytest.mark.parametrize("forced", [True, False])
def test_likeliest_tokens_that_are_missing_end_the_call(server: MockServer, forced: bool, fault: Fault) -> None:
    server.behaviour.word_ids, server.behaviour.forced = False, forced
    with pytest.raises(ModelError, match="^invalid: ") as caught:
        complete(server, SCALE, fault)
    assert caught.value.retries == QUICK.retries


@pytest.mark.parametrize("fault", [Flaw.BLANK, Flaw.NULL], ids=str)
def test_a_blank_reply_is_no_fault_and_gives_no_probabilities(server: MockServer, fault: Fault) -> None:
    assert complete(server, DRAFT, fault).text == ""
    server.behaviour.faults = never
    assert complete(server, SCALE, fault).choice_logprobs is None
    assert server.counters.requests == 1


def test_half_a_pair_of_surrogates_is_replaced(server: MockServer) -> None:
    assert complete(server, DRAFT, Flaw.SURROGATE).text.endswith("\ufffd")


@pytest.mark.parametrize(
    "fault",
    [Status(500), Status(429, retry_after=0.05), Flaw.RESET, Flaw.HTML, Flaw.TRUNCATED, Flaw.NO_CHOICES, Flaw.NAN],
    ids=str,
)
def test_a_fault_that_passes_costs_a_retry(server: MockServer, fault: Fault) -> None:
    async def once(model: ServerModel) -> Completion:
        server.behaviour.faults = on([1], fault)
        return await model.complete(SCALE)

    completion = with_model(once, server)
    assert completion.retries == 1
    server.behaviour.faults = never
    assert replace(completion, retries=0) == complete(server, SCALE)


def test_calls_outlast_a_server_that_is_killed_and_started_again(server: MockServer) -> None:
    async def through_a_restart(model: ServerModel) -> list[Completion]:
        server.behaviour.latency = 0.1
        threading.Timer(0.05, server.kill).start()
        threading.Timer(0.4, server.restart).start()
        return await asyncio.gather(*(model.complete(of_agent(agent)) for agent in range(30)))

    async def undisturbed(model: ServerModel) -> list[Completion]:
        return await asyncio.gather(*(model.complete(of_agent(agent)) for agent in range(30)))

    patience = Patience(timeout=5.0, retries=8, backoff=0.05)
    completions = with_model(through_a_restart, server, patience=patience)
    assert all(completion.retries for completion in completions)
    texts = [completion.text for completion in with_model(undisturbed, server)]
    assert [completion.text for completion in completions] == texts


def test_calls_that_are_given_up_end_at_once(server: MockServer) -> None:
    async def given_up(model: ServerModel) -> None:
        server.behaviour.faults = every(1, Flaw.HANG)
        calls = [asyncio.create_task(model.complete(of_agent(agent))) for agent in range(5)]
        await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        await asyncio.wait_for(asyncio.wait(calls), 1)
        assert model.endpoints[0].load == 0

    with_model(given_up, server)


# Many calls, and where they go.


def test_every_ready_call_is_in_flight(server: MockServer) -> None:
    async def at_once(model: ServerModel) -> None:
        server.behaviour.faults = every(1, Flaw.HANG)  # all must be there together, however slow this machine
        calls = [asyncio.create_task(model.complete(of_agent(agent))) for agent in range(600)]
        async with asyncio.timeout(30):
            while server.counters.in_flight < 600:
                await asyncio.sleep(0.02)
        assert model.endpoints[0].load == model.endpoints[0].limit.in_flight == 600
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)

    with_model(at_once, server, patience=Patience())
    assert (server.counters.peak, server.counters.requests) == (600, 600)


def test_a_server_that_takes_fewer_calls_gets_fewer_and_all_are_answered(server: MockServer) -> None:
    async def at_once(model: ServerModel) -> list[Completion]:
        server.behaviour.latency = 0.02
        server.behaviour.capacity, server.behaviour.retry_after = 20, 0.05
        return await asyncio.gather(*(model.complete(of_agent(agent)) for agent in range(120)))

    completions = with_model(at_once, server, patience=replace(QUICK, retries=8))
    assert len(completions) == 120 and max(completion.retries for completion in completions) >= 1
    assert server.counters.by_status[200] == 120
    assert server.counters.by_status[429] < 240  # it halves a few times, it does not hammer


def agents_at(server: MockServer) -> list[int]:
    """The agents whose calls a server got: their seeds."""
    return sorted(body["seed"] for body in server.counters.bodies)


def test_an_agents_calls_go_to_one_endpoint(server: MockServer, other: MockServer) -> None:
    async def rounds(model: ServerModel) -> None:
        for _ in range(3):
            await asyncio.gather(*(model.complete(of_agent(agent)) for agent in range(10)))

    with_model(rounds, server, other)
    assert agents_at(server) == sorted([0, 2, 4, 6, 8] * 3)
    assert agents_at(other) == sorted([1, 3, 5, 7, 9] * 3)


def test_calls_go_to_another_endpoint_where_their_own_is_gone(server: MockServer, other: MockServer) -> None:
    async def one_gone(model: ServerModel) -> list[Completion]:
        server.kill()
        return await asyncio.gather(*(model.complete(of_agent(agent)) for agent in range(10)))

    completions = with_model(one_gone, server, other)
    assert [completion.retries for completion in completions] == [1, 0] * 5
    assert agents_at(other) == list(range(10))


def test_words_are_looked_up_elsewhere_where_an_endpoint_is_gone(server: MockServer, other: MockServer) -> None:
    async def one_gone(model: ServerModel) -> Completion:
        server.kill()
        return await model.complete(VERDICT)

    assert with_model(one_gone, server, other).choice_logprobs is not None


def test_an_endpoint_that_asks_for_a_pause_gets_one_and_the_other_takes_its_calls(
    server: MockServer, other: MockServer
) -> None:
    async def one_paused(model: ServerModel) -> None:
        server.behaviour.faults = on([1], Status(429, retry_after=30))
        await model.complete(of_agent(0))
        await asyncio.gather(*(model.complete(of_agent(agent)) for agent in range(10)))

    with_model(one_paused, server, other)
    assert agents_at(server) == [0]
    assert agents_at(other) == sorted([0, *range(10)])


def test_a_busy_endpoint_is_left_for_one_that_is_much_less_busy() -> None:
    session: aiohttp.ClientSession = None  # type: ignore[assignment]
    first, second = (Endpoint(name, session, Limit(100), 1.0) for name in ("first", "second"))
    for _ in range(8):
        first.limit.send()
    assert chosen([first, second], agent=0, attempt=0) is first
    first.limit.send()
    assert chosen([first, second], agent=0, attempt=0) is second
    assert chosen([first, second], agent=1, attempt=0) is second
    second.rest(60)
    assert chosen([first, second], agent=1, attempt=0) is first
    first.rest(60)
    assert chosen([first, second], agent=1, attempt=0) is second  # both rest: the less busy


def test_waits_double_up_to_half_a_minute_and_differ_by_call() -> None:
    for retries in (0, 3, 20, 5000):
        waits = [backoff(0.5, retries, seed) for seed in range(50)]
        middle = min(LONGEST_BACKOFF, 0.5 * 2.0 ** min(retries, 50))
        assert 0.5 * middle <= min(waits) < max(waits) <= 1.5 * middle
        assert len(set(waits)) == 50


# The start, and the key.


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://host:8000", "http://host:8000"),
        ("host:8000", "http://host:8000"),
        ("https://host/v1", "https://host"),
        ("http://host:8000/v1/", "http://host:8000"),
        ("http://host/proxy/v1?key=1#x", "http://host/proxy"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_address_may_be_written_in_several_ways(monkeypatch: pytest.MonkeyPatch, url: str, found: str) -> None:
    monkeypatch.setenv(KEY_VARIABLE, " sk-1\n")
    assert address(url) == Address(found, "sk-1")
    monkeypatch.setenv(KEY_VARIABLE, "")
    assert address(url) == Address(found, None)


@pytest.mark.parametrize("url", ["ftp://host", "http://", "", "http://host:port", "http://[::1", "http://host:0"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match=r"is no address; write http://HOST:PORT"):
        address(url)


@pytest.mark.parametrize("url", ["http://me:sk-very-secret@host", "ftp://me:sk-very-secret@host", "sk-very-secret@h"])
def test_a_password_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(BadInput, match=KEY_VARIABLE) as caught:
        address(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-very\r\nsecret", "sk-very-sécret"])
def test_a_key_that_can_not_be_sent_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(BadInput, match=f"{KEY_VARIABLE}: holds characters that no key has") as caught:
        address("host")
    assert "cret" not in str(caught.value)


def test_the_key_is_sent_and_told_to_nobody_else(server: MockServer) -> None:
    server.behaviour.key = "sk-very-secret"
    assert complete(server, DRAFT, key="sk-very-secret").text
    assert server.counters.headers["Authorization"] == "Bearer sk-very-secret"
    with pytest.raises(ModelError) as caught:
        complete(server, DRAFT, Status(500, "what is sk-very-secret?"), key="sk-very-secret")
    assert "what is …?" in str(caught.value)


def test_a_wrong_key_is_told_at_once_with_what_to_do(server: MockServer) -> None:
    server.behaviour.key = "sk-right"
    with pytest.raises(BadInput, match=f"answered 401.*set {KEY_VARIABLE} to its key"):
        complete(server, DRAFT, key="sk-wrong")


def test_a_server_that_is_not_there_is_told_with_its_address(server: MockServer) -> None:
    server.kill()
    with pytest.raises(BadInput, match=f"{server.url}.*; start it, or mend the address"):
        complete(server, DRAFT)


def test_a_server_that_comes_up_a_little_later_is_waited_for(server: MockServer) -> None:
    server.kill()
    threading.Timer(0.2, server.restart).start()
    assert complete(server, DRAFT).text


def test_a_server_without_models_is_refused(server: MockServer) -> None:
    server.behaviour.models = ()
    with pytest.raises(BadInput, match="lists no models; load one there"):
        complete(server, DRAFT)


def test_a_page_in_place_of_a_list_of_models_is_refused() -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async def connect() -> None:
        async with await asyncio.start_server(page, "127.0.0.1") as listener:
            port = listener.sockets[0].getsockname()[1]
            async with connected([Address(f"http://127.0.0.1:{port}", None)], QUICK):
                raise AssertionError("connected")

    with pytest.raises(BadInput, match="lists no models.*is it OpenAI-compatible"):
        asyncio.run(connect())
