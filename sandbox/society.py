"""From options to a society that is ready to play, and the header that says what shapes its words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agents import prompts
from agents.batching import Batcher
from agents.canonical import digest_of, generator
from agents.errors import BadInput
from agents.language_model import ModelError
from agents.metered import Metered
from agents.models import encoder_folder, load_model, root_model, short_name
from agents.observers import EmbeddingObserver, LLMObserver, load_statements, measure_zero
from agents.rating import ReadingName, Zero
from agents.rows import read_text
from agents.social_agent import SocialAgent, Speech
from memory.encoder import Encoder
from memory.memory import Memory, QuestionTable
from sandbox.config import SimulateOptions
from sandbox.interaction import Question
from sandbox.questions import load_questions, split_probes
from sandbox.rounds import Protocol, Society
from sandbox.stances import Stances, born_with, load_prior, load_stances, named_stances
from sandbox.toml import toml_of
from sandbox.world import World

OBSERVERS = {"llm": "llm:verdict", "llm:verdict": "llm:verdict", "llm:scale": "llm:scale", "embedding": "embedding"}


@dataclass(frozen=True, slots=True)
class Share:
    """A speaker model and the part of the agents that it speaks for, in (0, 1]."""

    name: str
    part: float


@dataclass(frozen=True, slots=True)
class Built:
    """A society with its header, and what its run uses besides: the meters of its models and the encoder."""

    society: Society
    header: dict[str, Any]
    meters: list[Metered]
    encoder: Encoder


async def build(options: SimulateOptions) -> Built:
    """Load models, measure the judges' zeros, fill the memories and put the agents on their grid. Raises BadInput."""
    check(options)
    shares = parse_models(options.model)
    kinds = observer_kinds(options.observer)
    questions, probes = _questions(options)
    stances = _stances(options)
    speech = speech_of(options)

    judge = options.observer_model or root_model(shares[0].name)
    names = [share.name for share in shares] + ([judge] if any(kind != "embedding" for kind in kinds) else [])
    batcher = Batcher()
    models = {name: Metered(load_model(name, batcher)) for name in dict.fromkeys(names)}
    encoder = Encoder(encoder_folder(options.encoder))
    observers = {kind: await _observer(kind, models.get(judge), encoder) for kind in kinds}
    zeros = {share.name: await _peer_zero(models[share.name], speech.reading) for share in shares}

    remembered = [pair.question for name in sorted(stances.pairs) for pair in stances.pairs[name]]
    table = QuestionTable(encoder, [*remembered, *(question.text for question in (*probes, *questions))])
    speakers = draw_models(shares, options.size**2, options.seed)

    def settle(index: int) -> SocialAgent:
        memory = Memory(table)
        for pair in born_with(stances, index, options.memories, options.seed):
            memory.remember(pair.question, pair.response)
        speaker = speakers[index]
        return SocialAgent(index, stances.layout[index], models[speaker], memory, speech, zeros[speaker])

    society = Society(
        world=World(options.size, options.radius or options.size // 2, options.seed, settle),
        questions=questions,
        probes=probes,
        observers=tuple(o for o in observers.values() if isinstance(o, LLMObserver)),
        embedding_observers=tuple(o for o in observers.values() if isinstance(o, EmbeddingObserver)),
        scorer=kinds[0],
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
            "probes": [probe.id for probe in probes],
        },
        "stances": {"layout": digest_of(stances.layout), "pairs": _pairs_digest(stances)},
        "questions": digest_of([asdict(question) for question in questions]),
        "speech": {name: value for name, value in asdict(speech).items() if name != "seed"},
        "prompts": prompts.fingerprint(),
        "encoder": encoder.digest,
        "models": [_speaker(share, models[share.name], zeros[share.name]) for share in shares],
        "observers": [observer.describe() for observer in observers.values()],
    }
    return Built(society, header, list(models.values()), encoder)


