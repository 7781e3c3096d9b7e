"""An OpenAI-compatible server without a model: answers are hashes of their prompt, faults come on order.

`MockServer` serves from a thread of a test; `python -m tests.fakes.mock_server` is a process of its own for benchmarks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import re
import resource
import signal
import socket
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from tests.fakes.faults import Flaw, Plan, Status, never

TOKEN = re.compile(r" ?\w+|[^\w]")
KINDS = bytes(ord("w") if re.match(r"\w", chr(code)) else ord(" ") if code == 32 else ord(".") for code in range(256))
VOCABULARY = 100_000  # token ids are below
BEGIN = VOCABULARY  # the id that add_special_tokens puts before a prompt, as a tokenizer of Llama's does
CONTEXT = 8192
BLOCK = 16  # a prompt's prefix is cached in whole blocks
NATURAL_LENGTH = 12  # tokens of a reply that is not cut
EXCESS = 5  # tokens above max_tokens under Flaw.TOO_LONG
BACKLOG = 8192

LABELS = ("1", "2", "3", "4", "5", "6", "7")
ASKS_FOR_RATING = "Rate it from 1"
WORDS = (" people", " care", " time", " trust", " friends", " listen", " share", " help", " truth", " ask", " wait",
         " learn", " home", " work", " answer", " and")  # fmt: skip
# What else might have been said: none of it is in a reply, two of it are words of a verdict.
OTHERS = (" The", " A", " I", " kind", " It", " good", "\n", ".", ",", " You", " We", " Not", " Very", " To", " In",
          " Of", " That", " This", " Is", " So")  # fmt: skip

# What OpenAI's own chat completions take; it refuses the rest.
OPENAI_FIELDS = {
    "messages", "model", "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
    "max_completion_tokens", "max_tokens", "metadata", "modalities", "n", "parallel_tool_calls", "prediction",
    "presence_penalty", "prompt_cache_key", "reasoning_effort", "response_format", "safety_identifier", "seed",
    "service_tier", "stop", "store", "stream", "stream_options", "temperature", "tool_choice", "tools",
    "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
}  # fmt: skip

T = TypeVar("T")
Body = dict[str, Any]
Messages = Sequence[dict[str, str]]


@dataclass(slots=True)
class Behaviour:
    """What kind of server this is; a test may change it while it runs."""

    latency: float = 0.0  # seconds before an answer; refusals come at once
    models: tuple[str, ...] = ("mock",)
    key: str | None = None  # the bearer token that /v1 asks for
    forced: bool = True  # honours continue_final_message, else takes no notice
    refuses_unknown: bool = False  # 400 for a field that is not OpenAI's own
    word_ids: bool = True  # honours logprob_token_ids and return_tokens_as_token_ids, else takes no notice
    top: int = 20  # the largest top_logprobs; 0 refuses log-probabilities
    seeds: bool = True  # else the text varies by request
    system: bool = True  # else 400 on a system message
    usage: bool = True
    cached: bool = False  # usage tells how much of the prompt was cached
    capacity: int | None = None  # chat requests in flight above which it answers 429
    retry_after: float = 1.0  # seconds, beside that 429
    faults: Plan = never


@dataclass(slots=True)
class Counters:
    """What the server saw of chat requests. `by_status` counts those that got an answer."""

    requests: int = 0
    in_flight: int = 0
    peak: int = 0
    by_status: Counter[int] = field(default_factory=Counter)
    bodies: list[Body] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)  # of the last one, names in any case

    def reset(self) -> None:
        """Forget all but what is in flight."""
        self.requests, self.peak = 0, self.in_flight
        self.by_status.clear()
        self.bodies.clear()
        self.headers = {}


class Refused(Exception):
    """A request that gets an HTTP error."""

    def __init__(self, code: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code, self.retry_after = code, retry_after


# The toy model: tokens, text and log-probabilities, all pure functions of the request.


@lru_cache(maxsize=1 << 16)
def token_id(token: str) -> int:
    """The id of `token`, in [0, VOCABULARY)."""
    return zlib.crc32(_bytes(token)) % VOCABULARY


def chat_text(messages: Messages, *, open_end: bool = False, generation: bool = False) -> str:
    """The chat under the toy template. `open_end` leaves the last message open, `generation` begins a reply."""
    text = "".join(f"<{message['role']}>{message['content']}<end>" for message in messages)
    return (text.removesuffix("<end>") if open_end else text) + ("<assistant>" if generation else "")


@lru_cache(maxsize=1 << 12)
def token_count(text: str) -> int:
    """How many tokens `text` has."""
    if not text.isascii():
        return len(TOKEN.findall(text))
    # Ten times as fast: what is no word counts one each, and a word counts unless a space before it did.
    kinds = text.encode().translate(KINDS)
    return kinds.startswith(b"w") + kinds.count(b".w") + kinds.count(b" ") + kinds.count(b".")


def prompt_tokens(messages: Messages, *, open_end: bool) -> int:
    """The tokens of `chat_text`, counted message by message because prompts share messages."""
    # "<", role, ">" and "<", "end", ">" stand apart from what is between them.
    return sum(token_count(message["content"]) + 6 for message in messages) + (-3 if open_end else 3)


def facts(messages: Messages) -> int:
    """64 bits of the messages, from which the log-probabilities come."""
    text = "\x1f".join([part for message in messages for part in (message["role"], message["content"])])
    return int.from_bytes(blake2b(_bytes(text), digest_size=8).digest(), "big")


def chance(facts: int, number: int) -> float:
    """A hash of both, in [0, 1)."""
    return ((facts ^ (number * 0x9E3779B1)) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) / 2**64


def reply_tokens(facts: int, seed: int | None, *, opening: Sequence[str], spaced: bool, length: int) -> list[str]:
    """`length` tokens: an opening, then why. "{n}" in the opening becomes a rating; `spaced` starts with a space."""
    draw = blake2b(b"%d %d" % (facts, -1 if seed is None else seed), digest_size=32).digest()
    rating = LABELS[draw[4] % len(LABELS)]
    tokens = [token.format(n=rating) for token in opening]
    tokens += [" because", " " + draw[:4].hex()]
    tokens += [WORDS[draw[5 + place % 27] % len(WORDS)] for place in range(length - len(tokens))]
    tokens[0] = tokens[0].lstrip(" ")
    if spaced:
        tokens[0] = " " + tokens[0]
    return tokens[:length]


def label_logprobs(facts: int, token: str) -> list[tuple[str, float]]:
    """The log-probabilities of the labels where `token` was said: nearly all of the mass where it is a label itself."""
    chances = [chance(facts, number) for number in range(len(LABELS))]
    if token.lstrip(" ") not in LABELS:
        return [(label, -3 - 3 * x) for label, x in zip(LABELS, chances, strict=True)]
    space = " " if token.startswith(" ") else ""
    total = math.log(sum(math.exp(4 * x) for x in chances)) + 0.02
    return [(space + label, 4 * x - total) for label, x in zip(LABELS, chances, strict=True)]


def ranked(facts: int, token: str, *, labelled: bool) -> list[tuple[str, float]]:
    """What might have stood in place of `token` before all of OTHERS, itself included, the likeliest first."""
    if not labelled:
        return [(token, -0.25)]
    labels = sorted(label_logprobs(facts, token), key=lambda pair: -pair[1])
    return labels if any(token == label for label, _ in labels) else [(token, -0.7), *labels]


def word_logprob(facts: int, place: int, word: int) -> float:
    """The log-probability of the token id `word` at a place of the reply, in [-9, -4]."""
    return 5 * chance(facts + place, word) - 9


# The reply as JSON, written from parts: building and dumping objects would take most of the server's time.


@lru_cache(maxsize=1 << 16)
def _entry_parts(name: str) -> tuple[str, str]:
    return f'{{"token":{json.dumps(name)},"logprob":', f',"bytes":{[*name.encode("utf-8", "replace")]}'


def _entry(name: str, logprob: float) -> str:
    head, tail = _entry_parts(name)
    return f"{head}{logprob!r}{tail}}}"


def _position(name: str, logprob: float, entries: str) -> str:
    head, tail = _entry_parts(name)
    return f'{head}{logprob!r}{tail},"top_logprobs":[{entries}]}}'


def _name(token: str, as_ids: bool) -> str:
    return f"token_id:{token_id(token)}" if as_ids else token


@lru_cache(maxsize=1 << 6)
def _other_entries(count: int, as_ids: bool) -> str:
    entries = (_entry(_name(other, as_ids), -7 - place / 10) for place, other in enumerate(OTHERS[:count]))
    return "".join("," + entry for entry in entries)


def _top_position(token: str, likeliest: list[tuple[str, float]], top: int, as_ids: bool) -> str:
    said = next(logprob for other, logprob in likeliest if other == token)
    entries = [_entry(_name(other, as_ids), logprob) for other, logprob in likeliest[:top]]
    return _position(_name(token, as_ids), said, ",".join(entries) + _other_entries(top - len(entries), as_ids))


@lru_cache(maxsize=1 << 10)
def _word_entries(words: tuple[int, ...], as_ids: bool) -> str:
    # A template: only the log-probabilities are missing. What an id stands for can't be told from it.
    names = (f"token_id:{word}" if as_ids else "\ufffd" for word in words)
    return "".join("," + "%.6f".join(_entry_parts(name)) + "}" for name in names)


def _word_position(facts: int, place: int, token: str, words: Sequence[int], as_ids: bool) -> str:
    name, own, said = _name(token, as_ids), -0.5 - chance(facts, place), token_id(token)
    others = tuple([word for word in words if word != said])
    logprobs = tuple([word_logprob(facts, place, word) for word in others])
    return _position(name, own, _entry(name, own) + _word_entries(others, as_ids) % logprobs)


def logprobs_json(facts: int, tokens: Sequence[str], body: Body, *, word_ids: bool) -> str:
    """The field `logprobs` of a choice: a position for each token, or null where the request wants none."""
    if not body.get("logprobs"):
        return "null"
    as_ids = word_ids and bool(body.get("return_tokens_as_token_ids"))
    words = body.get("logprob_token_ids") if word_ids else None
    if words:
        positions = [_word_position(facts, place, token, words, as_ids) for place, token in enumerate(tokens)]
    else:
        top = body.get("top_logprobs") or 0
        labelled = 2 if tokens[0] == "Rating" else 0
        positions = [
            _top_position(token, ranked(facts, token, labelled=place == labelled), top, as_ids)
            for place, token in enumerate(tokens)
        ]
    return f'{{"content":[{",".join(positions)}],"refusal":null}}'


def completion_json(body: Body, behaviour: Behaviour, number: int, flaw: Flaw | None = None) -> str:
    """The whole reply to a chat request that `check` let pass."""
    messages: Messages = body["messages"]
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or NATURAL_LENGTH
    length = limit + EXCESS if flaw is Flaw.TOO_LONG else min(limit, NATURAL_LENGTH)
    continues = behaviour.forced and bool(body.get("continue_final_message"))
    start = messages[-1]["content"] if continues else ""
    known = facts(messages)
    tokens = reply_tokens(
        known,
        body.get("seed") if behaviour.seeds else number,
        opening=_opening(messages, start),
        spaced=bool(start) and not start[-1].isspace(),
        length=length,
    )
    if flaw is Flaw.SURROGATE:
        tokens[-1] = "\ud800"
    logprobs = "null" if flaw is Flaw.NO_LOGPROBS else logprobs_json(known, tokens, body, word_ids=behaviour.word_ids)
    if flaw is Flaw.NAN:
        logprobs = re.sub(r'"logprob":[^,]+', '"logprob":NaN', logprobs)
    content = {Flaw.BLANK: '""', Flaw.NULL: "null"}.get(flaw) if flaw else None
    finish = "length" if limit < NATURAL_LENGTH or flaw is Flaw.TOO_LONG else "stop"
    choice = (
        f'{{"index":0,"message":{{"role":"assistant","content":{content or json.dumps("".join(tokens))}}},'
        f'"logprobs":{logprobs},"finish_reason":"{finish}"}}'
    )
    usage = _usage_json(prompt_tokens(messages, open_end=continues), len(tokens), behaviour)
    return (
        f'{{"id":"chatcmpl-{number}","object":"chat.completion","created":0,"model":{json.dumps(body["model"])},'
        f'"choices":[{"" if flaw is Flaw.NO_CHOICES else choice}]{usage}}}'
    )


def _opening(messages: Messages, start: str) -> tuple[str, ...]:
    asked = next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")
    if ASKS_FOR_RATING not in asked:
        return ()
    if not start:
        return ("Rating", ":", " {n}")
    return ("{n}",) if start.rstrip().endswith("Rating:") else ()


def _usage_json(prompt: int, completion: int, behaviour: Behaviour) -> str:
    if not behaviour.usage:
        return ""
    cached = f',"prompt_tokens_details":{{"cached_tokens":{prompt // BLOCK * BLOCK}}}' if behaviour.cached else ""
    counts = f'"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{prompt + completion}'
    return f',"usage":{{{counts}{cached}}}'


def check(body: Body, behaviour: Behaviour) -> None:
    """Raises Refused where a server of this behaviour would refuse the chat request."""
    messages = body.get("messages")
    if not messages or not all(isinstance(message.get("content"), str) for message in messages):
        raise Refused(400, "messages: needs a list of turns with text")
    if body.get("model") not in behaviour.models:
        raise Refused(404, f"The model `{body.get('model')}` does not exist.")
    if behaviour.refuses_unknown and (unknown := sorted(body.keys() - OPENAI_FIELDS)):
        raise Refused(400, f"Unrecognized request argument supplied: {', '.join(unknown)}")
    if body.get("stream"):
        raise Refused(400, "stream: this server does not stream")
    if not behaviour.system and any(message["role"] == "system" for message in messages):
        raise Refused(400, "System role not supported")
    if behaviour.forced and body.get("continue_final_message") and body.get("add_generation_prompt", True):
        raise Refused(400, "Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
    _check_logprobs(body, behaviour)


def _check_logprobs(body: Body, behaviour: Behaviour) -> None:
    top = body.get("top_logprobs") or 0
    if not body.get("logprobs"):
        wanted = "top_logprobs" if top else "logprob_token_ids" if body.get("logprob_token_ids") else ""
        if wanted and (top or behaviour.word_ids):
            raise Refused(400, f"when using `{wanted}`, `logprobs` must be set to true.")
    elif behaviour.top == 0:
        raise Refused(400, "logprobs are not supported by this model")
    elif top > behaviour.top:
        raise Refused(400, f"top_logprobs: found {top}, needs at most {behaviour.top}")


class Endpoint:
    """Every path of the server. `behaviour` decides, `counters` remember."""

    def __init__(self, behaviour: Behaviour, *, keep_bodies: bool = False) -> None:
        self.behaviour = behaviour
        self.counters = Counters()
        self._keep_bodies = keep_bodies

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request."""
        where = (request.method, request.raw_path)
        if where == ("POST", "/v1/chat/completions"):
            return await self._chat(request)
        try:
            return await self._other(request, where)
        except Refused as refused:
            return _refusal(refused)

    async def _other(self, request: web.BaseRequest, where: tuple[str, str]) -> web.Response:
        if where == ("GET", "/v1/models"):
            self._check_key(request)
            models = [{"id": name, "object": "model", "owned_by": "mock"} for name in self.behaviour.models]
            return web.json_response({"object": "list", "data": models})
        if where == ("GET", "/health"):
            return web.Response()
        if where == ("POST", "/tokenize"):
            return web.json_response(_tokenized(_parsed(await request.read())))
        if where == ("GET", "/stats"):
            seen = self.counters
            return web.json_response(
                {
                    "requests": seen.requests,
                    "in_flight": seen.in_flight,
                    "peak": seen.peak,
                    "by_status": seen.by_status,
                    "headers": dict(seen.headers),
                }
            )
        if where == ("POST", "/reset"):
            self.counters.reset()
            return web.Response()
        raise Refused(404, f"{' '.join(where)}: no such path")

    async def _chat(self, request: web.BaseRequest) -> web.Response:
        seen = self.counters
        seen.requests += 1
        seen.in_flight += 1
        seen.peak = max(seen.peak, seen.in_flight)
        number = seen.requests
        try:
            response = await self._answered(request, number)
        except Refused as refused:
            response = _refusal(refused)
        finally:
            seen.in_flight -= 1
        seen.by_status[response.status] += 1
        return response

    async def _answered(self, request: web.BaseRequest, number: int) -> web.Response:
        behaviour, seen = self.behaviour, self.counters
        seen.headers = request.headers
        self._check_key(request)
        if behaviour.capacity is not None and seen.in_flight > behaviour.capacity:
            raise Refused(429, "too many requests in flight", behaviour.retry_after)
        body = _parsed(await request.read())
        if self._keep_bodies:
            seen.bodies.append(body)
        fault = behaviour.faults(number, body)
        if isinstance(fault, Status):
            raise Refused(fault.code, fault.message, fault.retry_after)
        check(body, behaviour)
        if behaviour.latency:
            await asyncio.sleep(behaviour.latency)
        return await _reply(request, body, behaviour, number, fault)

    def _check_key(self, request: web.BaseRequest) -> None:
        key = self.behaviour.key
        if key is not None and request.headers.get("Authorization") != f"Bearer {key}":
            raise Refused(401, "Incorrect API key provided")


