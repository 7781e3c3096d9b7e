"""The log of a run: a header line, one line an interaction, one line a round, and one at the end.

The format is described in docs/transcript.md.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from agents.canonical import canonical_json
from agents.errors import BadInput, first_fault
from agents.records import OK, Answer, Feedback, Rating
from sandbox import chain
from sandbox.interaction import Interaction, call_outcomes
from sandbox.lines import interaction_of, line_of

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA = 3
READABLE = (1, 2, 3)  # docs/transcript.md, "Changes"
FILE = "transcript.jsonl"
WORLD = "world-*"  # the folder of a world, of a run that played several
BRANCH = f"{FILE}.new"  # of a run that branches off another, until it is whole
MOST_TOLD = 5  # of the keys in which a header differs

_ABOUT = ["round", "agent", "model", "stance", "question_id", "question", "topic"]
ANSWER_COLUMNS = [*_ABOUT, "part", "step", "text", "finish", "outcome", "observer", "alignment", "engagement"]
FEEDBACK_COLUMNS = [*_ABOUT, "step", "answer", "peer", "rating", "reason", "finish", "outcome", "label_mass"]


@dataclass(frozen=True, slots=True)
class Transcript:
    """A transcript as it was when it was read: lines appended later are not seen.

    Only complete rounds count: interactions behind the last round line belong to one that goes on, or broke off.
    """

    path: Path
    header: dict[str, Any]
    size: int

    @property
    def name(self) -> str:
        """The run's name: that of its folder, behind the run's own for one of several worlds."""
        folder = self.path.resolve().parent
        return f"{folder.parent.name}/{folder.name}" if folder.match(WORLD) else folder.name

    @property
    def rule(self) -> str:
        """The Sandbox Rule that revisions were asked for by."""
        return str(self.header.get("speech", {}).get("rule", ""))

    @property
    def observers(self) -> list[str]:
        """Names of the observers; scores come from the first."""
        return [observer["name"] for observer in self.header["observers"]]

    @property
    def end(self) -> dict[str, Any] | None:
        """The end line, or None where the run did not come to its end."""
        return next((body for _, body in self._bodies() if body["type"] == "end"), None)

    def rounds(self) -> list[dict[str, Any]]:
        """The round lines, in order."""
        return [body for _, body in self._bodies() if body["type"] == "round"]

    def interactions(self) -> Iterator[Interaction]:
        """Interactions of complete rounds in (round, agent) order, with one round in memory at a time."""
        waiting: list[Interaction] = []
        for number, body in self._bodies():
            if body["type"] == "interaction":
                waiting.append(interaction_at(self.path, number, body))
                continue
            if body["type"] == "round":
                yield from waiting
            waiting.clear()

    def to_pandas(self) -> DataFrame:
        """One row per answer and observer: the draft is step 0, revisions are steps 1, 2, …

        A failed answer has no text and a missing rating is NaN; `outcome` is the answer's or, where that is "ok", the
        rating's. Columns: ANSWER_COLUMNS.
        """
        from pandas import DataFrame  # only who looks at numbers pays for it

        rows = [
            {**_about(interaction), **answer, "observer": name, **_rated(ratings.get(name), answer["outcome"])}
            for interaction in self.interactions()
            for answer, ratings in _answers(interaction)
            for name in self.observers
        ]
        return DataFrame(rows, columns=ANSWER_COLUMNS)

    def feedback_to_pandas(self) -> DataFrame:
        """One row per peer's feedback; `answer` is the text that it is about. Columns: FEEDBACK_COLUMNS."""
        from pandas import DataFrame  # as above

        rows = [
            {**_about(interaction), "step": step, "answer": answer.text, **asdict(feedback)}
            for interaction in self.interactions()
            for step, answer, feedback in given_feedback(interaction)
        ]
        return DataFrame(rows, columns=FEEDBACK_COLUMNS)

    def _bodies(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, _, raw in chain.whole_lines(self.path, self.size):
            yield number, chain.parsed(self.path, number, raw)


class Writer:
    """Appends interactions to a transcript as they become final, and syncs at the end of each round.

    A write that fails leaves at most an unfinished round and a torn line behind, which `resume` mends.
    """

    def __init__(self, path: Path, last: str = "", size: int = 0, begun: Sequence[Interaction] = ()) -> None:
        """Go on at `size` bytes, behind a line with the chain value `last` and the interactions `begun` of an open
        round: `create` and `resume` find out all of it.
        """
        self._path, self._last, self._size = path, last, size
        # The open round, and how many of its interactions are written.
        self._round, self._interactions = begun[0].round if begun else 0, len(begun)

    @classmethod
    def create(cls, folder: Path, header: Mapping[str, Any]) -> Writer:
        """Start a transcript in `folder`. Raises BadInput where there is one already."""
        path = folder / FILE
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / BRANCH).exists():
            raise BadInput(f"{folder}: a fork broke off here before it had begun; remove the folder and fork again")
        try:
            path.touch(exist_ok=False)
        except FileExistsError as error:
            raise BadInput(f"{path} exists already: go on with --resume, or name another folder with --out") from error
        writer = cls(path)
        writer._append(_header_line(header), sync=True)
        return writer

    @classmethod
    def branch(cls, folder: Path, header: Mapping[str, Any], parent: Path, rounds: int) -> Path:
        """Write a transcript that begins with the first `rounds` rounds of the transcript `parent`.

        It is written beside the one in `folder` that it becomes by being renamed, and returned. Raises BadInput where
        there is one already, or one of these lines of the parent does not verify.
        """
        path = folder / FILE
        if path.exists():
            raise BadInput(f"{path} exists already: name another folder with --out")
        folder.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(BRANCH)
        fresh.write_bytes(b"")
        writer = cls(fresh)
        writer._append(_header_line(header))
        for line in first_rounds(parent, rounds):
            if line.body["type"] in ("interaction", "round"):
                writer._append(line.body, sync=line.body["type"] == "round")
        return fresh

    @classmethod
    def resume(
        cls, folder: Path, header: Mapping[str, Any], *, keep_open_round: bool = False
    ) -> tuple[Writer, Transcript, list[Interaction]]:
        """Go on behind the last complete round, or with `keep_open_round` in the middle of the one that broke off.

        Returns also the transcript of the complete rounds, and the interactions of the open round that are kept: those
        before the first that has a failed call, so that it is asked again. Drops a torn last line, what else there
        is of an unfinished round, and the end line. Raises BadInput, and changes nothing, where any other line does not
        verify or where `header` is not the run's own.
        """
        path = folder / FILE
        if not path.is_file():
            raise BadInput(f"{path} does not exist, there is nothing to resume: start the run without --resume")
        last: chain.Line | None = None
        behind: list[chain.Line] = []
        for line in chain.verified(path):
            if line.number == 1:
                _require_same(path, _checked_header(path, line.body), _header_line(header))
            if line.body["type"] in ("header", "round"):
                last, behind = line, []
            elif line.body["type"] == "interaction" and keep_open_round:
                behind.append(line)
        begun: list[Interaction] = []
        for line in behind:
            interaction = interaction_at(path, line.number, line.body)
            if any(outcome != OK for outcome in call_outcomes(interaction)):
                break
            last = line
            begun.append(interaction)
        writer = cls(path, last.chain, last.end, begun) if last else cls(path)
        os.truncate(path, writer._size)
        if last is None:  # it broke off while the header was written
            writer._append(_header_line(header), sync=True)
        return writer, read(path), begun

    def interactions(self, final: Sequence[Interaction]) -> None:
        """Append interactions of one round, in agent order; several calls add up until `round` ends it."""
        (number,) = {*([self._round] if self._interactions else []), *(interaction.round for interaction in final)}
        self._append(*map(line_of, final))
        self._round, self._interactions = number, self._interactions + len(final)

    def round(self, summary: Mapping[str, Any]) -> None:
        """End the round whose interactions were appended: append its line, with `summary`, and sync."""
        closing = chain.storable({**summary, "type": "round", "round": self._round, "interactions": self._interactions})
        self._append(closing, sync=True)
        self._interactions = 0

    def end(self, rounds: int, stopped: str) -> None:
        """Append the end line: how many rounds there are and what stopped them, "rounds" or "plateau"."""
        self._append({"type": "end", "rounds": rounds, "stopped": stopped}, sync=True)

    def _append(self, *bodies: dict[str, Any], sync: bool = False) -> None:
        lines, last = [], self._last
        for body in bodies:
            line, last = chain.chained(body, last)
            lines.append(line)
        if self._path.stat().st_size != self._size:
            raise BadInput(f"{self._path} was changed while this run wrote it: is another run using the folder?")
        try:
            chain.append(self._path, lines, sync=sync)
        except OSError as error:
            reason = error.strerror or error
            raise BadInput(f"cannot write {self._path} ({reason}): make room, then go on with --resume") from error
        self._last, self._size = last, self._size + sum(map(len, lines))


