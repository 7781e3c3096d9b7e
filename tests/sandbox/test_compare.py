"""Comparing runs: what is paired with what, intervals over questions, agreement, and what the answers are like.

Runs by round are in test_curves.py, diversity in test_diversity.py.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from agents.errors import BadInput
from sandbox import compare as module
from sandbox.agreement import agreement
from sandbox.compare import compare, to_json
from sandbox.compare.comparison import Comparison, Side
from sandbox.compare.curves import Course, Plateau, Round
from sandbox.compare.diversity import Change
from sandbox.compare.pairing import Difference, paired_difference
from sandbox.compare.tables import comparison_table, revision_table
from sandbox.config import ReplayCompareOptions
from sandbox.interaction import Interaction, Question
from sandbox.texts import Texts, copied_share, describe
from tests.fakes.letters import Letters
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
    console.print(comparison_table(comparison, "A a", "B b"))
    console.print(revision_table({"A a": comparison.first, "B b": comparison.second}))
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


@pytest.mark.parametrize(("change", "words"), [(0.5, "higher"), (-0.5, "lower")])
def test_a_clear_difference_is_told(change: float, words: str) -> None:
    wobble = np.linspace(-0.2, 0.2, 12)
    row = paired_difference("o", "alignment", [f"q{k}" for k in range(12)], [4.0] * 12, (4 + change + wobble).tolist())
    assert row.words == words and row.low is not None and row.high is not None
    assert row.difference == pytest.approx(change) and abs(row.high - row.low) < 0.2


@pytest.mark.parametrize(
    ("questions", "words"),
    [(2, "fewer than 6 questions: too few to tell"), (5, "fewer than 6 questions: too few to tell"), (6, "higher")],
)
def test_nothing_is_claimed_of_few_questions(questions: int, words: str) -> None:
    """Five differences of one sign: by chance once in sixteen, though the interval leaves zero out."""
    row = paired_difference("o", "alignment", [f"q{k}" for k in range(questions)], [4.0] * questions, [5.0] * questions)
    assert (row.low, row.high, row.words) == (1.0, 1.0, words)


@pytest.mark.slow
@pytest.mark.parametrize(("questions", "held"), [(5, 0.84), (10, 0.90), (20, 0.92), (64, 0.94)])
def test_the_interval_covers_the_mean_as_often_as_the_docs_say(questions: int, held: float) -> None:
    """Of 500 intervals: 0.05 is three standard errors."""
    random = np.random.default_rng(0)
    names = list(map(str, range(questions)))
    rows = [
        paired_difference("o", "alignment", names, [4.0] * questions, random.normal(4.0, 1.0, questions).tolist())
        for _ in range(500)
    ]
    covered = np.mean([row.low <= 0 <= row.high for row in rows])  # type: ignore[operator]
    assert covered == pytest.approx(held, abs=0.05)


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


def test_a_failed_answer_has_no_partner(tmp_path: Path) -> None:
    """So what answers are like is compared on as many of them, of the same questions."""
    fine = {agent: interaction(1, agent, draft=f"I hide it {agent}.", question=CUP) for agent in range(3)}
    lost = interaction(1, 2, draft=None, before={}, steps=[])
    a = write_run(tmp_path / "a", [[fine[0], fine[1], fine[2]]])
    b = write_run(tmp_path / "b", [[fine[0], fine[1], lost]])
    comparison = compare(a, b)
    assert (comparison.joined, comparison.unmatched) == (2, (1, 0))
    assert (comparison.first.texts, comparison.diversity[0].difference) == (comparison.second.texts, 0.0)


def test_runs_without_an_answer_in_common_are_refused(tmp_path: Path) -> None:
    lost = [[interaction(1, 0, draft=None, before={}, steps=[])]]
    with pytest.raises(BadInput, match="have no answered question in common: compare runs that were asked alike"):
        compare(society(tmp_path / "a", {0: 2.0}), write_run(tmp_path / "b", lost))


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
    assert (comparison.first.name, comparison.second.name) == ("a", "b")


@pytest.mark.parametrize(
    ("changed", "cup", "bus"),
    [
        ({"seed": 1}, {0: 3.0, 1: 7.0}, {2: 5.0}),  # by chance the same deal
        ({"world": {**HEADER["world"], "share": 3}}, {1: 3.0, 2: 7.0}, {0: 5.0}),  # agent 1 alone is asked the same
    ],
)
def test_runs_that_deal_otherwise_are_paired_by_question(
    tmp_path: Path, changed: dict[str, Any], cup: dict[int, float], bus: dict[int, float]
) -> None:
    """CUP: means 3 and 5 of two answers each; BUS: 5 and 5."""
    a = society(tmp_path / "a", {0: 2.0, 1: 4.0, 2: 5.0})
    b = write_run(tmp_path / "b", [[*_asked(CUP, cup), *_asked(BUS, bus)]], {**HEADER, **changed})
    comparison = compare(a, b)
    alignment = comparison.ratings[0]
    assert (comparison.paired_by, comparison.joined, comparison.unmatched) == ("question", 2, (0, 0))
    assert (alignment.first, alignment.second, alignment.difference) == (4.0, 5.0, 1.0)
    assert (alignment.pairs, alignment.questions) == (2, 2)
    assert (alignment.low, alignment.high) == (0.0, 2.0)
    assert comparison.second.texts.answers == 3
    told = " ".join(printed(comparison).split())
    assert "2 questions paired by their means" in told and {"seed", "world.share"} & comparison.differing.keys()
    assert f"the runs differ in {next(iter(comparison.differing))}" in told


def test_a_question_is_paired_over_all_rounds_that_it_comes_up_in(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [[interaction(1, 0, before=2.0)], [interaction(2, 0, before=4.0)]])
    b = society(tmp_path / "b", {0: 5.0, 2: 7.0}, {**HEADER, "seed": 1})
    comparison = compare(a, b)
    assert (comparison.ratings[0].first, comparison.ratings[0].second) == (3.0, 5.0)
    assert (comparison.joined, comparison.unmatched) == (1, (0, 1))


def _asked(question: Question, drafts: dict[int, float], round: int = 1) -> list[Interaction]:
    return [interaction(round, agent, before=rating, question=question) for agent, rating in drafts.items()]


def test_runs_without_a_question_in_common_are_refused(tmp_path: Path) -> None:
    a, b = society(tmp_path / "a", {0: 2.0}), society(tmp_path / "b", {2: 2.0})
    with pytest.raises(BadInput, match="a and .*b have no answered question in common: compare runs that were asked"):
        compare(a, b)


def test_runs_without_an_observer_in_common_are_refused(tmp_path: Path) -> None:
    a = society(tmp_path / "a", {0: 2.0})
    b = society(tmp_path / "b", {0: 2.0}, {**HEADER, "observers": [{"name": "judge"}]})
    with pytest.raises(BadInput, match="nothing in common to compare by"):
        compare(a, b)


def test_a_run_without_a_round_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="b has no complete round to compare: go on with simulate --resume"):
        compare(society(tmp_path / "a", {0: 2.0}), write_run(tmp_path / "b", [], end=False))


# --- forks

BRANCHED = {**HEADER, "parent": {"run": "a", "round": 2}}


def rounds(folder: Path, drafts: Sequence[float], header: dict[str, Any] = HEADER) -> Path:
    """A run with one interaction a round, whose draft tells its rating; `drafts` are the ratings, round by round."""
    played = [[interaction(n, before=rating, draft=f"I say {rating}.")] for n, rating in enumerate(drafts, start=1)]
    return write_run(folder, played, header)


@pytest.mark.parametrize("flipped", [False, True])
def test_rounds_that_a_fork_shares_with_its_parent_are_left_out(tmp_path: Path, flipped: bool) -> None:
    runs = [rounds(tmp_path / "a", [1, 2, 3, 4]), rounds(tmp_path / "b", [1, 2, 6, 7], BRANCHED)]
    comparison = compare(*(runs[::-1] if flipped else runs))
    assert (comparison.shared_rounds, comparison.joined, comparison.paired_by) == (2, 2, "question and agent")
    assert sorted([comparison.ratings[0].first, comparison.ratings[0].second]) == [3.5, 6.5]
    assert comparison.unmatched == (0, 0) and comparison.first.texts.answers == 2
    assert [len(side.course.rounds) for side in (comparison.first, comparison.second)] == [4, 4]
    assert "rounds 1 to 2 left out" in printed(comparison) and comparison.differing == {}


def test_forks_of_one_run_share_what_the_earlier_one_does(tmp_path: Path) -> None:
    earlier = {**HEADER, "parent": {"run": "a", "round": 1}, "seed": 5}
    comparison = compare(rounds(tmp_path / "b", [1, 2, 6], BRANCHED), rounds(tmp_path / "c", [1, 5, 5], earlier))
    assert (comparison.shared_rounds, comparison.paired_by) == (1, "question")
    assert (comparison.ratings[0].first, comparison.ratings[0].second) == (4.0, 5.0)


def test_a_fork_shares_nothing_with_a_stranger(tmp_path: Path) -> None:
    comparison = compare(rounds(tmp_path / "b", [1, 2, 6], BRANCHED), rounds(tmp_path / "c", [3, 2, 6]))
    assert comparison.shared_rounds == 0 and comparison.joined == 3


def test_a_fork_that_played_no_further_is_refused(tmp_path: Path) -> None:
    a, b = rounds(tmp_path / "a", [1, 2, 3]), rounds(tmp_path / "b", [1, 2], BRANCHED)
    with pytest.raises(BadInput, match="b has only the rounds 1 to 2 that .* share"):
        compare(a, b)


# --- observers and headers


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


def test_lists_that_differ_are_told_as_one(tmp_path: Path) -> None:
    headers = [{**HEADER, "questions": [{"text": f"{name} {k}"} for k in range(50)]} for name in "ab"]
    a, b = (society(tmp_path / str(number), {0: 2.0}, header) for number, header in enumerate(headers))
    assert compare(a, b).differing == {"questions": "50 values differ"}


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
    alignment, revised, _ = [line for line in lines if "llm:verdict alignment" in line]
    for told in ("4.00", "5.00", "+1.00", "+0.00 … +2.00", "too few to tell"):
        assert told in alignment
    assert "A llm:verdict alignment" in revised and "+2.00" in revised  # drafts 4, finals 6


def test_json_holds_all_numbers(tmp_path: Path) -> None:
    comparison = compare(*(society(tmp_path / name, {0: 2.0, 2: 5.0}) for name in "ab"))
    body = json.loads(to_json(comparison))
    assert body["ratings"][0] == {
        "observer": "llm:verdict", "dimension": "alignment", "first": 3.5, "second": 3.5, "difference": 0.0,
        "low": 0.0, "high": 0.0, "pairs": 2, "questions": 2, "words": "fewer than 6 questions: too few to tell",
    }  # fmt: skip
    assert body["first"]["revised"][0]["difference"] == 2.5 and body["part"] == "draft"


def test_the_docs_name_every_field_of_the_json() -> None:
    told = (Path(__file__).parents[2] / "docs" / "compare.md").read_text("utf-8").split("## The JSON")[1]
    named = {name for field in re.findall(r"`([\w.]+)`", told) for name in field.split(".")}
    parts = (Comparison, Difference, Change, Side, Texts, Course, Round, Plateau)
    assert {field.name for part in parts for field in fields(part)} - named == set()


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters in place of the encoder, whose folder is not looked for."""
    monkeypatch.setattr(module, "encoder_folder", Path)
    monkeypatch.setattr(module, "Encoder", lambda folder: Letters())


