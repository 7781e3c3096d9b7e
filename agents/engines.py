"""From a model's name to what answers for it: a server that lists it, a vLLM started here, or this process."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from agents import vllm
from agents.batching import Batcher
from agents.errors import BadInput
from agents.language_model import LanguageModel
from agents.models import EMBEDDED_MODEL, load_model, model_folder, short_name
from agents.server import Address, Patience, Servers, address, connected

EngineName = Literal["auto", "vllm", "local"]


@dataclass(frozen=True, slots=True)
class Where:
    """Where models are looked for. `calls_at_once`: how many calls can be ready together, for a started server.

    `engine` speaks of models that no server lists. `auto`: vLLM on a machine with a GPU and vLLM at hand, or where
    `vllm_command` says how to start it; else this process.
    """

    servers: tuple[str, ...] = ()
    engine: EngineName = "auto"
    vllm_command: str | None = None
    calls_at_once: int = 1
    patience: Patience = field(default_factory=Patience)


@dataclass(slots=True)
class Engines:
    """The engines of a run. `default` is the model that speaks where the user names none."""

    default: str
    _where: Where
    _servers: Servers
    _stack: AsyncExitStack
    _say: Callable[[str], None]

    async def models(self, names: Sequence[str]) -> dict[str, LanguageModel]:
        """The models of the distinct `names`. Raises BadInput where one can't be had."""
        unlisted = [name for name in names if name not in self._servers.listed]
        if self._where.servers:
            for name in unlisted:
                self._require_own(name)
        command = vllm_command(self._where) if unlisted else None
        batcher = Batcher()
        found: dict[str, LanguageModel] = {}
        for name in names:
            if name not in unlisted:
                found[name] = await self._served(self._servers, name)
            elif command:
                found[name] = await self._started(name, command, share=1 / len(unlisted))
            else:
                found[name] = load_model(name, batcher)
        return found

    async def _served(self, servers: Servers, name: str) -> LanguageModel:
        model = await servers.model(name)
        self._say(f"{name}: {', '.join(endpoint.url for endpoint in model.endpoints)} · {model.can}")
        return model

    async def _started(self, name: str, command: Sequence[str], share: float) -> LanguageModel:
        source = str(model_folder(name)) if name == EMBEDDED_MODEL or Path(name).expanduser().is_dir() else name
        running = vllm.started(
            source,
            short_name(name),
            command=command,
            calls_at_once=self._where.calls_at_once,
            memory_share=share,
            say=self._say,
        )
        started = await self._stack.enter_async_context(running)
        servers = connected([Address(started.url, started.key)], self._where.patience)
        return await self._served(await self._stack.enter_async_context(servers), short_name(name))

    def _require_own(self, name: str) -> None:
        if name != EMBEDDED_MODEL and not Path(name).expanduser().is_dir():
            listed = ", ".join(self._servers.listed) or "none"
            raise BadInput(f"--model {name}: no --server lists it; they list {listed}; name one of these, or a folder")


@asynccontextmanager
async def opened(where: Where, say: Callable[[str], None]) -> AsyncIterator[Engines]:
    """Connect to the servers, if any; at the end close connections and end what was started. Raises BadInput."""
    async with AsyncExitStack() as stack:
        addresses = [address(url) for url in where.servers]
        servers = await stack.enter_async_context(connected(addresses, where.patience))
        yield Engines(next(iter(servers.listed), EMBEDDED_MODEL), where, servers, stack, say)


def vllm_command(where: Where) -> list[str] | None:
    """How to start vLLM for the models that no server lists; None where they are to run in this process.

    Raises BadInput where vLLM is asked for and not at hand.
    """
    if where.engine == "local":
        if where.vllm_command is not None:
            raise BadInput("--engine local: starts no vLLM; leave --vllm-command out, or --engine")
        return None
    if where.vllm_command is not None:
        return _words(where.vllm_command)
    at_hand = vllm.command_at_hand()
    if where.engine == "vllm" and at_hand is None:
        raise BadInput("--engine vllm: vLLM is not installed here; name another environment's with --vllm-command")
    return at_hand if where.engine == "vllm" or vllm.gpu_at_hand() else None


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise BadInput(f"--vllm-command {command}: {error}; close it") from None
    if not words:
        raise BadInput("--vllm-command: is empty; write how to start vLLM")
    return words