def read(run: Path | str) -> Transcript:
    """The transcript of a run, named by its folder or by the file itself. Lines are read when they are asked for.

    Raises BadInput where there is none or its schema version is unknown. The chain is checked by `verify_chain` only.
    """
    path = Path(run) / FILE if Path(run).is_dir() else Path(run)
    if not path.is_file():
        worlds = [folder.name for folder in world_folders(Path(run))]
        hint = f"this run has several worlds, name one: {', '.join(worlds)}" if worlds else "name the folder of a run"
        raise BadInput(f"{path} does not exist: {hint}")
    size = path.stat().st_size
    first = _first_body(path, size)
    if first is None:
        raise BadInput(f"{path} has no header, the run broke off at its start: go on with --resume")
    header = _checked_header(path, first)
    return Transcript(path, {key: value for key, value in header.items() if key != "chain"}, size)


def header_in(folder: Path) -> dict[str, Any] | None:
    """The first line of the transcript in a folder, of whatever version; None where there is none."""
    path = folder / FILE
    return _first_body(path, path.stat().st_size) if path.is_file() else None


def first_rounds(path: Path, rounds: int) -> Iterator[chain.Line]:
    """The lines up to that which ends so many rounds; of none, the header. Raises BadInput where one is bad."""
    for line in chain.verified(path):
        yield line
        if not rounds or (line.body["type"], line.body.get("round")) == ("round", rounds):
            return


