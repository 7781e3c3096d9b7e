"""Language models behind OpenAI-compatible servers: vLLM, and others that do less.

Every call that is ready is in flight. A call goes to the endpoint that its agent's calls go to, whose cache of
prefixes is warm, unless another is much less busy; what fails is tried again, elsewhere where there is an elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import reduce
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp

from agents.abilities import abilities
from agents.canonical import digest_of
from agents.chat_completions import (
    Abilities,
    Unreadable,
    Withheld,
    WordIds,
    body_of,
    completion_of,
    tokenize_body,
)
from agents.endpoint import Endpoint, Fault
from agents.errors import BadInput
from agents.language_model import Completion, ModelError, Prompt
from agents.limit import Limit

T = TypeVar("T")

KEY_VARIABLE = "SOCIAL_SANDBOX_API_KEY"
MOST_CONNECTIONS = 8192  # far more than a server computes at once; each costs memory, and a port
SPARE_FILES = 64  # that the process keeps for everything else
LONGEST_BACKOFF = 30.0  # seconds between two attempts
START_WAITS = (0.25, 1.0)  # seconds between the attempts to reach a server at the start
SLACK = 8  # calls by which another endpoint must be less busy before a warm cache is left


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may take: `timeout` seconds an attempt, `retries` more attempts, `backoff` s before the first.

    The waits double up to half a minute. With 8 retries they add up to one and a half minutes, in which a server can
    be restarted. A call that timed out is tried only once more.
    """

    timeout: float = 300.0
    retries: int = 8
    backoff: float = 0.5


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is and the key that it wants."""

    url: str
    key: str | None


@dataclass(slots=True)
class ServerModel:
    """A LanguageModel behind one or several endpoints. `can` is what all of them do."""

    name: str
    endpoints: Sequence[Endpoint]
    can: Abilities
    patience: Patience
    digest: str = field(init=False)
    reads_words: bool = field(init=False)
    batch_invariant: bool = True  # as far as it is ours: what is sent beside a call does not change it
    _word_ids: dict[tuple[str, tuple[str, ...]], asyncio.Task[WordIds | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.digest = digest_of({"served": self.name})
        self.reads_words = self.can.words

    async def complete(self, prompt: Prompt) -> Completion:
        """Answer `prompt`; raises ModelError when the last attempt has failed."""
        timeouts = retries = 0
        while True:
            endpoint = chosen(self.endpoints, prompt.key.agent, retries)
            try:
                word_ids = await self._ids_of(prompt, endpoint) if prompt.choices and self.can.words else None
                reply = await endpoint.call(body_of(prompt, self.name, self.can, word_ids))
                return completion_of(prompt, reply, self.can, word_ids, retries)
            except Unreadable as error:
                fault = Fault("invalid", str(error))
            except Withheld as error:
                raise ModelError("refused", str(error), retries) from error
            except Fault as error:
                fault = error
            timeouts += fault.outcome == "timeout"
            if not fault.passing or retries == self.patience.retries or timeouts == 2:
                raise ModelError(fault.outcome, str(fault), retries) from fault
            await asyncio.sleep(backoff(self.patience.backoff, retries, prompt.seed))
            retries += 1

    async def _ids_of(self, prompt: Prompt, endpoint: Endpoint) -> WordIds | None:
        """The tokens of a prompt's choices, found once: they depend on its start and choices alone. Raises Fault."""
        key = (prompt.start, prompt.choices)
        if key not in self._word_ids:
            self._word_ids[key] = asyncio.create_task(find_word_ids(endpoint, self.name, prompt, self.can))
        task = self._word_ids[key]
        try:
            return await asyncio.shield(task)
        except Fault:
            if self._word_ids.get(key) is task:  # else another call already tries again
                del self._word_ids[key]
            raise


@dataclass(slots=True)
class Servers:
    """The servers of a run: which models they have, each with the endpoints that serve it."""

    listed: dict[str, list[Endpoint]]
    patience: Patience

    async def model(self, name: str) -> ServerModel:
        """The model of that name, with what its servers can do found out. Raises BadInput where one does not answer."""
        endpoints = self.listed[name]
        found = await asyncio.gather(*(_asked(abilities, endpoint, name) for endpoint in endpoints))
        return ServerModel(name, endpoints, reduce(_both, found), self.patience)


@asynccontextmanager
async def connected(addresses: Sequence[Address], patience: Patience) -> AsyncIterator[Servers]:
    """Connect to the servers and ask each for its models. Raises BadInput where one does not answer."""
    connections = max(1, allowed_connections() // max(1, len(addresses)))
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),  # vLLM closes idle connections after 5 s
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),  # nothing here sets cookies, and looking for them takes time
    )
    async with session:
        endpoints = [
            Endpoint(address.url, session, Limit(connections), patience.timeout, address.key) for address in addresses
        ]
        listed: dict[str, list[Endpoint]] = {}
        for endpoint, names in zip(endpoints, await asyncio.gather(*map(_models, endpoints)), strict=True):
            for name in names:
                listed.setdefault(name, []).append(endpoint)
        yield Servers(listed, patience)