def check(options: SimulateOptions) -> None:
    """Refuse options that contradict each other."""
    if options.revisions and options.radius is not None and options.radius < 1:
        raise BadInput(f"--radius {options.radius:g}: nobody lives that near to give feedback; choose 1 or more")
    if options.revisions and not options.raters:
        raise BadInput("--raters 0: nobody gives feedback to revise by; add --revisions 0 to ask for drafts only")


def speech_of(options: SimulateOptions) -> Speech:
    """How agents speak under these options; raises BadInput where the rule cannot be read or is empty."""
    rule = prompts.SANDBOX_RULE
    if options.rule:
        rule = read_text(options.rule).strip()
        if not rule:
            raise BadInput(f"--rule {options.rule}: the file is empty; write the rule into it")
    return Speech(
        seed=options.seed,
        max_tokens=options.max_tokens,
        feedback_tokens=options.feedback_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        recall=options.recall,
        recall_threshold=options.recall_threshold,
        reading=options.reading,
        rule=rule,
    )


def parse_models(given: Sequence[str]) -> list[Share]:
    """Speakers from `NAME` or `NAME=PART`; parts are normalised, and must be given for all or for none."""
    split = [_name_and_part(text) for text in given]
    parts = [part for _, part in split]
    if None in parts and any(part is not None for part in parts):
        raise BadInput(f"--model {' --model '.join(given)}: give a part to every model of the mix or to none")
    weights = [1.0 if part is None else part for part in parts]
    names = [name for name, _ in split]
    if len({short_name(name) for name in names}) < len(names):
        raise BadInput(f"--model {' --model '.join(given)}: two models of one name; name each once, rename a folder")
    return [Share(name, weight / sum(weights)) for name, weight in zip(names, weights, strict=True)]


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


def observer_kinds(given: Sequence[str]) -> list[str]:
    """The full names of observers, each once, in the order given."""
    for kind in given:
        if kind not in OBSERVERS:
            raise BadInput(f"--observer {kind}: unknown observer; known: {', '.join(OBSERVERS)}")
    return list(dict.fromkeys(OBSERVERS[kind] for kind in given))


def resolved(options: SimulateOptions, header: dict[str, Any], versions: dict[str, str]) -> str:
    """The text of run.toml: every option as it was resolved, then versions and model digests."""
    values = options.model_dump(mode="json", exclude={"config", "resume"}) | {"rounds": options.round_limit}
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
        return load_stances(options.stances, prior, options.size, options.seed)
    return named_stances(prior, options.stance, options.size, options.seed)


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


async def _observer(kind: str, judge: Metered | None, encoder: Encoder) -> LLMObserver | EmbeddingObserver:
    if judge is None or kind == "embedding":
        return EmbeddingObserver(encoder, load_statements())
    with _judging(judge):
        return await LLMObserver.ready(judge, kind)


async def _peer_zero(model: Metered, reading: ReadingName) -> Zero | None:
    with _judging(model):
        return await measure_zero(model, "peer") if reading == "verdict" else None


@contextmanager
def _judging(model: Metered) -> Iterator[None]:
    try:
        yield
    except ModelError as error:
        raise BadInput(f"model {model.name} cannot judge: {error}; choose another") from error


def _speaker(share: Share, model: Metered, zero: Zero | None) -> dict[str, Any]:
    """A speaker in the header. Its z₀ is that of a peer, who rates alignment only."""
    return {
        "name": model.name,
        "digest": model.digest,
        "part": share.part,
        "zero": None if zero is None else zero.alignment,
    }


def _name_and_part(text: str) -> tuple[str, float | None]:
    name, equals, part = text.rpartition("=")
    if not equals or Path(text).is_dir():
        return text, None
    try:
        weight = float(part)
    except ValueError:
        raise BadInput(f"--model {text}: {part!r} is not a number; write --model NAME=0.7") from None
    if not name or not 0 < weight < float("inf"):
        raise BadInput(f"--model {text}: the part must be a positive number, as in --model NAME=0.7")
    return name, weight


def _pairs_digest(stances: Stances) -> str:
    return digest_of({name: [asdict(pair) for pair in pairs] for name, pairs in stances.pairs.items()})