@pytest.mark.usefixtures("letters")
def test_main_prints_every_run_against_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [society(tmp_path / name, {0: 2.0, 2: 5.0}) for name in ("a", "[b]", "c:cat:")]
    assert module.main(ReplayCompareOptions(runs=runs, json_out=tmp_path / "out.json")) == 0
    printed = capsys.readouterr()
    assert "drafts of A a and B [b]" in printed.out and "drafts of A a and C c:cat:" in printed.out
    assert printed.out.count("A llm:verdict alignment") == 1, "from draft to final answer: each run once"
    assert "by round" not in printed.out and "rounds to plateau" not in printed.out  # each has one round
    assert printed.err.startswith("encoding 2 answers ")  # equal ones once
    written = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert [body["second"]["name"] for body in written] == ["[b]", "c:cat:"]
    with pytest.raises(BadInput, match="1 run to compare: name two or more"):
        module.main(ReplayCompareOptions(runs=runs[:1]))


@pytest.mark.usefixtures("letters")
def test_main_puts_runs_of_several_rounds_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [
        write_run(tmp_path / f"{name}-and-a-very-long-name", [_asked(CUP, {0: 2, 1: 3}, n) for n in range(1, last + 1)])
        for name, last in (("a", 3), ("b", 2), ("c", 3), ("d", 3))
    ]
    monkeypatch.setattr(module, "table_console", lambda: Console(width=120, markup=False, emoji=False))
    module.main(ReplayCompareOptions(runs=runs))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 120
    cells = [[cell.strip() for cell in line.split("│")] for line in lines]
    (third,) = [row for row in cells if row[1:2] == ["3"] and len(row) == 9 and "2.50 → 6.00" in row]  # by the verdict
    assert third[2:8] == ["2.50 → 6.00", "4.00", "", "", "2.50 → 6.00", "4.00"]  # b has two rounds only
    for row in (["A a-and-a-very-long-name", "3", "3"], ["B b-and-a-very-long-name", "not reached", "2"]):
        assert ["", *row, "final answers", ""] in cells
    assert "D d-and-a-very-long-name" in [line.strip() for line in lines]  # the fourth stands in tables of its own