def address(url: str) -> Address:
    """The server that a user named by `url`, with the key of $SOCIAL_SANDBOX_API_KEY. Raises BadInput."""
    if "@" in url:
        raise BadInput(f"--server: holds a password; leave it out and set {KEY_VARIABLE} in the environment")
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # of a port or a bracketed host that is none
        usable = False
    if not usable:
        raise BadInput(f"--server {url}: is no address; write http://HOST:PORT")
    path = parts.path.rstrip("/").removesuffix("/v1")
    return Address(f"{parts.scheme}://{parts.netloc}{path}", api_key())


def api_key() -> str | None:
    """The key in the environment, without what a file's last line adds to it. Raises BadInput."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key.isascii() or not key.isprintable():
        raise BadInput(f"{KEY_VARIABLE}: holds characters that no key has; set it anew")
    return key or None


def chosen(endpoints: Sequence[Endpoint], agent: int, attempt: int) -> Endpoint:
    """The endpoint of a call: its agent's own, or the least busy where that one is shut or much busier.

    A further attempt goes to the next endpoint.
    """
    own = endpoints[(agent + attempt) % len(endpoints)]
    least = min(endpoints, key=lambda endpoint: (not endpoint.open, endpoint.load))
    return own if own.open and own.load <= least.load + SLACK else least


def backoff(first: float, retries: int, seed: int) -> float:
    """Seconds to wait after so many retries: doubled each time, at most half a minute, ± half by the call's seed."""
    jitter = random.Random(seed + retries).random()
    return min(LONGEST_BACKOFF, first * 2.0 ** min(retries, 99)) * (0.5 + jitter)


async def find_word_ids(endpoint: Endpoint, model: str, prompt: Prompt, can: Abilities) -> WordIds | None:
    """The tokens of the prompt's choices, at the place behind its forced start in the server's own chat template.

    A template may cut a space off the end of the start; then the start is sent without it and the choices get it.
    None where the choices have no tokens of their own there. Raises Fault.
    """

    async def tokens(reply: str) -> list[int]:
        answer = await endpoint.ask("/tokenize", tokenize_body(prompt, model, can, reply))
        try:
            return [int(number) for number in answer["tokens"]]
        except (KeyError, TypeError, ValueError) as error:
            raise Fault("invalid", f"{endpoint.url}/tokenize gave no tokens ({error!r})") from error

    bare = prompt.start.rstrip()
    for start in dict.fromkeys((prompt.start, bare)):
        gap = prompt.start.removeprefix(start)
        whole, *with_choice = await asyncio.gather(
            tokens(start), *(tokens(start + gap + choice) for choice in prompt.choices)
        )
        ids = [
            longer[len(whole)] for longer in with_choice if longer[: len(whole)] == whole and len(longer) > len(whole)
        ]
        if len(set(ids)) == len(prompt.choices):
            return WordIds(start, tuple(ids))
    return None


def allowed_connections() -> int:
    """How many connections this process may open at once; lifts its own limit of open files first."""
    try:
        import resource
    except ImportError:  # not on this system, which has no such limit
        return MOST_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, max(1, soft - SPARE_FILES))


async def _models(endpoint: Endpoint) -> list[str]:
    reply = await _asked(Endpoint.ask, endpoint, "/v1/models")
    try:
        names = [str(row["id"]) for row in reply["data"]]
    except (KeyError, TypeError) as error:
        raise BadInput(f"--server {endpoint.url}: lists no models ({error!r}); is it OpenAI-compatible?") from error
    if not names:
        raise BadInput(f"--server {endpoint.url}: lists no models; load one there")
    return names


async def _asked(ask: Callable[[Endpoint, str], Awaitable[T]], endpoint: Endpoint, what: str) -> T:
    """`ask(endpoint, what)`, tried a few times. Raises BadInput."""
    waits = iter(START_WAITS)
    while True:
        try:
            return await ask(endpoint, what)
        except Fault as fault:
            wait = next(waits, None)
            if wait is None or not fault.passing:
                raise _unusable(fault) from fault
        await asyncio.sleep(wait)


def _unusable(fault: Fault) -> BadInput:
    advice = f"set {KEY_VARIABLE} to its key" if fault.status in (401, 403) else "start it, or mend the address"
    return BadInput(f"--server: {fault}; {advice}")


def _both(one: Abilities, other: Abilities) -> Abilities:
    return Abilities(
        forced=one.forced and other.forced,
        words=one.words and other.words,
        top=min(one.top, other.top),
        seeds=one.seeds and other.seeds,
        system=one.system and other.system,
    )
