"""docs/transcript.md names every field, and the file that it shows is a transcript."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.observers import DIMENSIONS
from agents.observers import read as read_off
from agents.rating import Zero, words_of
from agents.records import Answer, Feedback, Rating, ReadingCall
from memory.memory import Recollection
from sandbox import transcript
from sandbox.interaction import Interaction, Question
from sandbox.transcript import read, verify_chain
from tests.sandbox.examples import HEADER, interaction, write_run

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


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-30, 0), min_size=20, max_size=20),
    st.floats(-3, 3),
    st.floats(-3, 3),
)
def test_ratings_recomputed_from_the_log_agree_within_what_is_told(
    logprobs: list[float], alignment: float, engagement: float
) -> None:
    assert "agrees within 0.0001" in DOC
    assert len(logprobs) == len(words_of(DIMENSIONS))
    given_off = read_off("verdict", DIMENSIONS, logprobs, Zero(alignment, engagement))
    call = ReadingCall(DIMENSIONS, "d", tuple(logprobs), 0.5)
    rating = Rating(given_off["alignment"], given_off["engagement"], (call,))
    observers = [{"name": "llm:verdict", "zero": {"alignment": alignment, "engagement": engagement}}]
    with TemporaryDirectory() as folder:
        said = interaction(before={"llm:verdict": rating}, steps=[])
        run = read(write_run(Path(folder) / "run", [[said]], {**HEADER, "observers": observers}))
        (logged,) = (said.before["llm:verdict"] for said in run.interactions())
        zero = Zero(**run.header["observers"][0]["zero"])
    again = read_off("verdict", DIMENSIONS, logged.calls[0].logprobs or (), zero)
    assert again["alignment"] == pytest.approx(logged.alignment, abs=1e-4)
    assert again["engagement"] == pytest.approx(logged.engagement, abs=1e-4)
