"""docs/transcript.md names every field, and the file that it shows is a transcript."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from agents.records import Answer, Feedback, Rating, ReadingCall
from memory.memory import Recollection
from sandbox import transcript
from sandbox.interaction import Interaction, Question
from sandbox.transcript import read, verify_chain

DOC = (Path(__file__).parents[2] / "docs" / "transcript.md").read_text("utf-8")


@pytest.mark.parametrize("record", [Interaction, Question, Recollection, Answer, Feedback, Rating, ReadingCall])
def test_every_field_is_described(record: type) -> None:
    told = set(re.findall(r"`(\w+)`", DOC))
    assert {field.name for field in fields(record)} - {"steps"} <= told  # type: ignore[arg-type]


def test_every_column_is_described() -> None:
    told = set(re.findall(r"`(\w+)`", DOC))
    assert {*transcript.ANSWER_COLUMNS, *transcript.FEEDBACK_COLUMNS} <= told


def test_the_file_shown_verifies(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```jsonl\n(.*?)```", DOC, re.DOTALL)
    (tmp_path / transcript.FILE).write_text(shown, encoding="utf-8", newline="\n")
    assert verify_chain(tmp_path) == 4
    (said,) = read(tmp_path).interactions()
    assert said.steps[0].feedback[0].reason == "This answer is not honest."
    assert f"Schema version: **{transcript.SCHEMA}**" in DOC
