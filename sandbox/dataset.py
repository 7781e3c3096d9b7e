"""From transcripts to training rows: groups of rated responses to one query, split by question.

What each type of row is, and how its scores come about, is described in docs/datasets.md.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import jinja2

from agents.errors import BadInput
from agents.language_model import Message
from sandbox.copies import Form, form_of, near_copies
from sandbox.folders import appearing
from sandbox.responses import CriticScore, GroupType, Response, ScoreBy, Scoring, responses_of
from sandbox.responses import Origin as Origin
from sandbox.split import TEST_SHARE
from sandbox.split import split as split
from sandbox.transcript import Transcript, read_worlds

if TYPE_CHECKING:
    from memory.encoder import Encoder  # importing it takes seconds, and reading groups needs none

# Ratings closer than this count as equal: no pair is made of them.
TIE = 0.25

GROUP_TYPES: tuple[GroupType, ...] = get_args(GroupType)
CARD_MARK = "social-sandbox"  # a tag of the card: a folder that carries it is ours to replace


@dataclass(frozen=True, slots=True)
class Group:
    """One query with several rated responses; the tuples run parallel.

    `query` is the chat before the response, without memory and rule. `finished` says whether a response ended by
    itself: only then is its end of turn trained. `question` is the text that train/test splits go by. `topic` is the
    question's, "" where it has none. Not `rated`: the scores say no more than which response is better. `openness`, in
    [0, 1], is how many good responses there are to the query; None where nobody tells.
    """

    query: tuple[Message, ...]
    responses: tuple[str, ...]
    scores: tuple[float, ...]
    finished: tuple[bool, ...]
    models: tuple[str, ...]
    question: str
    origins: tuple[Origin, ...] = ()
    type: GroupType = "imitation"
    topic: str = ""
    rated: bool = True
    openness: float | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """Groups, and how many responses were left out for which reason."""

    groups: list[Group]
    left_out: dict[str, int]


def groups_of(
    runs: Sequence[Path],
    type: GroupType = "imitation",
    *,
    score_by: ScoreBy = "alignment",
    observer: str | None = None,
    critic_score: CriticScore = "agreement",
) -> list[Group]:
    """The groups of one type in `runs` (run folders or transcripts, one world or several); see `Scoring`.

    Equal queries merge across agents, rounds, worlds and runs. Failed answers, missing ratings and near-copies are
    left out; `collect` counts them. Raises BadInput where a run has no such observer.
    """
    return collect(runs, type, Scoring(score_by, observer, critic_score)).groups


def collect(
    runs: Sequence[Path | Transcript], type: GroupType = "imitation", scoring: Scoring | None = None
) -> Collection:
    """`groups_of` with the count of what was left out, by reason."""
    scoring = scoring or Scoring()
    left_out: Counter[str] = Counter()
    together: dict[tuple[Message, ...], list[Response]] = {}
    for transcript in (world for run in runs for world in read_worlds(run)):
        for response in responses_of(transcript, type, scoring):
            if response.flaw:
                left_out[response.flaw] += 1
            else:
                together.setdefault(response.query, []).append(response)
    groups = []
    for responses in together.values():
        kept = _without_near_copies(responses)
        left_out["near-copy"] += len(responses) - len(kept)
        groups.append(_group(kept, type))
    return Collection(groups, {reason: count for reason, count in sorted(left_out.items()) if count})


@dataclass(frozen=True, slots=True)
class Export:
    """What an export wrote: rows by configuration and split; what was empty; what was left out, by type and reason."""

    rows: dict[str, dict[str, int]]
    empty: list[str]
    left_out: dict[str, dict[str, int]]

    def __str__(self) -> str:
        """One line."""
        written = [f"{name} {' + '.join(map(str, counts.values()))}" for name, counts in self.rows.items()]
        return "; ".join(
            ["rows " + ", ".join(written)] + [f"empty and left out: {', '.join(self.empty)}"] * bool(self.empty)
        )


def export(
    runs: Sequence[Path],
    out: Path,
    encoder: Encoder,
    *,
    scoring: Scoring | None = None,
    test_share: float = TEST_SHARE,
    seed: int = 0,
) -> Export:
    """Write a folder that `datasets.load_dataset(out, configuration)` reads: one configuration a type, with a card.

    Rows are split into train and test by question, see `split`. The folder is built beside `out` and then takes its
    place; an earlier export there is replaced. Raises BadInput where `out` holds anything else.
    """
    if out.exists() and not _is_export(out):
        raise BadInput(f"{out} holds something else than an exported dataset: name another folder")
    scoring = scoring or Scoring()
    collections = {type: collect(runs, type, scoring) for type in GROUP_TYPES}
    rows = _rows({type: collection.groups for type, collection in collections.items()})
    questions = sorted({row["question"] for typed in rows.values() for row in typed})
    held_out = split(questions, encoder.encode(questions), test_share=test_share, seed=seed) if questions else {}
    tables = {
        name: {
            part: chosen
            for part in ("train", "test")
            if (chosen := [row for row in typed if held_out[row["question"]] == (part == "test")])
        }
        for name, typed in rows.items()
    }
    told = Export(
        rows={name: {part: len(rows) for part, rows in parts.items()} for name, parts in tables.items() if parts},
        empty=[name for name, parts in tables.items() if not parts],
        left_out={type: collection.left_out for type, collection in collections.items()},
    )
    transcripts = [world for run in runs for world in read_worlds(run)]
    with appearing(out, replacing=True) as folder:
        for name, parts in tables.items():
            for part, chosen in parts.items():
                _write_jsonl(folder / name / f"{part}.jsonl", chosen)
        (folder / "README.md").write_text(_card(told, tables, transcripts, scoring), encoding="utf-8")
    return told


def preference_rows(groups: Iterable[Group]) -> list[dict[str, Any]]:
    """TRL's conversational preference rows: {prompt, chosen, rejected, margin}.

    The best response of a group against each one rated more than TIE below it; margin is the difference of scores.
    """
    return [preference_row(group, best, worse) for group in groups for best, worse in preference_pairs(group)]


def preference_pairs(group: Group) -> list[tuple[int, int]]:
    """(best, worse) places in a group, one pair for each response that is rated more than TIE below the best."""
    best = _best(group)
    return [(best, k) for k, score in enumerate(group.scores) if group.scores[best] - score > TIE]


def preference_row(group: Group, best: int, worse: int) -> dict[str, Any]:
    """One conversational preference row."""
    return {
        "prompt": _chat(group.query),
        "chosen": [_reply(group.responses[best])],
        "rejected": [_reply(group.responses[worse])],
        "margin": group.scores[best] - group.scores[worse],
    }


def sft_rows(groups: Iterable[Group]) -> list[dict[str, Any]]:
    """Conversational rows {messages}: each query with its best response (the first of equals)."""
    return [{"messages": [*_chat(group.query), _reply(group.responses[_best(group)])]} for group in groups]


def group_row(group: Group) -> dict[str, Any]:
    """A group as plain JSON values."""
    parallel = ("responses", "scores", "finished", "models")
    return {
        "query": _chat(group.query),
        **{name: list(getattr(group, name)) for name in parallel},
        "question": group.question,
        "origins": [asdict(origin) for origin in group.origins],
    }


def _rows(groups: dict[GroupType, list[Group]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of every configuration, each with its question and the origins of its responses."""
    rows = {str(type): [group_row(group) for group in typed] for type, typed in groups.items()}
    rows["preference"] = [
        {**preference_row(group, best, worse), **_source(group, best, worse)}
        for group in groups["imitation"]
        for best, worse in preference_pairs(group)
    ]
    rows["sft"] = [
        {**row, **_source(group, _best(group))} for group in groups["imitation"] for row in sft_rows([group])
    ]
    return rows


