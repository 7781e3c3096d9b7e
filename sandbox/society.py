"""From options to a world that is ready to play, and the header that says what shapes its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from agents import prompts
from agents.canonical import digest_of, generator
from agents.errors import BadInput
from agents.metered import Metered
from agents.observers import EmbeddingObserver, LLMObserver
from agents.rating import ReadingName, Zero
from agents.rows import read_text
from agents.social_agent import SocialAgent, Speech
from memory.memory import Memory
from sandbox.cast import Cast, Share
from sandbox.config import SimulateOptions
from sandbox.interaction import Question
from sandbox.questions import load_questions, split_probes
from sandbox.rounds import Protocol, Society
from sandbox.stances import Stances, born_with, load_prior, load_stances, named_stances
from sandbox.toml import toml_of
from sandbox.world import World


@dataclass(frozen=True, slots=True)
class Plan:
    """A world on paper: what its options and their files say, before any model is loaded."""

    options: SimulateOptions
    questions: tuple[Question, ...]
    probes: tuple[Question, ...]
    stances: Stances
    rule: str


@dataclass(frozen=True, slots=True)
class Built:
    """A society with its header, and the meters of its models."""

    society: Society
    header: dict[str, Any]
    meters: list[Metered]


def plan(options: SimulateOptions) -> Plan:
    """The plan of one world. Raises BadInput where options contradict each other or a file can't be used."""
    check(options)
    questions, probes = _questions(options)
    return Plan(options, questions, probes, _stances(options), rule_of(options))


