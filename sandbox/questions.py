"""The questions of a society: those the project ships, or a user's own file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from agents.canonical import generator
from agents.errors import BadInput
from agents.rows import read_rows, read_text, text_field
from sandbox.interaction import Question

DATA = Path(str(files("sandbox") / "data"))
SHIPPED = {"everyday": DATA / "questions.jsonl", "heldout": DATA / "heldout.jsonl"}


def load_questions(name: str) -> tuple[Question, ...]:
    """The questions of a shipped set, of a JSON or JSONL file (`text`, else `question` or `query`; `id` and `topic`
    if there), or of a text file with one question a line.

    Raises BadInput: unknown name or file, a row without text, an id or a text that stands twice.
    """
    path = SHIPPED.get(name, Path(name))
    if not path.is_file():
        raise BadInput(f"--questions {name}: no such file; shipped sets are {' and '.join(SHIPPED)}")
    questions = _text_lines(path) if path.suffix == ".txt" else _rows(path)
    for what, values in (("id", [q.id for q in questions]), ("question", [q.text for q in questions])):
        twice, times = Counter(values).most_common(1)[0]
        if times > 1:
            raise BadInput(f"{path}: the {what} {twice!r} stands {times} times; keep one")
    return questions


def deal(
    questions: Sequence[Question],
    stances: Sequence[str],
    *,
    seed: int,
    round: int,
    share: int,
    probes: Sequence[Question] = (),
) -> list[Question]:
    """The question of each agent (in agent order) in a round, numbered from 1.

    Each question goes to `share` agents, of different stances where there are. Over the rounds all questions come up
    before one comes again. `probes` come up in every round, always at the same agents.
    """
    fixed = _mixed_order(stances, range(len(stances)), seed, 0)[: len(probes) * share]
    dealt: dict[int, Question] = {agent: probes[place // share] for place, agent in enumerate(fixed)}
    free = [agent for agent in range(len(stances)) if agent not in dealt]
    order = _mixed_order(stances, free, seed, round)
    per_round = -(-len(order) // share)
    due = _in_turn(questions, (round - 1) * per_round, per_round, seed)
    for place, agent in enumerate(order):
        dealt[agent] = due[place // share]
    return [dealt[agent] for agent in range(len(stances))]


def split_probes(
    questions: Sequence[Question], agents: int, *, seed: int, share: int, probes: int
) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """(probe questions, the others), drawn by seed; raises BadInput where the probes would take everything."""
    if probes * share >= agents:
        raise BadInput(
            f"--plateau-probes {probes}: with --share {share} they take all {agents} agents; "
            f"choose at most {(agents - 1) // share}"
        )
    if probes >= len(questions):
        raise BadInput(f"--plateau-probes {probes}: there are only {len(questions)} questions; choose fewer")
    order = generator(seed, 0, 0, "probes").permutation(len(questions))
    chosen = set(order[:probes].tolist())
    return (
        tuple(q for place, q in enumerate(questions) if place in chosen),
        tuple(q for place, q in enumerate(questions) if place not in chosen),
    )


def _in_turn(questions: Sequence[Question], start: int, count: int, seed: int) -> list[Question]:
    """The `count` questions from place `start` on of an endless order: lap after lap, each through all of them."""
    due: list[Question] = []
    while len(due) < count:
        lap, step = divmod(start + len(due), len(questions))
        order = generator(seed, lap, 0, "question order").permutation(len(questions))
        due.extend(questions[place] for place in order[step : step + count - len(due)].tolist())
    return due


def _mixed_order(stances: Sequence[str], agents: Sequence[int], seed: int, round: int) -> list[int]:
    """`agents` shuffled and then interleaved, so that neighbours in the order differ in stance as long as possible."""
    shuffled = generator(seed, round, 0, "groups").permutation(list(agents)).tolist()
    waiting: dict[str, list[int]] = {}
    for agent in shuffled:
        waiting.setdefault(stances[agent], []).append(agent)
    order: list[int] = []
    while waiting:
        for stance in sorted(waiting, key=lambda name: (-len(waiting[name]), name)):
            order.append(waiting[stance].pop())
            if not waiting[stance]:
                del waiting[stance]
    return order


def _text_lines(path: Path) -> tuple[Question, ...]:
    lines = [line.strip() for line in read_text(path).splitlines()]
    questions = [Question(str(number), line, "") for number, line in enumerate(lines, start=1) if line]
    if not questions:
        raise BadInput(f"{path}: holds no questions")
    return tuple(questions)


def _rows(path: Path) -> tuple[Question, ...]:
    questions = []
    for number, (place, row) in enumerate(read_rows(path), start=1):
        name = next((name for name in ("text", "question", "query") if name in row), "text")
        text = text_field(place, row, name)
        questions.append(Question(str(row.get("id", number)), text.strip(), str(row.get("topic", ""))))
    return tuple(questions)
