"""From a header to a society that is ready to play, whoever answers for its models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.canonical import generator
from agents.language_model import LanguageModel
from agents.observers import BatchObserver, LLMObserver
from agents.rating import Zero
from agents.social_agent import SocialAgent
from memory.memory import Memory, QuestionTable
from sandbox.header import Header, generations, probes_of, questions_of, speech_of, stances_of
from sandbox.rounds import Protocol, Society
from sandbox.stances import born_with
from sandbox.world import World

Models = Mapping[tuple[str, str], LanguageModel]  # by name and digest


def society_of(
    header: Header,
    models: Models,
    batch_observers: Mapping[str, BatchObserver],
    memories: Sequence[Memory],
    ending: Mapping[str, Any],
) -> Society:
    """The society of `header`, its agents with `memories` (in agent order).

    `batch_observers`, by name, are those that the header names beside the llm ones. `ending`: the fields of Protocol
    that tell when to stop, which no header holds.
    """
    world, stances = header["world"], header["stances"]["layout"]
    speech, speakers = speech_of(header), draw_speakers(header)
    observers = [_observer(told, models, batch_observers) for told in header["observers"]]

    def settle(agent: int) -> SocialAgent:
        speaker = speakers[agent]
        model = models[speaker["name"], speaker["digest"]]
        return SocialAgent(agent, stances[agent], model, memories[agent], speech, _zero(speaker["zero"]))

    return Society(
        world=World(world["size"], world["radius"], header["seed"], settle),
        questions=questions_of(header),
        probes=probes_of(header),
        observers=tuple(observer for observer in observers if isinstance(observer, LLMObserver)),
        batch_observers=tuple(observer for observer in observers if not isinstance(observer, LLMObserver)),
        scorer=observers[0].name,
        protocol=Protocol(
            seed=header["seed"],
            share=world["share"],
            raters=world["raters"],
            revisions=world["revisions"],
            shared=header["parent"]["round"] if header["parent"] else 0,
            **ending,
        ),
    )


def memories_at_birth(header: Header, table: QuestionTable) -> list[Memory]:
    """The memory of each agent when it came into the world: that of the run's oldest ancestor."""
    origin, _ = next(generations(header))
    world, stances = origin["world"], stances_of(origin)
    memories = []
    for agent in range(world["size"] ** 2):
        memory = Memory(table, world["memory_limit"], world["forget"])
        for pair in born_with(stances, agent, world["memories"], origin["seed"]):
            memory.remember(pair.question, pair.response)
        memories.append(memory)
    return memories


def draw_speakers(header: Header) -> list[dict[str, Any]]:
    """The entry of `models` for each agent, drawn by seed so that the parts are met as nearly as whole agents allow."""
    models, agents = header["models"], header["world"]["size"] ** 2
    order = generator(header["seed"], 0, 0, "models").permutation(agents)
    bounds = [sum(model["part"] for model in models[: k + 1]) * agents for k in range(len(models))]
    drawn = [models[-1]] * agents
    for place, agent in enumerate(order):
        drawn[agent] = next((m for m, bound in zip(models, bounds, strict=True) if place + 0.5 < bound), models[-1])
    return drawn


def _observer(
    told: Mapping[str, Any], models: Models, batch_observers: Mapping[str, BatchObserver]
) -> LLMObserver | BatchObserver:
    if told["kind"] == "llm":
        return LLMObserver(models[told["model"], told["digest"]], told["reading"], _zero(told["zero"]))
    return batch_observers[told["name"]]


def _zero(told: Mapping[str, float] | None) -> Zero | None:
    return None if told is None else Zero(**told)
