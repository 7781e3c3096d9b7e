"""What all worlds of a run share: the models that speak and judge, their zeros, the encoder and its vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agents.engines import Engines
from agents.errors import BadInput
from agents.language_model import LanguageModel, ModelError
from agents.models import root_model, short_name
from agents.observers import REWARD_MODEL, BatchObserver, EmbeddingObserver, LLMObserver, load_statements, measure_zero
from agents.rating import ReadingName, Zero
from memory.encoder import Encoder
from memory.memory import QuestionTable
from sandbox.config import SimulateOptions

OBSERVERS = ("llm", "llm:verdict", "llm:scale", "embedding", "reward-model:DIR")


@dataclass(frozen=True, slots=True)
class Share:
    """A speaker model and the part of the agents that it speaks for, in (0, 1]."""

    name: str
    part: float


@dataclass(frozen=True, slots=True)
class Cast:
    """Who speaks and who rates. `models` and `peer_zeros` go by the names that the options gave.

    The first observer gives the scores.
    """

    shares: tuple[Share, ...]
    judge: str
    models: dict[str, LanguageModel]
    peer_zeros: dict[str, Zero | None]
    reading: ReadingName
    observers: tuple[LLMObserver | BatchObserver, ...]
    encoder: Encoder
    _tables: dict[tuple[str, ...], QuestionTable] = field(default_factory=dict)

    def table(self, texts: Iterable[str]) -> QuestionTable:
        """The vectors of these questions; worlds with the same questions share one table."""
        key = tuple(texts)
        if key not in self._tables:
            self._tables[key] = QuestionTable(self.encoder, key)
        return self._tables[key]


async def cast(options: SimulateOptions, engines: Engines, encoder: Encoder) -> Cast:
    """Load or reach the models that `options` name, and measure the zeros of those that rate. Raises BadInput."""
    shares = parse_models(options.model or [engines.default])
    for kind in options.observer:
        if kind not in OBSERVERS and not kind.startswith(REWARD_MODEL):
            raise BadInput(f"--observer {kind}: unknown observer; known: {', '.join(OBSERVERS)}")
    judge = options.observer_model or root_model(shares[0].name)
    speakers = [share.name for share in shares]
    judges = [judge] if any(kind.startswith("llm") for kind in options.observer) else []
    models = await engines.models(list(dict.fromkeys([*speakers, *judges])))

    reading = options.reading or best_reading([models[name] for name in speakers])
    kinds = observer_kinds(options.observer, best_reading([models[name] for name in judges]))
    observers = tuple([await _observer(kind, models, judge, encoder) for kind in kinds])
    if len({observer.name for observer in observers}) < len(observers):
        raise BadInput(f"--observer {' --observer '.join(options.observer)}: two of one name; rename a folder")
    return Cast(
        shares=tuple(shares),
        judge=judge,
        models=models,
        peer_zeros={name: await _peer_zero(models[name], reading) for name in speakers},
        reading=reading,
        observers=observers,
        encoder=encoder,
    )


def judge_of(options: SimulateOptions) -> str:
    """The model of the llm observer, of options that name their speakers."""
    return options.observer_model or root_model(parse_models(options.model)[0].name)


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


def best_reading(models: Sequence[LanguageModel]) -> ReadingName:
    """`verdict`, which makes a small model a usable judge, where all of them tell the probabilities of words."""
    return "verdict" if all(model.reads_words for model in models) else "scale"


def observer_kinds(given: Sequence[str], reading: ReadingName) -> list[str]:
    """The full names of observers, each once, in the order given; a plain `llm` reads by `reading`."""
    return list(dict.fromkeys(f"llm:{reading}" if kind == "llm" else kind for kind in given))


async def _observer(
    kind: str, models: dict[str, LanguageModel], judge: str, encoder: Encoder
) -> LLMObserver | BatchObserver:
    if kind.startswith(REWARD_MODEL):
        from agents.reward_model import RewardModelObserver  # imports torch

        return RewardModelObserver.load(kind)
    if kind == "embedding":
        return EmbeddingObserver(encoder, load_statements())
    with _judging(models[judge]):
        return await LLMObserver.ready(models[judge], kind)


async def _peer_zero(model: LanguageModel, reading: ReadingName) -> Zero | None:
    with _judging(model):
        return await measure_zero(model, "peer") if reading == "verdict" else None


@contextmanager
def _judging(model: LanguageModel) -> Iterator[None]:
    try:
        yield
    except ModelError as error:
        raise BadInput(f"model {model.name} cannot judge: {error}; choose another") from error


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