def _source(group: Group, *places: int) -> dict[str, Any]:
    return {"question": group.question, "origins": [asdict(group.origins[place]) for place in places]}


def _write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _is_export(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    card = folder / "README.md"
    return CARD_MARK in card.read_text("utf-8") if card.is_file() else not any(folder.iterdir())


def _card(
    told: Export,
    tables: dict[str, dict[str, list[dict[str, Any]]]],
    transcripts: Sequence[Transcript],
    scoring: Scoring,
) -> str:
    template = jinja2.Template(
        (files("sandbox") / "data" / "dataset_card.md").read_text("utf-8"), trim_blocks=True, keep_trailing_newline=True
    )
    card: str = template.render(
        told=told,
        runs=[transcript.name for transcript in transcripts],
        models=sorted({model["name"] for transcript in transcripts for model in transcript.header["models"]}),
        observers=sorted({scoring.observer or transcript.observers[0] for transcript in transcripts}),
        scoring=scoring,
        mark=CARD_MARK,
        examples={
            name: json.dumps(_shortened(next(iter(parts.values()))[0]), ensure_ascii=False, indent=1)
            for name, parts in tables.items()
            if parts
        },
    )
    return card


def _shortened(row: dict[str, Any]) -> dict[str, Any]:
    """A group row with its first two responses only."""
    parallel = ("responses", "scores", "finished", "models", "origins")
    return {name: value[:2] if name in parallel else value for name, value in row.items()}


def _without_near_copies(responses: Sequence[Response]) -> list[Response]:
    """The responses without those that nearly repeat an earlier one."""
    kept: list[tuple[Response, Form]] = []
    for response in responses:
        form = form_of(response.text)
        if not any(near_copies(form, earlier) for _, earlier in kept):
            kept.append((response, form))
    return [response for response, _ in kept]


def _group(responses: Sequence[Response], type: GroupType) -> Group:
    return Group(
        query=responses[0].query,
        responses=tuple(response.text for response in responses),
        scores=tuple(response.score for response in responses),
        finished=tuple(response.finished for response in responses),
        models=tuple(response.model for response in responses),
        question=responses[0].question,
        origins=tuple(response.origin for response in responses),
        type=type,
        topic=responses[0].topic,
    )


def _best(group: Group) -> int:
    return group.scores.index(max(group.scores))


def _chat(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _reply(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}
