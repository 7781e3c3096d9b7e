"""The mock server seen through plain clients: what it claims to do, it does."""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from email.message import Message
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.rating import WORD_PAIRS
from tests.fakes.faults import Flaw, Plan, Status, every, on
from tests.fakes.mock_server import TOKEN, Behaviour, MockServer, token_count, token_id

CHAT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "May I?"}]
SCALE = [{"role": "user", "content": "How good is it? Rate it from 1 (bad) to 7 (good)."}]
CONTINUE: dict[str, Any] = {"continue_final_message": True, "add_generation_prompt": False}


def send(
    url: str, body: Any = None, *, method: str | None = None, timeout: float = 10, **headers: str
) -> tuple[int, Message, str]:
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            return reply.status, reply.headers, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def chat(server: MockServer, messages: list[dict[str, str]] = CHAT, **fields: Any) -> dict[str, Any]:
    body = {"model": "mock", "messages": messages, "seed": 1} | fields
    status, _, text = send(f"{server.url}/v1/chat/completions", body)
    assert status == 200, text
    reply: dict[str, Any] = json.loads(text)
    return reply


def content(reply: dict[str, Any]) -> Any:
    return reply["choices"][0]["message"]["content"]


def positions(reply: dict[str, Any]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = reply["choices"][0]["logprobs"]["content"]
    return entries


def refused(server: MockServer, messages: list[dict[str, str]] = CHAT, **fields: Any) -> int:
    body = {"model": "mock", "messages": messages} | fields
    status, _, text = send(f"{server.url}/v1/chat/completions", body)
    assert json.loads(text)["error"]["code"] == status
    return status


def ids(server: MockServer, **body: Any) -> list[int]:
    reply = json.loads(send(f"{server.url}/tokenize", {"model": "mock"} | body)[2])
    assert reply["count"] == len(reply["tokens"]) and reply["max_model_len"] > 0
    tokens: list[int] = reply["tokens"]
    return tokens


def verdict(server: MockServer, **fields: Any) -> dict[str, Any]:
    started = [*CHAT, {"role": "assistant", "content": "This advice is"}]
    return chat(server, started, max_tokens=1, logprobs=True, **CONTINUE, **fields)


def probability(entries: list[dict[str, Any]]) -> float:
    return sum(math.exp(entry["logprob"]) for entry in entries)


def test_models_health_and_unknown_paths(server: MockServer) -> None:
    server.behaviour.models = ("a", "b")
    models = json.loads(send(f"{server.url}/v1/models")[2])["data"]
    assert [model["id"] for model in models] == ["a", "b"]
    assert send(f"{server.url}/health")[0] == 200
    assert send(f"{server.url}/v1/nothing")[0] == 404
    assert refused(server, model="c") == 404


def test_tokens(server: MockServer) -> None:
    assert ids(server, prompt=" kind words.", add_special_tokens=False) == [
        token_id(token) for token in (" kind", " words", ".")
    ]
    assert ids(server, prompt="x")[1:] == ids(server, prompt="x", add_special_tokens=False)
    words = [word for pairs in WORD_PAIRS.values() for pair in pairs for word in pair]
    assert len({token_id(word) for word in words}) == len(words)


@given(st.text() | st.text(alphabet="a_1 .\n\x1f"))
def test_tokens_are_counted_as_they_are_cut(text: str) -> None:
    assert token_count(text) == len(TOKEN.findall(text))


def test_tokens_of_a_chat(server: MockServer) -> None:
    closed = ids(server, messages=CHAT, add_generation_prompt=False)
    opened = ids(server, messages=CHAT, **CONTINUE)
    begun = ids(server, messages=CHAT)
    assert closed[: len(opened)] == opened and len(closed) == len(opened) + 3
    assert begun[: len(closed)] == closed and len(begun) == len(closed) + 3
    assert chat(server)["usage"]["prompt_tokens"] == len(begun)
    assert chat(server, **CONTINUE)["usage"]["prompt_tokens"] == len(opened)
    both = {"messages": CHAT, "continue_final_message": True}
    assert send(f"{server.url}/tokenize", both)[0] == 400


def test_a_reply_depends_on_messages_and_seed_alone(server: MockServer) -> None:
    first = content(chat(server))
    assert first.startswith("because ")
    assert content(chat(server, temperature=0.3)) == first
    assert content(chat(server, seed=2)) != first
    assert content(chat(server, CHAT[1:])) != first
    server.behaviour.seeds = False
    assert content(chat(server)) != content(chat(server))


def test_a_reply_ends_at_max_tokens(server: MockServer) -> None:
    whole, cut = chat(server, max_tokens=100), chat(server, max_tokens=3)
    assert whole["choices"][0]["finish_reason"] == "stop" and whole["usage"]["completion_tokens"] == 12
    assert cut["choices"][0]["finish_reason"] == "length" and cut["usage"]["completion_tokens"] == 3
    assert content(whole).startswith(content(cut))
    assert len(ids(server, prompt=content(whole), add_special_tokens=False)) == 12


def test_a_forced_start_is_continued_or_ignored(server: MockServer) -> None:
    started = [*CHAT, {"role": "assistant", "content": "This advice is"}]
    assert content(chat(server, started, **CONTINUE)).startswith(" because ")
    assert refused(server, started, continue_final_message=True) == 400
    server.behaviour.forced = False
    assert content(chat(server, started, **CONTINUE)).startswith("because ")


def test_log_probabilities_of_named_tokens(server: MockServer) -> None:
    wanted = [token_id(" kind"), token_id(" cruel")]
    named = verdict(server, logprob_token_ids=wanted, return_tokens_as_token_ids=True)
    (position,) = positions(named)
    found = {entry["token"]: entry["logprob"] for entry in position["top_logprobs"]}
    assert list(found) == [f"token_id:{token_id(' because')}", *(f"token_id:{word}" for word in wanted)]
    assert found[f"token_id:{wanted[0]}"] != found[f"token_id:{wanted[1]}"]
    assert probability(position["top_logprobs"]) < 1
    assert named["choices"] == verdict(server, logprob_token_ids=wanted, return_tokens_as_token_ids=True)["choices"]
    assert refused(server, logprob_token_ids=wanted) == 400
    server.behaviour.word_ids = False
    (plain,) = positions(verdict(server, logprob_token_ids=wanted, return_tokens_as_token_ids=True))
    assert plain["token"] == " because" and plain["top_logprobs"] == []


def test_top_log_probabilities_hold_the_labels(server: MockServer) -> None:
    (position,) = positions(verdict(server, top_logprobs=20))
    tokens = [entry["token"] for entry in position["top_logprobs"]]
    assert len(tokens) == len(set(tokens)) == 20 and set("1234567") < set(tokens)
    assert 0.5 < probability(position["top_logprobs"]) < 1
    assert position["bytes"] == list(b" because")
    assert refused(server, logprobs=True, top_logprobs=21) == 400
    assert refused(server, top_logprobs=2) == 400
    server.behaviour.top = 0
    assert refused(server, logprobs=True) == 400


def test_a_rating_stands_behind_its_word(server: MockServer) -> None:
    reply = chat(server, SCALE, logprobs=True, top_logprobs=20)
    tokens = [position["token"] for position in positions(reply)]
    assert "".join(tokens) == content(reply) and tokens[:2] == ["Rating", ":"] and tokens[2].strip() in set("1234567")
    labelled = [
        place
        for place, position in enumerate(positions(reply))
        if {f" {n}" for n in range(1, 8)} <= {entry["token"] for entry in position["top_logprobs"]}
    ]
    assert labelled == [2]
    own = {entry["token"]: entry["logprob"] for entry in positions(reply)[2]["top_logprobs"]}
    assert own[tokens[2]] == positions(reply)[2]["logprob"] and 0.9 < sum(map(math.exp, own.values())) < 1
    assert {content(chat(server, SCALE, seed=seed))[:9] for seed in range(60)} == {f"Rating: {n}" for n in range(1, 8)}


@pytest.mark.parametrize(("start", "space"), [("Rating: ", ""), ("Rating:", " ")])
def test_a_forced_rating_begins_with_its_label(server: MockServer, start: str, space: str) -> None:
    started = [*SCALE, {"role": "assistant", "content": start}]
    (position,) = positions(chat(server, started, max_tokens=1, logprobs=True, top_logprobs=7, **CONTINUE))
    assert {entry["token"] for entry in position["top_logprobs"]} == {f"{space}{n}" for n in range(1, 8)}
    assert position["token"].strip() in set("1234567")


def test_refusals(server: MockServer) -> None:
    server.behaviour.refuses_unknown = True
    assert refused(server, top_k=3) == 400
    chat(server, top_p=0.9)
    server.behaviour.system = False
    assert refused(server) == 400
    chat(server, CHAT[1:])
    assert refused(server, stream=True) == 400
    assert send(f"{server.url}/v1/chat/completions", b"{")[0] == 400


def test_the_key(server: MockServer) -> None:
    server.behaviour.key = "secret"
    assert refused(server) == 401
    assert send(f"{server.url}/v1/models")[0] == 401
    assert send(f"{server.url}/v1/models", Authorization="Bearer secret")[0] == 200


def test_usage_and_cached_tokens(server: MockServer) -> None:
    long = [{"role": "user", "content": "word " * 40}]
    assert "prompt_tokens_details" not in chat(server, long)["usage"]
    server.behaviour.cached = True
    assert chat(server, long)["usage"]["prompt_tokens_details"] == {"cached_tokens": 48}  # of 50
    server.behaviour.usage = False
    assert "usage" not in chat(server)


def test_counters_tell_what_was_asked(server: MockServer) -> None:
    chat(server, seed=7)
    refused(server, model="c")
    seen = server.counters
    assert (seen.requests, seen.peak, seen.in_flight) == (2, 1, 0)
    assert seen.by_status == {200: 1, 404: 1}
    assert [body.get("seed") for body in seen.bodies] == [7, None]
    assert seen.headers["user-agent"].startswith("Python-urllib")
    assert json.loads(send(f"{server.url}/stats")[2])["by_status"] == {"200": 1, "404": 1}
    send(f"{server.url}/reset", method="POST")
    assert (seen.requests, seen.peak, seen.by_status, seen.bodies) == (0, 0, {}, [])


async def statuses(url: str, requests: int) -> list[int]:
    body = {"model": "mock", "messages": CHAT}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one() -> int:
            async with session.post(f"{url}/v1/chat/completions", json=body) as reply:
                await reply.read()
                return reply.status

        return await asyncio.gather(*(one() for _ in range(requests)))


def test_latency_is_waited_side_by_side(server: MockServer) -> None:
    server.behaviour.latency = 0.5
    begin = time.monotonic()
    assert asyncio.run(statuses(server.url, 20)) == [200] * 20
    assert 0.5 <= time.monotonic() - begin < 5
    assert server.counters.peak == 20


def test_what_is_above_capacity_is_sent_away(server: MockServer) -> None:
    server.behaviour.capacity, server.behaviour.latency, server.behaviour.retry_after = 5, 0.5, 0.25
    assert sorted(asyncio.run(statuses(server.url, 20))) == [200] * 5 + [429] * 15
    server.behaviour.capacity = 0
    _, headers, _ = send(f"{server.url}/v1/chat/completions", {"model": "mock", "messages": CHAT})
    assert headers["Retry-After"] == "0.25"


@pytest.mark.parametrize(("plan", "struck"), [(on([2, 3], Status(500)), [2, 3]), (every(2, Status(500)), [2, 4])])
def test_a_plan_strikes_its_requests(server: MockServer, plan: Plan, struck: list[int]) -> None:
    server.behaviour.faults = plan
    found = [send(f"{server.url}/v1/chat/completions", {"model": "mock", "messages": CHAT})[0] for _ in range(4)]
    assert [number for number, status in enumerate(found, start=1) if status == 500] == struck


@pytest.mark.parametrize("fault", [Status(500), Status(400, "no such thing"), Status(429, retry_after=3)])
def test_an_error_has_a_message_in_json(server: MockServer, fault: Status) -> None:
    server.behaviour.faults = every(1, fault)
    status, headers, text = send(f"{server.url}/v1/chat/completions", {"model": "mock", "messages": CHAT})
    assert status == fault.code and json.loads(text)["error"]["message"] == fault.message
    assert headers.get("Retry-After") == (None if fault.retry_after is None else "3")


def flawed(server: MockServer, flaw: Flaw) -> str:
    server.behaviour.faults = every(1, flaw)
    body = {"model": "mock", "messages": CHAT, "max_tokens": 20, "logprobs": True, "top_logprobs": 2}
    status, headers, text = send(f"{server.url}/v1/chat/completions", body, timeout=0.5)
    assert status == 200
    assert headers.get_content_type() == ("text/html" if flaw is Flaw.HTML else "application/json")
    return text


def test_flaws_of_transport(server: MockServer) -> None:
    with pytest.raises(TimeoutError):
        flawed(server, Flaw.HANG)
    with pytest.raises(ConnectionResetError):
        flawed(server, Flaw.RESET)
    deadline = time.monotonic() + 5
    while server.counters.in_flight and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.counters.in_flight == 0 and server.counters.requests == 2 and not server.counters.by_status


@pytest.mark.parametrize("flaw", [Flaw.HTML, Flaw.TRUNCATED])
def test_flaws_that_are_no_json(server: MockServer, flaw: Flaw) -> None:
    with pytest.raises(ValueError):
        json.loads(flawed(server, flaw))


def test_flaws_of_a_reply(server: MockServer) -> None:
    assert json.loads(flawed(server, Flaw.NO_CHOICES))["choices"] == []
    assert content(json.loads(flawed(server, Flaw.BLANK))) == ""
    assert content(json.loads(flawed(server, Flaw.NULL))) is None
    assert content(json.loads(flawed(server, Flaw.SURROGATE))).endswith("\ud800")
    assert json.loads(flawed(server, Flaw.NO_LOGPROBS))["choices"][0]["logprobs"] is None
    long = json.loads(flawed(server, Flaw.TOO_LONG))
    assert long["usage"]["completion_tokens"] == len(positions(long)) == 25
    marred = positions(json.loads(flawed(server, Flaw.NAN)))
    assert all(math.isnan(entry["logprob"]) for place in marred for entry in (place, *place["top_logprobs"]))


def test_killed_and_back_on_the_same_port(server: MockServer) -> None:
    server.behaviour.faults = on([1], Flaw.HANG)
    kept = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    kept.request("POST", "/v1/chat/completions", json.dumps({"model": "mock", "messages": CHAT}))
    while not server.counters.requests:
        time.sleep(0.01)
    server.kill()
    with pytest.raises(ConnectionResetError):
        kept.getresponse()
    kept.close()
    with pytest.raises(urllib.error.URLError, match="refused"):
        send(f"{server.url}/health")
    server.restart()
    assert content(chat(server))


def test_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "tests.fakes.mock_server", "--model", "a", "--no-forced"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        body = {"model": "a", "messages": CHAT, "continue_final_message": True}
        assert send(f"{url}/v1/chat/completions", body)[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_a_behaviour_can_be_given_at_the_start() -> None:
    with MockServer(Behaviour(models=("a",))) as server:
        assert content(chat(server, model="a"))
        assert server.counters.bodies == []
