"""What a header must hold for a run to be played from it, checked: a transcript may come from someone else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agents.errors import first_fault
from agents.rating import ReadingName
from sandbox.chain import bad_line


def require_header(path: Path, header: Mapping[str, Any]) -> None:
    """Raises BadInput where the header in line 1 of `path` lacks a field that a run is played from, or has others."""
    try:
        _Header.model_validate(header)
    except ValidationError as error:
        where, what = first_fault(error)
        told = f"is no header that a run can be played from ({where or 'header'}: {what})"
        raise bad_line(path, 1, told) from error


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


class _RewardModel(_Fields):
    kind: Literal["reward-model"]
    name: str
    model: str
    digest: str


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
    observers: list[Annotated[_Judge | _Statements | _RewardModel, Field(discriminator="kind")]] = Field(min_length=1)
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
