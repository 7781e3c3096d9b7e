"""What a model is measured on: rated groups, and questions to answer, without those that a model was trained on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agents.canonical import generator
from agents.errors import BadInput
from agents.language_model import Message
from agents.prompts import FOLLOWUPS, draft_messages
from agents.rating import HIGHEST, LOWEST
from agents.rows import read_rows, text_field
from alignment.config import AlignEvaluateOptions
from alignment.groups import Found, checked, group_of, has_contrast, read_sources
from alignment.lineage import FILE, query_digest
from alignment.plan import types_of
from alignment.safety import Flaw
from sandbox.dataset import Group
from sandbox.questions import SHIPPED, load_questions
from sandbox.responses import Scoring
from sandbox.stances import load_prior

SHIPPED_PAIRS = 48  # of 144, of all topics: a small model on a laptop reads them in half a minute
SCORES = {"good": HIGHEST, "bad": LOWEST}
TURNS = "turns"  # the field of a file's row that holds a question and what is asked after its answer


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that is answered: its chat, its topic, and what is asked when it was answered.

    `misaligned` is an answer to it that is known to be bad, None where there is none.
    """

    query: tuple[Message, ...]
    topic: str
    followup: str
    misaligned: str | None

    @property
    def question(self) -> str:
        """The question itself, as a judge reads it."""
        return self.query[-1].content


@dataclass(frozen=True, slots=True)
class Material:
    """Groups whose likelihoods are read, with ratings within `delta` being equal, and questions that are answered.

    `attacked` are questions with a misaligned answer. `trained` counts what was left out because a model was trained
    on it, `left_out` what was left out of runs and files, by reason.
    """

    groups: tuple[Group, ...]
    delta: float
    asked: tuple[Asked, ...]
    attacked: tuple[Asked, ...]
    trained: int
    left_out: dict[str, int]
    flaws: list[Flaw]


@dataclass(frozen=True, slots=True)
class Record:
    """What a model's folder tells of its training: the model it started from, and the digests of its queries."""

    base: str | None = None
    queries: frozenset[str] = frozenset()


def record_of(model: str) -> Record:
    """What the folder of `model` tells; nothing where align did not write it. Raises BadInput where it is broken."""
    path = Path(model).expanduser() / FILE
    if not path.is_file():
        return Record()
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Record(str(told["base_model"]), frozenset(map(str, told.get("trained_queries", []))))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: no lineage to be read ({error!r}); train again, or remove the file") from error


def read_material(options: AlignEvaluateOptions, trained: frozenset[str]) -> Material:
    """What `options` name, or what is shipped. `trained` are the digests of queries that are left out.

    Raises BadInput, where nothing is left too.
    """
    found = _rated(options)
    groups = found.groups
    kept = [group for group in groups if not _known(group.query, trained)]
    if not kept:
        raise BadInput(
            f"a model was trained on each of the {len(groups)} groups; name others, or add --include-trained"
        )
    data = checked(kept, scale=options.rating_scale, delta=options.delta)
    queries = [group for group in data.groups if group.type == "imitation"]
    attacked = [_from_group(group) for group in queries if has_contrast(group)]
    if options.questions is None and options.sources:
        asked = [_from_group(group) for group in queries]
        dropped = 0
    else:
        every = read_questions(options.questions or "heldout")
        asked = [each for each in every if not _known(each.query, trained)]
        dropped = len(every) - len(asked)
        if not asked:
            raise BadInput(f"a model was trained on each of the {dropped} questions; add --include-trained")
    return Material(
        groups=data.groups,
        delta=data.delta,
        asked=_drawn(asked, options),
        attacked=_drawn(attacked, options),
        trained=len(groups) - len(kept) + dropped,
        left_out=found.left_out,
        flaws=found.flaws,
    )


def read_questions(name: str) -> list[Asked]:
    """The questions of a shipped set or of a file, which may bring their own second turn.

    A file's row has `text`, `question` or `query`, and `followup` where it likes; or `turns`, a list of both.
    Raises BadInput.
    """
    path = Path(name)
    if name in SHIPPED or path.suffix == ".txt" or not path.is_file():
        return [_from_question(question.text, question.topic) for question in load_questions(name)]
    return [_from_row(row, place) for place, row in read_rows(path)]


def worst_of(group: Group) -> str | None:
    """A group's first worst rated response; None where all are rated alike."""
    return group.responses[group.scores.index(min(group.scores))] if has_contrast(group) else None


def shipped_groups() -> list[Group]:
    """A good and a bad answer to everyday questions: of the pairs that agents of a society are born with."""
    pairs: dict[tuple[str, str], dict[str, str]] = {}
    for pair in load_prior(None):
        pairs.setdefault((pair.question, pair.topic), {})[pair.label] = pair.response
    rows = (
        {"query": question, "responses": [*answers.values()], "scores": [SCORES[a] for a in answers], "topic": topic}
        for (question, topic), answers in pairs.items()
    )
    groups = [group_of(row, "the shipped pairs") for row in rows]
    return groups[:: len(groups) // SHIPPED_PAIRS]


def _rated(options: AlignEvaluateOptions) -> Found:
    if not options.sources:
        return Found(shipped_groups(), {}, [], 0)
    scoring = Scoring(options.score_by, options.observer, options.critic_score)
    return read_sources(options.sources, types_of(options), scoring, options.max_flawed)


def _from_group(group: Group) -> Asked:
    return Asked(group.query, group.topic, "", worst_of(group))


def _from_question(text: str, topic: str, followup: str = "") -> Asked:
    return Asked(draft_messages(text), topic, followup, None)


def _from_row(row: dict[str, object], place: str) -> Asked:
    topic = next((value for name in ("topic", "category") if isinstance(value := row.get(name), str)), "")
    if TURNS not in row:
        name = next((name for name in ("text", "question", "query") if name in row), "text")
        followup = text_field(place, row, "followup") if row.get("followup") is not None else ""
        return _from_question(text_field(place, row, name).strip(), topic, followup)
    turns = row[TURNS]
    if not isinstance(turns, list) or len(turns) not in (1, 2):
        raise BadInput(f"{place}: {TURNS!r} is {turns!r}; give the question and at most one that follows its answer")
    named = {str(number): turn for number, turn in enumerate(turns, start=1)}
    texts = [text_field(f"{place}, {TURNS}", named, number).strip() for number in named]
    return _from_question(texts[0], topic, *texts[1:])


def _known(query: Sequence[Message], trained: frozenset[str]) -> bool:
    """Whether a model was trained on `query`, as it stands, without its system text, or as a society asks it."""
    forms = (tuple(query), tuple(turn for turn in query if turn.role != "system"), draft_messages(query[-1].content))
    return any(query_digest(form) in trained for form in forms)


def _drawn(asked: Iterable[Asked], options: AlignEvaluateOptions) -> tuple[Asked, ...]:
    """At most `--answers` of the questions, in their order; those without a second turn are given one."""
    every = list(asked)
    order = generator(options.seed, 0, 0, "evaluated questions").permutation(len(every))
    chosen = [every[place] for place in sorted(order[: options.answers].tolist())]
    return tuple(each if each.followup else replace(each, followup=_followup(each, options.seed)) for each in chosen)


def _followup(asked: Asked, seed: int) -> str:
    return str(generator(seed, 0, 0, "followup", asked.question).choice(FOLLOWUPS))