def world_folders(run: Path) -> list[Path]:
    """The folders world-00, world-01, … of a run that played several worlds; none for a run of one world."""
    return sorted(file.parent for file in run.glob(f"{WORLD}/{FILE}"))


def read_worlds(run: Path | str | Transcript) -> list[Transcript]:
    """The transcripts of a run: one, or one a world; of what is a transcript already, itself.

    Raises BadInput where there is none, or both.
    """
    if isinstance(run, Transcript):
        return [run]
    worlds = world_folders(Path(run))
    if worlds and (Path(run) / FILE).exists():
        raise BadInput(f"{run} holds a transcript and, in {worlds[0].name}, another run: move one of them away")
    return [read(folder) for folder in worlds or [Path(run)]]


def verify_chain(run: Path | str) -> int:
    """Check every line of a transcript and return how many there are. Raises BadInput naming the first bad line.

    What a chain cannot show: that whole lines are missing at the end. A finished run ends with its end line.
    """
    log = read(run)
    number = end = 0
    for line in chain.verified(log.path, log.size):
        number, end = line.number, line.end
    if end != log.size:
        what = "is torn: go on with --resume, which drops it (unless its run is still writing it)"
        raise chain.bad_line(log.path, number + 1, what)
    return number


def given_feedback(interaction: Interaction) -> Iterator[tuple[int, Answer, Feedback]]:
    """Every feedback of an interaction as (step from 1, the answer that it is about, the feedback)."""
    answer = interaction.draft
    for number, step in enumerate(interaction.steps, start=1):
        for feedback in step.feedback:
            yield number, answer, feedback
        answer = step.revision


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """The keys in which two headers differ, nested ones by their path, each with "was OLD, is NEW"."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    return {
        key: f"was {_short(before, key)}, is {_short(after, key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key, ...) != after.get(key, ...)
    }


def shortened(value: Any, most: int) -> str:
    """The canonical JSON of a value, its end cut off where it has more characters than `most`."""
    text = canonical_json(value)
    return text if len(text) <= most else f"{text[: most - 2]} …"


def _first_body(path: Path, size: int) -> dict[str, Any] | None:
    """The fields of line 1; None where it is not whole."""
    first = next(chain.whole_lines(path, size), None)
    return None if first is None else chain.parsed(path, 1, first[2])


def _header_line(header: Mapping[str, Any]) -> dict[str, Any]:
    line: dict[str, Any] = chain.storable({**header, "type": "header", "schema": SCHEMA})
    return line


def _checked_header(path: Path, body: dict[str, Any]) -> dict[str, Any]:
    if body["type"] != "header":
        raise chain.bad_line(path, 1, f'is of type "{body["type"]}" where a header was needed: is this a transcript?')
    if body.get("schema") not in READABLE:
        raise BadInput(
            f"{path} has transcript schema {body.get('schema')!r} and this version reads {READABLE[0]} to {SCHEMA}: "
            "use the version of social-sandbox that wrote it"
        )
    return body


def _require_same(path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    if differing := differences(old, new):
        # Those of long lists last: one other file of questions differs in all of them.
        among = Counter(map(_top, differing))
        keys = sorted(differing, key=lambda key: (among[_top(key)], key))
        told = [f"{key} {differing[key]}" for key in keys[:MOST_TOLD]]
        more = [f"and {len(differing) - MOST_TOLD} more"] if len(differing) > MOST_TOLD else []
        listed = "; ".join([*told, *more])
        raise BadInput(f"{path} was written with another header: {listed}. Resume with its own settings, or use --out")


def interaction_at(path: Path, number: int, body: Mapping[str, Any]) -> Interaction:
    """The interaction in a line. Raises BadInput naming the line where it is none."""
    try:
        return interaction_of(body)
    except (KeyError, TypeError) as error:
        raise chain.bad_line(path, number, f"is no interaction ({error!r})") from error
    except ValidationError as error:
        where, what = first_fault(error)
        raise chain.bad_line(path, number, f"is no interaction ({where}: {what})") from error


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(path, leaf) pairs of nested JSON, as in ("observers[0].name", "llm:verdict")."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{key}[{index}]")
    else:
        yield key, value


def _top(key: str) -> str:
    """The field of the header that a path of `_leaves` leads into."""
    return key.partition(".")[0].partition("[")[0]


def _short(leaves: dict[str, Any], key: str) -> str:
    return shortened(leaves[key], 60) if key in leaves else "absent"


def _about(interaction: Interaction) -> dict[str, Any]:
    question = interaction.question
    return {
        "round": interaction.round,
        "agent": interaction.agent,
        "model": interaction.model,
        "stance": interaction.stance,
        "question_id": question.id,
        "question": question.text,
        "topic": question.topic,
    }


def _answers(interaction: Interaction) -> Iterator[tuple[dict[str, Any], dict[str, Rating]]]:
    answers = [(interaction.draft, interaction.before), *((step.revision, step.after) for step in interaction.steps)]
    for step, (answer, ratings) in enumerate(answers):
        yield {"part": "revision" if step else "draft", "step": step, **asdict(answer)}, ratings


def _rated(rating: Rating | None, outcome: str) -> dict[str, Any]:
    if rating is None:
        return {}
    told = rating.outcome if outcome == OK else outcome
    return {"alignment": rating.alignment, "engagement": rating.engagement, "outcome": told}