async def _reply(
    request: web.BaseRequest, body: Body, behaviour: Behaviour, number: int, flaw: Flaw | None
) -> web.Response:
    if flaw is Flaw.HANG:
        await asyncio.Event().wait()  # cancelled when the client goes
    if flaw is Flaw.RESET:
        _reset(request.transport)
        raise asyncio.CancelledError
    if flaw is Flaw.HTML:
        return web.Response(body=b"<html><body>Bad gateway</body></html>", content_type="text/html")
    text = completion_json(body, behaviour, number, flaw)
    return _json(text[: len(text) // 2] if flaw is Flaw.TRUNCATED else text)


def _json(text: str, status: int = 200) -> web.Response:
    return web.Response(body=text.encode(), status=status, content_type="application/json")


def _refusal(refused: Refused) -> web.Response:
    error = {"message": str(refused), "type": "invalid_request_error", "param": None, "code": refused.code}
    response = _json(json.dumps({"error": error}), refused.code)
    if refused.retry_after is not None:
        response.headers["Retry-After"] = f"{refused.retry_after:g}"
    return response


def _parsed(raw: bytes) -> Body:
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise Refused(400, f"not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused(400, f"needs a JSON object, got {type(body).__name__}")
    return body


def _tokenized(body: Body) -> Body:
    if "prompt" in body:
        ids = [BEGIN] if body.get("add_special_tokens", True) else []
        text = body["prompt"]
    elif "messages" in body:
        ids = [BEGIN] if body.get("add_special_tokens", False) else []
        open_end, generation = body.get("continue_final_message", False), body.get("add_generation_prompt", True)
        if open_end and generation:
            raise Refused(400, "Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
        text = chat_text(body["messages"], open_end=open_end, generation=generation)
    else:
        raise Refused(400, "needs prompt or messages")
    ids += [token_id(token) for token in TOKEN.findall(text)]
    return {"count": len(ids), "max_model_len": CONTEXT, "tokens": ids}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _reset(transport: asyncio.BaseTransport | None) -> None:
    if isinstance(transport, asyncio.Transport) and not transport.is_closing():
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST in place of FIN
        transport.abort()


class Listener:
    """An endpoint on a port of 127.0.0.1, in the running event loop."""

    def __init__(self, protocols: web.Server, server: asyncio.Server) -> None:
        self._protocols, self._server = protocols, server

    @classmethod
    async def start(cls, endpoint: Endpoint, port: int) -> Listener:
        """Listen on `port`, 0 for any; raises OSError where it is taken."""
        # Cancellation frees a place in flight when a client gives up, as on a real server.
        protocols = web.Server(endpoint, access_log=None, handler_cancellation=True)
        loop = asyncio.get_running_loop()
        return cls(protocols, await loop.create_server(protocols, "127.0.0.1", port, backlog=BACKLOG))

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and reset every connection."""
        self._server.close()
        for connection in self._protocols.connections:
            _reset(connection.transport)
        await self._protocols.shutdown(timeout=0)


class MockServer:
    """The endpoint in a thread of its own, from `with` to the end of its block."""

    def __init__(self, behaviour: Behaviour | None = None, *, keep_bodies: bool = False) -> None:
        self._endpoint = Endpoint(behaviour or Behaviour(), keep_bodies=keep_bodies)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._listener: Listener | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where it listens, without /v1; stays the same over `restart`."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def behaviour(self) -> Behaviour:
        """What to change while it runs."""
        return self._endpoint.behaviour

    @property
    def counters(self) -> Counters:
        """What it saw, from its first start on."""
        return self._endpoint.counters

    def __enter__(self) -> Self:
        self._thread.start()
        self.restart()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def kill(self) -> None:
        """Stop listening and reset every connection; nothing to do where it is down."""
        if self._listener is not None:
            self._run(self._listener.stop())
            self._listener = None

    def restart(self) -> None:
        """Listen again, on the same port."""
        self._listener = self._run(Listener.start(self._endpoint, self._port))
        self._port = self._listener.port

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)


async def serve(behaviour: Behaviour, port: int) -> None:
    """Print the URL, then serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    listener = await Listener.start(Endpoint(behaviour), port)
    print(f"http://127.0.0.1:{listener.port}", flush=True)
    await stop.wait()
    await listener.stop()


def main(argv: Sequence[str] | None = None) -> None:
    """Serve as a process of its own."""
    usual = Behaviour()
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.mock_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--latency", type=float, default=usual.latency, help="seconds")
    parser.add_argument("--model", action="append", help="repeatable")
    parser.add_argument("--key")
    parser.add_argument("--top", type=int, default=usual.top, help="largest top_logprobs")
    parser.add_argument("--capacity", type=int, help="chat requests in flight above which it answers 429")
    parser.add_argument("--forced", action=argparse.BooleanOptionalAction, default=usual.forced)
    parser.add_argument("--word-ids", action=argparse.BooleanOptionalAction, default=usual.word_ids)
    options = vars(parser.parse_args(argv))
    port, models = options.pop("port"), options.pop("model")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(serve(Behaviour(**options, models=tuple(models or usual.models)), port))


if __name__ == "__main__":
    main()