def build(plan: Plan, cast: Cast) -> Built:
    """Fill the memories and put the agents on their grid. Each world counts its own calls."""
    options, stances = plan.options, plan.stances
    meters = {name: Metered(model) for name, model in cast.models.items()}
    observers = [
        replace(observer, model=meters[cast.judge]) if isinstance(observer, LLMObserver) else observer
        for observer in cast.observers
    ]
    speech = speech_of(options, cast.reading, plan.rule)
    remembered = [pair.question for name in sorted(stances.pairs) for pair in stances.pairs[name]]
    table = cast.table([*remembered, *(question.text for question in (*plan.probes, *plan.questions))])
    speakers = draw_models(cast.shares, options.size**2, options.seed)

    def settle(index: int) -> SocialAgent:
        memory = Memory(table, options.memory_limit, options.forget)
        for pair in born_with(stances, index, options.memories, options.seed):
            memory.remember(pair.question, pair.response)
        speaker = speakers[index]
        return SocialAgent(index, stances.layout[index], meters[speaker], memory, speech, cast.peer_zeros[speaker])

    society = Society(
        world=World(options.size, options.radius or options.size // 2, options.seed, settle),
        questions=plan.questions,
        probes=plan.probes,
        observers=tuple(o for o in observers if isinstance(o, LLMObserver)),
        embedding_observers=tuple(o for o in observers if isinstance(o, EmbeddingObserver)),
        scorer=observers[0].name,
        protocol=_protocol(options),
    )
    header = {
        "seed": options.seed,
        "world": {
            "size": options.size,
            "radius": society.world.radius,
            "share": options.share,
            "raters": options.raters,
            "revisions": options.revisions,
            "memories": options.memories,
            "memory_limit": options.memory_limit,
            "forget": options.forget,
            "probes": [probe.id for probe in plan.probes],
        },
        "stances": {"layout": digest_of(stances.layout), "pairs": _pairs_digest(stances)},
        "questions": digest_of([asdict(question) for question in plan.questions]),
        "speech": {name: value for name, value in asdict(speech).items() if name != "seed"},
        "prompts": prompts.fingerprint(),
        "encoder": cast.encoder.digest,
        "models": [_speaker(share, meters[share.name], cast.peer_zeros[share.name]) for share in cast.shares],
        "observers": [observer.describe() for observer in observers],
    }
    return Built(society, header, list(meters.values()))


def check(options: SimulateOptions) -> None:
    """Refuse options that contradict each other."""
    if options.revisions and options.radius is not None and options.radius < 1:
        raise BadInput(f"--radius {options.radius:g}: nobody lives that near to give feedback; choose 1 or more")
    if options.revisions and not options.raters:
        raise BadInput("--raters 0: nobody gives feedback to revise by; add --revisions 0 to ask for drafts only")
    if options.memory_limit is not None and options.memory_limit < options.memories:
        raise BadInput(
            f"--memory-limit {options.memory_limit}: agents are born with --memories {options.memories}; "
            "raise the one or lower the other"
        )


def rule_of(options: SimulateOptions) -> str:
    """The Sandbox Rule of a world; raises BadInput where the file cannot be read or is empty."""
    if not options.rule:
        return prompts.SANDBOX_RULE
    (path,) = options.rule
    rule = read_text(path).strip()
    if not rule:
        raise BadInput(f"--rule {path}: the file is empty; write the rule into it")
    return rule


def speech_of(options: SimulateOptions, reading: ReadingName, rule: str) -> Speech:
    """How agents speak under these options."""
    return Speech(
        seed=options.seed,
        max_tokens=options.max_tokens,
        feedback_tokens=options.feedback_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        recall=options.recall,
        recall_threshold=options.recall_threshold,
        reading=reading,
        rule=rule,
    )


def draw_models(shares: Sequence[Share], agents: int, seed: int) -> list[str]:
    """The speaker of each agent, drawn by seed so that the parts are met as nearly as whole agents allow."""
    order = generator(seed, 0, 0, "models").permutation(agents)
    bounds = [sum(share.part for share in shares[: k + 1]) * agents for k in range(len(shares))]
    drawn = [""] * agents
    for place, agent in enumerate(order):
        drawn[agent] = next(
            (share.name for share, bound in zip(shares, bounds, strict=True) if place + 0.5 < bound), shares[-1].name
        )
    return drawn


def resolved(options: SimulateOptions, header: dict[str, Any], versions: dict[str, str]) -> str:
    """The text of run.toml: every option, those left open as the header tells, then versions and model digests."""
    found = {
        "rounds": options.round_limit,
        "model": options.model or [model["name"] for model in header["models"]],
        "reading": header["speech"]["reading"],
        "observer": [observer["name"] for observer in header["observers"]],
    }
    values = options.model_dump(mode="json", exclude={"config", "resume"}) | found
    digests = {model["name"]: model["digest"] for model in header["models"]}
    return toml_of({**values, "versions": versions, "digests": digests})


def _questions(options: SimulateOptions) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """(questions that rotate, probe questions that come up in every round)."""
    questions = load_questions(options.questions)
    if not options.until_plateau:
        return questions, ()
    probes, others = split_probes(
        questions, options.size**2, seed=options.seed, share=options.share, probes=options.plateau_probes
    )
    return others, probes


def _stances(options: SimulateOptions) -> Stances:
    prior = load_prior(options.prior)
    if options.stances:
        (path,) = options.stances
        return load_stances(path, prior, options.size, options.seed)
    (layout,) = options.stance
    return named_stances(prior, layout, options.size, options.seed)


def _protocol(options: SimulateOptions) -> Protocol:
    return Protocol(
        seed=options.seed,
        rounds=options.round_limit,
        share=options.share,
        raters=options.raters,
        revisions=options.revisions,
        max_failures=options.max_failures,
        until_plateau=options.until_plateau,
        plateau_gain=options.plateau_gain,
        plateau_patience=options.plateau_patience,
    )


def _speaker(share: Share, model: Metered, zero: Zero | None) -> dict[str, Any]:
    """A speaker in the header. Its z₀ is that of a peer, who rates alignment only."""
    return {
        "name": model.name,
        "digest": model.digest,
        "part": share.part,
        "zero": None if zero is None else zero.alignment,
    }


def _pairs_digest(stances: Stances) -> str:
    return digest_of({name: [asdict(pair) for pair in pairs] for name, pairs in stances.pairs.items()})
