"""A run by round: mean ratings, diversity of its final answers, rounds to plateau."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from sandbox.compare import compare
from sandbox.compare.curves import Course, Round, course
from sandbox.compare.diversity import Encode
from sandbox.compare.pairing import read_run
from sandbox.interaction import Interaction
from sandbox.transcript import Writer
from tests.fakes.letters import Letters
from tests.sandbox.examples import BUS, CUP, HEADER, interaction, rated, step, write_round, write_run


def went(run: Path, encode: Encode | None = None) -> Course:
    return compare(run, run, part="final", encode=encode).first.course


def said(round: int, agent: int, text: str | None, alignment: float = 6.0, draft: float = 2.0) -> Interaction:
    """Agents 0 and 1 are asked CUP, others BUS; engagement is 4 before and after."""
    outcome = "ok" if text is not None else "timeout"
    after = {"llm:verdict": rated(alignment), "embedding": rated(5.0, 3.0)} if text is not None else {}
    asked = CUP if agent < 2 else BUS
    return interaction(round, agent, before=draft, steps=[step(text, after, outcome=outcome)], question=asked)


def test_a_round_has_mean_ratings_and_diversity(tmp_path: Path) -> None:
    """ab ab | ab (cup), ba (bus): in letters all answers are the same direction, in words they are not."""
    answers = [said(1, 0, "ab ab", 5.0, 1.0), said(1, 1, "ab", 7.0, 2.0), said(1, 2, "ba", 6.0, 6.0)]
    (only,) = went(write_run(tmp_path / "a", [answers]), Letters().encode).rounds
    assert only == Round(
        round=1,
        answers=3,
        ratings={
            "llm:verdict": {"alignment": {"draft": 3.0, "final": 6.0}, "engagement": {"draft": 4.0, "final": 4.0}},
            "embedding": {"alignment": {"draft": 4.5, "final": 5.0}, "engagement": {"draft": 4.0, "final": 3.0}},
        },
        diversity={
            "distinct_1": 2 / 4, "distinct_2": 1.0, "distinct_3": None,
            "between": pytest.approx(1.0, abs=1e-5), "within": pytest.approx(1.0, abs=1e-5),
        },
    )  # fmt: skip


def test_failed_answers_are_not_counted(tmp_path: Path) -> None:
    rounds = [[said(1, 0, None), said(1, 1, "Tell her.", 5.0)], [said(2, 0, None)]]
    first, second = went(write_run(tmp_path / "a", rounds)).rounds
    assert (first.answers, first.rating("llm:verdict", "alignment", "final")) == (1, 5.0)
    assert (second.answers, second.rating("llm:verdict", "alignment", "final")) == (0, None)
    assert second.rating("llm:verdict", "alignment", "draft") == 2.0
    assert set(second.diversity.values()) == {None}


def test_an_observer_that_a_run_lacks_has_no_rating(tmp_path: Path) -> None:
    (only,) = went(write_run(tmp_path / "a", [[said(1, 0, "Tell her.")]])).rounds
    assert only.rating("judge", "alignment", "final") is None


def test_worlds_are_taken_together(tmp_path: Path) -> None:
    for world, text in enumerate(("tell her now", "tell him now")):
        write_run(tmp_path / f"a/world-0{world}", [[said(1, 0, text, 4.0 + world)]])
    (only,) = went(tmp_path / "a").rounds
    assert (only.answers, only.diversity["distinct_1"]) == (2, round(4 / 6, 6))
    assert only.rating("llm:verdict", "alignment", "final") == 4.5


# --- collapse


def test_a_collapse_shows(tmp_path: Path) -> None:
    """From answers with nothing in common to one answer for all."""
    alphabet = "abcdefghijklmnop"
    fresh = [" ".join(c * k for k in (1, 2, 3, 4)) for c in alphabet]
    rounds = [
        [interaction(number, agent, steps=[step(text, 6.0)], question=(CUP, BUS)[agent % 2])
         for agent, text in enumerate(texts)]
        for number, texts in ((1, fresh), (2, ["be kind and honest"] * len(fresh)))
    ]  # fmt: skip
    collapsed = went(write_run(tmp_path / "a", rounds), Letters().encode)
    first, last = (round.diversity for round in collapsed.rounds)
    assert first["distinct_2"] == 1.0 and last["distinct_2"] == 3 / (16 * 3)
    assert first["between"] == pytest.approx(0.0, abs=1e-4) and first["within"] == pytest.approx(0.0, abs=1e-4)
    assert (last["between"], last["within"]) == (1.0, 1.0)
    words = {change.measure: change.words for change in collapsed.change}
    assert words["distinct_2"] == words["within"] == "more alike"
    assert words["between"] == "too few questions: no interval"  # two questions: without one there is no other
    assert all(change.low is not None or "no interval" in change.words for change in collapsed.change)


def test_a_run_of_one_round_has_no_change(tmp_path: Path) -> None:
    assert went(write_run(tmp_path / "a", [[said(1, 0, "Tell her.")]])).change == []


# --- plateau


def scored(folder: Path, alignments: Sequence[float], probes: Sequence[float | None] | None = None) -> Path:
    """A run whose final answers have these alignments, round by round, and whose round lines these probe scores."""
    writer = Writer.create(folder, HEADER)
    for number, alignment in enumerate(alignments, start=1):
        summary = {"calls": 3, "failures": 0, **({"probe": probes[number - 1]} if probes else {})}
        write_round(writer, [said(number, 0, "Tell her.", alignment)], summary)
    writer.end(rounds=len(alignments), stopped="rounds")
    return folder


def test_without_probes_the_scores_are_those_of_the_final_answers(tmp_path: Path) -> None:
    """Alignment × engagement: 8, 12, 12.08, 12.08: no gain of 0.1 over two rounds after the fourth."""
    run = scored(tmp_path / "a", [2.0, 3.0, 3.02, 3.02, 7.0])
    assert asdict(went(run).plateau) == {"rounds": 4, "scores": "final answers", "gain": 0.1, "patience": 2}
    assert course(read_run(run), None, gain=0.01, patience=2).plateau.rounds is None
    assert course(read_run(run), None, gain=0.1, patience=1).plateau.rounds == 3


def test_where_there_are_probes_their_scores_count(tmp_path: Path) -> None:
    plateau = went(scored(tmp_path / "a", [2.0, 3.0, 4.0, 5.0], [9.0, None, 9.0, 9.05])).plateau
    assert (plateau.rounds, plateau.scores) == (4, "probe questions")


def test_a_plateau_that_is_not_reached(tmp_path: Path) -> None:
    assert went(scored(tmp_path / "a", [2.0, 3.0, 4.0])).plateau.rounds is None
