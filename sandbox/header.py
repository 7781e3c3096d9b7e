"""The header of a transcript: everything that shapes the words of a run, so that it can be played again from it alone.

The fields are described in docs/transcript.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agents import prompts
from agents.rating import ReadingName, Zero
from agents.social_agent import Speech
from sandbox.chain import bad_line, storable
from sandbox.interaction import Question
from sandbox.stances import Pair, Stances

if TYPE_CHECKING:
    from sandbox.cast import Cast
    from sandbox.config import SimulateOptions
    from sandbox.plan import Plan

Header = Mapping[str, Any]


def header_of(plan: Plan, cast: Cast) -> dict[str, Any]:
    """The header of a world that `cast` plays after `plan`, as a file keeps it."""
    options = plan.options
    header: dict[str, Any] = storable(
        {
            "seed": options.seed,
            "world": {
                "size": options.size,
                "radius": options.radius or options.size // 2,
                "share": options.share,
                "raters": options.raters,
                "revisions": options.revisions,
                "memories": options.memories,
                "memory_limit": options.memory_limit,
                "forget": options.forget,
            },
            "stances": {
                "layout": plan.stances.layout,
                "pairs": {name: list(map(_plain, pairs)) for name, pairs in plan.stances.pairs.items()},
            },
            "questions": [asdict(question) for question in plan.questions],
            "probes": [asdict(question) for question in plan.probes],
            "speech": _speech(options, cast, plan.rule),
            "prompts": prompts.fingerprint(),
            "encoder": cast.encoder.digest,
            "models": [
                _speaker(share.part, cast.models[share.name].name, cast.models[share.name].digest, zero)
                for share in cast.shares
                for zero in [cast.peer_zeros[share.name]]
            ],
            "observers": [observer.describe() for observer in cast.observers],
            "parent": plan.parent,
        }
    )
    return header


def require_header(path: Path, header: Header) -> None:
    """Raises BadInput where the header in line 1 of `path` has not all the fields that a run is played from, or others:
    a transcript may come from someone else.
    """
    try:
        _Header.model_validate(header)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "header"
        what = f"is no header that a run can be played from ({where}: {first['msg'][0].lower()}{first['msg'][1:]})"
        raise bad_line(path, 1, what) from error


def questions_of(header: Header) -> tuple[Question, ...]:
    """The questions that rotate."""
    return tuple(Question(**question) for question in header["questions"])


def probes_of(header: Header) -> tuple[Question, ...]:
    """The questions that come up in every round."""
    return tuple(Question(**question) for question in header["probes"])


def stances_of(header: Header) -> Stances:
    """What each stance remembers at birth, and where it lives."""
    pairs = {name: tuple(Pair(**pair) for pair in pairs) for name, pairs in header["stances"]["pairs"].items()}
    return Stances(pairs, tuple(header["stances"]["layout"]))


def speech_of(header: Header) -> Speech:
    """How the agents speak."""
    return Speech(seed=header["seed"], **header["speech"])


def generations(header: Header) -> Iterator[tuple[Header, int | None]]:
    """The headers under which a run was played, the oldest first, each with its last round; None for its own.

    A run without a parent has its own only.
    """
    if header["parent"] is not None:
        *older, (nearest, _) = generations(header["parent"]["header"])
        yield from older
        yield nearest, header["parent"]["round"]
    yield header, None


def question_texts(header: Header) -> list[str]:
    """Every question that agents of this run can remember or be asked, in a fixed order."""
    pairs = header["stances"]["pairs"]
    remembered = [pair["question"] for name in sorted(pairs) for pair in pairs[name]]
    asked = [
        question["text"]
        for played_under, _ in generations(header)
        for question in (*played_under["probes"], *played_under["questions"])
    ]
    return [*remembered, *asked]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


Count = Annotated[int, Field(ge=0)]
Several = Annotated[int, Field(ge=1)]


class _Zero(_Fields):
    alignment: float
    engagement: float


class _Question(_Fields):
    id: str
    text: str
    topic: str


class _Pair(_Fields):
    question: str
    response: str


class _World(_Fields):
    size: Several
    radius: float = Field(gt=0)
    share: Several
    raters: Count
    revisions: Count
    memories: Count
    memory_limit: Several | None
    forget: Literal["oldest", "least-recalled"]


class _Stances(_Fields):
    layout: list[str]
    pairs: dict[str, list[_Pair]]


class _Speech(_Fields):
    max_tokens: Several
    feedback_tokens: Several
    temperature: float
    top_p: float
    recall: Count
    recall_threshold: float = Field(ge=-1, le=1)
    reading: ReadingName
    rule: str


class _Speaker(_Fields):
    name: str
    digest: str
    part: float = Field(gt=0, le=1)
    zero: _Zero | None


class _Judge(_Fields):
    kind: Literal["llm"]
    name: str
    reading: ReadingName
    model: str
    digest: str
    zero: _Zero | None
    words: str | None


class _Statements(_Fields):
    kind: Literal["embedding"]
    name: str
    encoder: str
    statements: str
    lean: float


class _Parent(_Fields):
    run: str
    round: Count
    chain: str
    header: _Header


class _Header(_Fields):
    type: Literal["header"]
    version: Literal[3] = Field(alias="schema")
    seed: Count
    world: _World
    stances: _Stances
    questions: list[_Question] = Field(min_length=1)
    probes: list[_Question]
    speech: _Speech
    prompts: str
    encoder: str
    models: list[_Speaker] = Field(min_length=1)
    observers: list[Annotated[_Judge | _Statements, Field(discriminator="kind")]] = Field(min_length=1)
    parent: _Parent | None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """All that is needed together is there."""
        if len(self.stances.layout) != self.world.size**2 or not {*self.stances.layout} <= self.stances.pairs.keys():
            raise ValueError("the layout needs a stance for each agent")
        if len(self.probes) * self.world.share >= self.world.size**2:
            raise ValueError("the probes take all agents")
        judges = [observer for observer in self.observers if isinstance(observer, _Judge)]
        zeros = [(self.speech.reading, speaker.zero) for speaker in self.models]
        zeros += [(judge.reading, judge.zero) for judge in judges]
        if any((reading == "verdict") == (zero is None) for reading, zero in zeros):
            raise ValueError("those who give a verdict need a zero, and only they")
        return self


def _plain(pair: Pair) -> dict[str, str]:
    return {"question": pair.question, "response": pair.response}


def _speech(options: SimulateOptions, cast: Cast, rule: str) -> dict[str, Any]:
    return {
        "max_tokens": options.max_tokens,
        "feedback_tokens": options.feedback_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "recall": options.recall,
        "recall_threshold": options.recall_threshold,
        "reading": cast.reading,
        "rule": rule,
    }


def _speaker(part: float, name: str, digest: str, zero: Zero | None) -> dict[str, Any]:
    """A speaker; `zero` is its z₀ as a peer."""
    return {"name": name, "digest": digest, "part": part, "zero": None if zero is None else asdict(zero)}
