"""The named operators by which a model evolves a prompt, in depth or in breadth (eva, arXiv 2411.00062)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.errors import BadInput, first_fault
from agents.language_model import Message
from agents.rows import read_text

SHIPPED = Path(__file__).parent.parent / "data" / "operators.toml"

Kind = Literal["depth", "breadth"]

PLACEHOLDER = re.compile(r"\{(\w+)\}")
OPENING = re.compile(r'["“]')
# One inside a prompt stands behind a word and before one.
CLOSING = re.compile(r'(?<=[.?!…,])["”]|["”](?=[.,]?\s*(?:\n|$))')
BLANK_LINE = re.compile(r"\n\s*\n")
SENTENCE_END = re.compile(r"(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\be\.g)(?<!\bi\.e)[.?!…]+[\"”')]*(?=\s|$)|[。？！]")
DRESS = " \t\r\n*_`"  # and Markdown's
MARK = re.compile(r"^(?:[-•#>]+|\d+[.)])\s+")
# "Sure, here is the new question:", and any label before a quotation mark.
LABEL = re.compile(
    r'^(?:[^:"“\n]{0,60}:\s*(?=["“])|[^:"“\n]{0,40}\b(?:question|prompt|request|version|case)\b[^:"“\n]{0,20}:)', re.I
)


@dataclass(frozen=True, slots=True)
class Operator:
    """One way to evolve a prompt; `ask` and `start` hold placeholders, see data/operators.toml."""

    name: str
    kind: Kind
    system: str
    ask: str
    start: str

    @property
    def needs_other(self) -> bool:
        """Whether it takes a second prompt."""
        return "{other}" in self.ask


@dataclass(frozen=True, slots=True)
class Parsed:
    """The prompt in a reply. `cut`: the reply ended by length before the prompt did."""

    text: str
    cut: bool


class Table(BaseModel):
    """An operator as it stands in a file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Kind
    ask: str = Field(min_length=1)
    start: str = ""


def load_operators(path: Path = SHIPPED) -> dict[str, Operator]:
    """The operators of a TOML file by name, in its order. Raises BadInput naming table and key."""
    try:
        tables = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: not readable as TOML ({error})") from error
    system = tables.pop("system", "")
    if not isinstance(system, str):
        raise BadInput(f"{path}: system is {system!r}; write a text")
    if not tables:
        raise BadInput(f"{path}: holds no operator; write at least one table with kind, ask and start")
    return {name: _operator(f"{path}: [{name}]", name, system, table) for name, table in tables.items()}


def operator_messages(operator: Operator, prompt: str, other: str | None = None) -> tuple[Message, ...]:
    """Ask to evolve `prompt`. Raises ValueError where `other` is missing, or given to an operator that takes none."""
    if operator.needs_other != (other is not None):
        takes, given = "two prompts" if operator.needs_other else "one prompt", "one" if other is None else "two"
        raise ValueError(f"operator {operator.name!r} takes {takes}, got {given}")
    asked = Message("user", _filled(operator.ask, {"prompt": prompt, "other": other or ""}))
    return (Message("system", operator.system), asked) if operator.system else (asked,)


def operator_start(operator: Operator, prompt: str) -> str:
    """How the reply about `prompt` is forced to begin."""
    return _filled(operator.start, {"prompt": prompt})


def parsed(text: str, operator: Operator, prompt: str, *, finished: bool) -> Parsed | None:
    """The prompt that a reply evolved from `prompt`; None where the reply holds none.

    `text` is the whole reply, its forced start included (a server that can't force one may leave it out); `finished`
    says whether it ended by itself. Labels, list marks and quotation marks are taken off. What follows the closing
    quotation mark, the first blank line or, where the start repeats the prompt, the first sentence is chat.
    """
    start = operator_start(operator, prompt)
    opening = OPENING.search(operator.start)
    adds = False
    if opening and text.startswith(start):
        begun = _filled(operator.start[opening.end() :], {"prompt": prompt})
        said, quoted, adds = text[len(start) :], True, "{prompt}" in operator.start
    else:
        begun, (said, quoted) = "", _unlabelled(text)
    signs = [BLANK_LINE] + [CLOSING] * quoted
    end = min((found.start() for sign in signs if (found := sign.search(said))), default=None)
    said = said[:end]
    if adds and (sentence := SENTENCE_END.search(said)):
        said, end = said[: sentence.end()], sentence.end()
    if not any(map(str.isalnum, said)):
        return None
    return Parsed((begun + re.sub(r"\s+", " ", said)).strip().rstrip(", "), cut=end is None and not finished)


def _unlabelled(text: str) -> tuple[str, bool]:
    """A reply without what stands before its prompt, and whether the prompt is in quotation marks."""
    for before in (MARK, LABEL, MARK):
        text = before.sub("", text.strip(DRESS))
    text = text.strip(DRESS)
    quoted = bool(OPENING.match(text))
    return text[quoted:], quoted


def _filled(template: str, values: Mapping[str, str]) -> str:
    """`template` with its placeholders replaced, in one pass: braces in a value stay as they are."""
    return PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)


def _operator(place: str, name: str, system: str, table: object) -> Operator:
    try:
        read = Table.model_validate(table)
    except ValidationError as error:
        where, what = first_fault(error)
        raise BadInput(f"{place}{where and ' '}{where}: {what}; an operator has kind, ask and start") from error
    for key, template, known in (("ask", read.ask, ("prompt", "other")), ("start", read.start, ("prompt",))):
        if unknown := set(PLACEHOLDER.findall(template)) - set(known):
            fits = " and ".join(f"{{{word}}}" for word in known)
            raise BadInput(f"{place} {key}: unknown placeholder {{{min(unknown)}}}; known here: {fits}")
    if "{prompt}" not in read.ask:
        raise BadInput(f"{place} ask: has no {{prompt}}, the place of the prompt that evolves; write it in")
    label, repeated, _ = read.start.partition("{prompt}")
    if repeated and not OPENING.search(label):
        raise BadInput(f"{place} start: repeats the prompt outside quotation marks; write one before {{prompt}}")
    return Operator(name, read.kind, system, read.ask.strip(), read.start)