def test_long_names_keep_their_letter_and_their_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [rounds(tmp_path / f"qwen-{'very-long-' * 12}{name}", [1, 2]) for name in ("before", "after", "後-後")]
    module.main(ReplayCompareOptions(runs=runs, encoder="none", plot=tmp_path / "curves.svg"))
    printed = capsys.readouterr()
    assert "drafts of A qwen-very-lo…long-before and B qwen-very-lo…-long-after" in printed.out
    assert "very-long-very-long" not in printed.out and printed.err == ""
    assert "<!-- C qwen-very-lo…ry-long-後-後 -->" in (tmp_path / "curves.svg").read_text("utf-8")


def test_nothing_is_encoded_of_runs_with_one_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "encoder_folder", lambda name: pytest.fail("an encoder was looked for"))
    runs = [society(tmp_path / name, {0: 2.0}) for name in "ab"]
    assert module.main(ReplayCompareOptions(runs=runs)) == 0
    more = [society(tmp_path / name, {0: 2.0, 1: 3.0}) for name in "cd"]
    assert module.main(ReplayCompareOptions(runs=more, encoder="none")) == 0


def test_a_picture_is_drawn_where_asked_for(tmp_path: Path) -> None:
    runs = [rounds(tmp_path / name, [1, 2, 3]) for name in ("$a_b$", "_c")]
    for name in ("one.svg", "two.svg", "one.png"):
        module.main(ReplayCompareOptions(runs=runs, encoder="none", plot=tmp_path / name))
    drawn = (tmp_path / "one.svg").read_text("utf-8")
    assert (
        drawn == (tmp_path / "two.svg").read_text("utf-8") and "<!-- A $a_b$ -->" in drawn and "<!-- B _c -->" in drawn
    )
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plot": "curves.gif"}, "--plot .*curves.gif: no kind of picture; end it in one of .png, .svg, .pdf"),
        ({"plot": "no/curves.png"}, "no/curves.png: No such file or folder"),
        ({"json_out": "no/where.json"}, "no/where.json: No such file or folder"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(tmp_path: Path, options: dict[str, str], message: str) -> None:
    paths = {name: tmp_path / path for name, path in options.items()}
    with pytest.raises(BadInput, match=message):
        module.main(ReplayCompareOptions(runs=[tmp_path / "a", tmp_path / "b"], **paths))  # type: ignore[arg-type]
