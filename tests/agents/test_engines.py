"""Which engine answers for a model's name: a server that lists it, a started vLLM, or this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agents.batching import Batcher
from agents.engines import Where, opened, vllm_command
from agents.errors import BadInput
from agents.language_model import LanguageModel
from agents.models import EMBEDDED_MODEL
from agents.server import ServerModel
from agents.vllm import Started
from tests.fakes.mock_server import Behaviour, MockServer
from tests.fakes.scripted import ScriptedModel


@dataclass
class Machine:
    """What this machine has, as the engines see it, and what they did with it."""

    loaded: list[str] = field(default_factory=list)
    started: list[tuple[str, str, list[str], int, float]] = field(default_factory=list)
    running: int = 0
    said: list[str] = field(default_factory=list)
    default: str = ""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, server: MockServer) -> Machine:
    """A machine with no GPU and no vLLM; what would be started is the mock server, and loading loads nothing."""
    found = Machine()

    def load(name: str, batcher: Batcher) -> ScriptedModel:
        found.loaded.append(name)
        return ScriptedModel(name=name)

    @asynccontextmanager
    async def started(model: str, served_name: str, **how: Any) -> AsyncIterator[Started]:
        found.started.append((model, served_name, list(how["command"]), how["calls_at_once"], how["memory_share"]))
        server.behaviour.models = (*server.behaviour.models, served_name)
        found.running += 1
        yield Started(server.url, "its-own-key")
        found.running -= 1

    monkeypatch.setattr("agents.engines.load_model", load)
    monkeypatch.setattr("agents.engines.model_folder", lambda name: Path("/cache", name))
    monkeypatch.setattr("agents.vllm.started", started)
    has(monkeypatch)
    return found


@pytest.fixture
def server() -> Iterator[MockServer]:
    with MockServer(Behaviour(models=("mock", "second"))) as running:
        yield running


def has(monkeypatch: pytest.MonkeyPatch, *, gpu: bool = False, command: list[str] | None = None) -> None:
    monkeypatch.setattr("agents.vllm.gpu_at_hand", lambda: gpu)
    monkeypatch.setattr("agents.vllm.command_at_hand", lambda: command)


def models(machine: Machine, names: Sequence[str], **where: Any) -> dict[str, LanguageModel]:
    async def whole() -> dict[str, LanguageModel]:
        async with opened(Where(**where), machine.said.append) as engines:
            machine.default = engines.default
            return await engines.models(names)

    return asyncio.run(whole())


def test_without_a_server_the_embedded_model_speaks_in_this_process(machine: Machine) -> None:
    models(machine, [EMBEDDED_MODEL])
    assert (machine.default, machine.loaded, machine.started) == (EMBEDDED_MODEL, [EMBEDDED_MODEL], [])


def test_with_a_server_its_first_model_speaks(machine: Machine, server: MockServer) -> None:
    found = models(machine, ["mock"], servers=(server.url,))
    assert machine.default == "mock"
    assert isinstance(found["mock"], ServerModel)
    assert machine.loaded == []


def test_what_a_server_lists_is_served_and_its_abilities_are_told(machine: Machine, server: MockServer) -> None:
    found = models(machine, ["second", "mock"], servers=(server.url,))
    assert list(found) == ["second", "mock"]
    assert machine.said == [
        f"{name}: {server.url} · words by id · forced starts · seeds" for name in ("second", "mock")
    ]


def test_a_model_that_two_servers_list_has_both_endpoints(machine: Machine, server: MockServer) -> None:
    with MockServer(Behaviour(models=("second", "third"))) as other:
        found = models(machine, ["mock", "second", "third"], servers=(server.url, other.url))
    urls = {
        name: [endpoint.url for endpoint in model.endpoints]
        for name, model in found.items()
        if isinstance(model, ServerModel)
    }
    assert urls == {"mock": [server.url], "second": [server.url, other.url], "third": [other.url]}


def test_beside_a_server_the_embedded_model_and_a_folder_may_be_named(
    machine: Machine, server: MockServer, tmp_path: Path
) -> None:
    models(machine, ["mock", EMBEDDED_MODEL, str(tmp_path)], servers=(server.url,))
    assert machine.loaded == [EMBEDDED_MODEL, str(tmp_path)]


def test_beside_a_server_no_other_name_is_looked_for_elsewhere(machine: Machine, server: MockServer) -> None:
    with pytest.raises(BadInput, match="--model org/moc: no --server lists it; they list mock, second; name one"):
        models(machine, ["org/moc"], servers=(server.url,))
    assert machine.loaded == []


def test_a_listed_name_is_the_servers_even_where_a_model_here_has_it(machine: Machine, server: MockServer) -> None:
    server.behaviour.models = (EMBEDDED_MODEL,)
    found = models(machine, [EMBEDDED_MODEL], servers=(server.url,))
    assert isinstance(found[EMBEDDED_MODEL], ServerModel) and machine.loaded == []


def test_vllm_is_started_where_there_is_a_gpu_and_vllm(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, gpu=True, command=["vllm", "serve"])
    found = models(machine, ["org/name", EMBEDDED_MODEL], calls_at_once=70)
    assert machine.started == [
        ("org/name", "org/name", ["vllm", "serve"], 70, 0.5),
        (f"/cache/{EMBEDDED_MODEL}", EMBEDDED_MODEL, ["vllm", "serve"], 70, 0.5),
    ]
    assert all(isinstance(model, ServerModel) for model in found.values())
    assert machine.running == 0  # it ends with the engines
    assert "its-own-key" not in "".join(machine.said)


def test_a_folder_is_served_under_its_own_name(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "aligned"
    folder.mkdir()
    found = models(machine, [str(folder)], engine="vllm", vllm_command="/there/bin/vllm serve")
    assert machine.started == [(str(folder), "aligned", ["/there/bin/vllm", "serve"], 1, 1.0)]
    assert found[str(folder)].name == "aligned"


def test_only_what_no_server_lists_is_started(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, server: MockServer
) -> None:
    has(monkeypatch, gpu=True, command=["vllm", "serve"])
    models(machine, ["mock", EMBEDDED_MODEL], servers=(server.url,))
    assert [served_name for _, served_name, *_ in machine.started] == [EMBEDDED_MODEL]
    machine.started.clear()
    models(machine, ["mock", "second"], servers=(server.url,), engine="vllm")
    assert machine.started == []


@pytest.mark.parametrize(
    ("where", "gpu", "at_hand", "command"),
    [
        ({}, False, None, None),
        ({}, False, ["vllm", "serve"], None),  # on a processor alone, this process is the simpler engine
        ({}, True, None, None),
        ({}, True, ["vllm", "serve"], ["vllm", "serve"]),
        ({"vllm_command": "x 'a b'"}, False, None, ["x", "a b"]),
        ({"engine": "vllm"}, False, ["vllm", "serve"], ["vllm", "serve"]),
        ({"engine": "vllm", "vllm_command": "x"}, False, ["vllm", "serve"], ["x"]),
        ({"engine": "local"}, True, ["vllm", "serve"], None),
    ],
)
def test_when_vllm_is_started(
    monkeypatch: pytest.MonkeyPatch,
    where: dict[str, Any],
    gpu: bool,
    at_hand: list[str] | None,
    command: list[str] | None,
) -> None:
    has(monkeypatch, gpu=gpu, command=at_hand)
    assert vllm_command(Where(**where)) == command


def test_vllm_that_is_asked_for_and_not_there_is_refused(machine: Machine) -> None:
    with pytest.raises(BadInput, match="--engine local: starts no vLLM; leave --vllm-command out"):
        vllm_command(Where(engine="local", vllm_command="x"))
    with pytest.raises(BadInput, match="--engine vllm: vLLM is not installed here; .* --vllm-command"):
        models(machine, [EMBEDDED_MODEL], engine="vllm")
    assert machine.loaded == []


@pytest.mark.parametrize(
    ("command", "message"), [("x 'a", "--vllm-command x 'a: No closing quotation; close it"), (" ", "is empty")]
)
def test_a_command_that_is_none_is_refused(command: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        vllm_command(Where(vllm_command=command))
