"""Judged answers of a user's file, from which a model learns what a judgement looks like before it judges itself.

The paper's evaluation fine-tuning, EFT (arXiv 2401.10020, section 2.2, and 2407.19594, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.errors import BadInput
from agents.local import pretrained_tokenizer
from agents.models import model_folder
from agents.rows import read_rows, text_field
from alignment.meta_judge.judging import POINTS, SCORE_END, judge_messages, score_in
from alignment.stable import prepared
from alignment.tokens import ChatFormat

Row = dict[str, Any]
HIGHEST = len(POINTS) - 1


def read_judged(path: Path) -> list[Row]:
    """The rows {prompt, response, judgement, score} of a file as groups of one response: what a judge is to say.

    A judgement that ends without its score gets the line. Raises BadInput naming file and row, where a score is none
    from 0 to 5, or the judgement's own is another.
    """
    return [_group(place, row, number) for number, (place, row) in enumerate(read_rows(path), start=1)]


def require_room(rows: Sequence[Row], model: str, max_length: int) -> None:
    """Raises BadInput where `max_length` would cut all rows, in tokens of the model of that name."""
    format = ChatFormat.of(pretrained_tokenizer(model, model_folder(model)))
    if all(any(row.truncated) for row in prepared(rows, format, max_length).rows):
        raise BadInput(f"--max-length {max_length}: would cut all of {len(rows)} judged answers; choose more")


def _group(place: str, row: Row, number: int) -> Row:
    prompt, response, judgement = (text_field(place, row, name) for name in ("prompt", "response", "judgement"))
    return {
        "id": str(number),
        "kind": "eft",
        "question": prompt,
        "query": [asdict(turn) for turn in judge_messages(prompt, response)],
        "responses": [_ended(place, judgement, _score(place, row))],
        "scores": [1.0],  # all are to be imitated alike
    }


def _score(place: str, row: Row) -> float:
    score = row.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= HIGHEST:
        raise BadInput(f"{place}: 'score' is {score!r}; give a number from 0 to {HIGHEST}")
    return float(score)


def _ended(place: str, judgement: str, score: float) -> str:
    """A judgement that ends with its score."""
    own = score_in(judgement)
    if own is None:
        return f"{judgement.strip()}\n\n{SCORE_END}{score:g}"
    if own != score:
        raise BadInput(f"{place}: 'judgement' ends with the score {own:g}, but 'score' is {score:g}; make them equal")
    return judgement.strip()
