"""Comparing runs: what is paired with what, intervals over questions, agreement, and what the answers are like."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from agents.errors import BadInput
from sandbox import compare as module
from sandbox.agreement import agreement
from sandbox.compare import Comparison, compare, paired_difference, revision_table, table, to_json
from sandbox.interaction import Interaction
from sandbox.texts import Texts, copied_share, describe
from tests.sandbox.examples import BUS, CUP, HEADER, heard, interaction, rated, step, write_run


def society(folder: Path, drafts: dict[int, float], header: dict[str, Any] = HEADER, **changes: Any) -> Path:
    """One round; agents 0 and 1 answer CUP, agent 2 answers BUS; `drafts` are the alignments of their drafts."""
    interactions = [
        interaction(1, agent, before=alignment, question=BUS if agent == 2 else CUP, **changes)
        for agent, alignment in drafts.items()
    ]
    return write_run(folder, [interactions], header)


def printed(comparison: Comparison) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(table(comparison), revision_table(comparison))
    return console.file.getvalue()  # type: ignore[attr-defined]


# --- pairing and intervals


def test_every_question_weighs_the_same() -> None:
    row = paired_difference("o", "alignment", ["cup", "cup", "bus"], [2.0, 4.0, 5.0], [3.0, 7.0, 5.0])
    assert (row.first, row.second, row.difference) == ((3 + 5) / 2, (5 + 5) / 2, (2 + 0) / 2)
    assert (row.pairs, row.questions) == (3, 2)


def test_the_interval_resamples_questions_not_pairs() -> None:
    """A hundred pairs a question tell nothing about other questions: two questions, differences 0 and 2."""
    names = ["cup"] * 100 + ["bus"] * 100
    row = paired_difference("o", "alignment", names, [4.0] * 200, [4.0] * 100 + [6.0] * 100)
    assert (row.difference, row.low, row.high) == (1.0, 0.0, 2.0)
    assert row.words == "interval includes zero: no difference shown"


@pytest.mark.parametrize(("change", "words"), [(0.5, "higher"), (-0.5, "lower")])
def test_a_clear_difference_is_told(change: float, words: str) -> None:
    wobble = np.linspace(-0.2, 0.2, 12)
    row = paired_difference("o", "alignment", [f"q{k}" for k in range(12)], [4.0] * 12, (4 + change + wobble).tolist())
    assert row.words == words and row.low is not None and row.high is not None
    assert row.difference == pytest.approx(change) and abs(row.high - row.low) < 0.2


def test_one_question_has_no_interval() -> None:
    row = paired_difference("o", "alignment", ["cup"], [4.0], [5.0])
    assert (row.low, row.high, row.words) == (None, None, "one question only: no interval")


def test_runs_are_joined_on_question_and_agent(tmp_path: Path) -> None:
    a = society(tmp_path / "a", {0: 2.0, 1: 4.0, 2: 5.0})
    b = society(tmp_path / "b", {2: 5.0, 1: 7.0, 0: 3.0, 3: 7.0})
    comparison = compare(a, b)
    alignment = comparison.ratings[0]
    assert (alignment.observer, alignment.dimension) == ("llm:verdict", "alignment")
    assert (alignment.first, alignment.second, alignment.difference) == (4.0, 5.0, 1.0)
    assert [(row.observer, row.dimension) for row in comparison.ratings[1:]] == [
        ("llm:verdict", "engagement"), ("embedding", "alignment"), ("embedding", "engagement"),
    ]  # fmt: skip
    assert (comparison.joined, comparison.unmatched) == (3, (0, 1))


def test_missing_ratings_leave_their_pair_out(tmp_path: Path) -> None:
    a = society(tmp_path / "a", {0: 2.0, 2: 5.0})
    b = write_run(tmp_path / "b", [[interaction(1, 0, draft=None, before={}, steps=[]), *_only(5.5)]])
    (row, *_) = compare(a, b).ratings
    assert (row.pairs, row.difference) == (1, 0.5)


def _only(alignment: float) -> list[Interaction]:
    return [interaction(1, 2, before=alignment, question=BUS)]


def test_final_answers_are_compared_where_asked(tmp_path: Path) -> None:
    steps = [step("One.", 4.0), step("Two.", 4.5)]
    a, b = society(tmp_path / "a", {0: 2.0}, steps=steps), society(tmp_path / "b", {0: 7.0}, steps=[step("Yes.", 6.0)])
    assert [compare(a, b, part=part).ratings[0].difference for part in ("draft", "final")] == [5.0, 1.5]  # type: ignore[arg-type]
    (revised, *_) = compare(a, b).first.revised
    assert (revised.first, revised.second, revised.difference) == (2.0, 4.5, 2.5)


def test_without_revisions_there_is_nothing_to_compare_within_a_run(tmp_path: Path) -> None:
    comparison = compare(*(society(tmp_path / name, {0: 2.0}, steps=[]) for name in "ab"))
    assert comparison.first.revised == [] and len(comparison.ratings) == 4


def test_worlds_are_joined_one_by_one(tmp_path: Path) -> None:
    for run, shift in (("a", 0.0), ("b", 1.0)):
        for world in (0, 1):
            society(tmp_path / run / f"world-0{world}", {0: 2.0 + 2 * world + shift * world})
    comparison = compare(tmp_path / "a", tmp_path / "b")
    assert comparison.joined == 2 and comparison.ratings[0].difference == 0.5


@pytest.mark.parametrize(
    ("header", "drafts", "message"),
    [
        ({**HEADER, "seed": 1}, {0: 2.0}, "differ in: seed was 0, is 1"),
        (HEADER, {7: 2.0}, "differ in: their questions"),
        ({**HEADER, "world": {**HEADER["world"], "size": 3}}, {7: 2.0}, "differ in: world.size was 2, is 3"),
        ({**HEADER, "observers": [{"name": "judge"}]}, {0: 2.0}, "nothing in common to compare by"),
    ],
)
def test_what_cannot_be_joined_is_refused(
    tmp_path: Path, header: dict[str, Any], drafts: dict[int, float], message: str
) -> None:
    a, b = society(tmp_path / "a", {0: 2.0}), society(tmp_path / "b", drafts, header)
    with pytest.raises(BadInput, match=message):
        compare(a, b)


def test_observers_can_be_named(tmp_path: Path) -> None:
    runs = [society(tmp_path / name, {0: 2.0}) for name in "ab"]
    assert {row.observer for row in compare(*runs, observers=["embedding"]).ratings} == {"embedding"}
    with pytest.raises(BadInput, match="no judge in common"):
        compare(*runs, observers=["judge"])


def test_other_differences_than_the_models_are_told(tmp_path: Path) -> None:
    header = {**HEADER, "models": [{"name": "big", "digest": "11"}], "speech": {**HEADER["speech"], "rule": "Obey."}}
    comparison = compare(society(tmp_path / "a", {0: 2.0}), society(tmp_path / "b", {0: 3.0}, header))
    assert comparison.differing == {"speech.rule": 'was "Be kind.", is "Obey."'}
    assert "besides their models the runs differ in speech.rule" in printed(comparison)


# --- agreement


@pytest.mark.parametrize(
    ("ratings", "alpha"),
    [
        ([[1.2, 4.0, 6.9], [0.9, 4.4, 7.0]], 1.0),  # equal when rounded
        # Coincidences o12 = o21 = 2, n1 = n2 = 2, δ² = (1 + 1)² = 4: α = 1 − (4·4/4) / (2·2·2·4/(4·3)) = −0.5
        ([[1.0, 2.0], [2.0, 1.0]], -0.5),
        ([[4.0, 4.0], [4.0, 4.1]], None),
        ([[1.0, np.nan], [np.nan, 2.0]], None),
        ([[1.0, 2.0]], None),
        ([[1.0, 7.0, np.nan], [1.0, 7.0, 3.0]], 1.0),
    ],
)
def test_agreement(ratings: list[list[float]], alpha: float | None) -> None:
    assert agreement(np.array(ratings)) == (None if alpha is None else pytest.approx(alpha))


def test_agreement_of_a_run_is_over_all_its_answers(tmp_path: Path) -> None:
    same = {"llm:verdict": rated(2.0, 3.0), "embedding": rated(2.0, 5.0)}
    other = {"llm:verdict": rated(6.0, 5.0), "embedding": rated(6.0, 3.0)}
    runs = [write_run(tmp_path / name, [[interaction(before=same, steps=[step("Tell her.", other)])]]) for name in "ab"]
    found = compare(*runs).first.agreement
    assert found["alignment"] == 1.0 and found["engagement"] == pytest.approx(-0.5)


# --- texts


def test_texts_are_measured_by_hand() -> None:
    assert describe([("Be kind, be kind.", []), ("Be good", [])]) == Texts(2, 3.0, 3 / 4, 0.0)
    assert describe([("Yes.", ["Yes."])]) == Texts(1, 1.0, None, None)
    assert describe([]) == Texts(0, None, None, None)


def test_copying_counts_word_triples_of_one_shown_text() -> None:
    assert copied_share("Be kind and honest now", ["Always BE KIND and honest!"]) == 2 / 3
    assert copied_share("Be kind and honest now", ["Be kind", "and honest now"]) == 1 / 3


def test_a_revision_that_repeats_rule_and_feedback_is_noticed_but_not_one_that_keeps_its_draft(tmp_path: Path) -> None:
    header = {**HEADER, "speech": {"rule": "Be kind to everybody."}}
    feedback = [heard(1, 2.0, "This answer is not honest.")]
    draft = "Hide the cup quickly"
    runs = [
        society(tmp_path / name, {0: 2.0}, header, draft=draft, steps=[step(text, 6.0, feedback)])
        for name, text in (("a", draft), ("b", "Be kind to everybody, this answer is not honest"))
    ]
    final, drafts = compare(*runs, part="final"), compare(*runs)
    assert (final.first.texts.copied, final.second.texts.copied) == (0.0, (2 + 3) / 7)
    assert drafts.second.texts.copied == 0.0


# --- output


def test_the_table_tells_numbers_and_words(tmp_path: Path) -> None:
    a = society(tmp_path / "a", {0: 2.0, 1: 4.0, 2: 5.0})
    b = society(tmp_path / "b", {0: 3.0, 1: 7.0, 2: 5.0})
    lines = printed(compare(a, b)).splitlines()
    (alignment,) = [line for line in lines if "llm:verdict alignment" in line and "a:" not in line and "b:" not in line]
    for told in ("4.00", "5.00", "+1.00", "+0.00 … +2.00", "interval includes zero"):
        assert told in alignment
    assert any("a: llm:verdict alignment" in line and "+2.00" in line for line in lines)  # drafts 4, finals 6


def test_json_holds_all_numbers(tmp_path: Path) -> None:
    comparison = compare(*(society(tmp_path / name, {0: 2.0, 2: 5.0}) for name in "ab"))
    body = json.loads(to_json(comparison))
    assert body["ratings"][0] == {
        "observer": "llm:verdict", "dimension": "alignment", "first": 3.5, "second": 3.5, "difference": 0.0,
        "low": 0.0, "high": 0.0, "pairs": 2, "questions": 2, "words": "interval includes zero: no difference shown",
    }  # fmt: skip
    assert body["first"]["revised"][0]["words"] == "higher" and body["part"] == "draft"


def test_main_prints_every_run_against_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [society(tmp_path / name, {0: 2.0, 2: 5.0}) for name in ("a", "[b]", "c:cat:")]
    assert module.main(runs, "draft", tmp_path / "out.json") == 0
    out = capsys.readouterr().out
    assert "drafts of a and [b]" in out and "drafts of a and c:cat:" in out
    written = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert [body["second"]["name"] for body in written] == ["[b]", "c:cat:"]
    with pytest.raises(BadInput, match="1 run to compare: name two or more"):
        module.main(runs[:1], "draft", None)
