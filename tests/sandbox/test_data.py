"""The data that the project ships: questions, prior, value statements, and the answers that judges are tested on."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from agents.prompts import NEUTRAL_QUESTIONS, SANDBOX_RULE, SCALE_QUESTIONS, STYLE
from agents.rating import WORD_PAIRS

ROOT = Path(__file__).parents[2]
Row = dict[str, Any]


def read(path: str) -> list[Row]:
    return [json.loads(line) for line in (ROOT / path).read_text(encoding="utf-8").splitlines()]


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['-][^\W_]+)*", text.lower())


FUNCTION_WORDS = frozenset(
    words(
        "a about am an and as at be before being both by do does for from her him his how i if in is it its me my not "
        "of on or our so such than that the them then there they this to up us was we well what when which who with "
        "you your"
    )
)


def stems(text: str) -> set[str]:
    """The first four letters of each content word: "careful" and "care", "kindness" and "kind" are the same."""
    return {word[:4] for word in words(text) if word.split("'")[0] not in FUNCTION_WORDS}


QUESTIONS = read("sandbox/data/questions.jsonl")
HELDOUT = read("sandbox/data/heldout.jsonl")
PRIOR = read("sandbox/data/prior.jsonl")
JUDGED = read("tests/agents/judge_answers.jsonl")
VALUES: dict[str, list[str]] = json.loads((ROOT / "agents/data/values.json").read_text(encoding="utf-8"))

# Question texts by file; the prior's stand once, though each has two rows.
TEXTS = {
    "questions": [row["text"] for row in QUESTIONS],
    "heldout": [row["text"] for row in HELDOUT],
    "prior": list(dict.fromkeys(row["question"] for row in PRIOR)),
    "judged": [row["question"] for row in JUDGED],
    "neutral": list(NEUTRAL_QUESTIONS),
}
ANSWERS = {
    "prior": {label: [row["response"] for row in PRIOR if row["morality_label"] == label] for label in ("good", "bad")},
    "judged": {label: [row[label] for row in JUDGED] for label in ("good", "bad")},
}


def test_there_is_enough_of_everything() -> None:
    assert len(QUESTIONS) >= 336
    assert len(HELDOUT) == 72
    assert len(TEXTS["prior"]) >= 140
    assert len(JUDGED) == 40
    assert {name: len(statements) for name, statements in VALUES.items()} == {"values": 24, "opposites": 24}


def test_rows_hold_their_fields_and_no_others() -> None:
    assert all(row.keys() == {"id", "topic", "text"} for row in QUESTIONS + HELDOUT)
    assert all(row.keys() == {"id", "topic", "question", "response", "morality_label"} for row in PRIOR)
    assert all(row.keys() == {"question", "good", "bad"} for row in JUDGED)
    assert all(
        isinstance(value, str) and value == value.strip() != ""
        for row in QUESTIONS + HELDOUT + PRIOR + JUDGED
        for value in row.values()
    )


def test_ids_and_texts_stand_once() -> None:
    ids = [row["id"] for row in QUESTIONS + HELDOUT + PRIOR]
    questions = [text for texts in TEXTS.values() for text in texts]
    answers = [text for sides in ANSWERS.values() for texts in sides.values() for text in texts]
    for values in (ids, questions, answers, VALUES["values"] + VALUES["opposites"]):
        assert [value for value, times in Counter(values).items() if times > 1] == []


@pytest.mark.parametrize(("rows", "lowest", "highest"), [(QUESTIONS, 20, 24), (HELDOUT, 4, 5), (PRIOR, 16, 20)])
def test_topics_are_balanced(rows: list[Row], lowest: int, highest: int) -> None:
    counts = Counter(row["topic"] for row in rows)
    assert counts.keys() == {row["topic"] for row in QUESTIONS}
    assert len(counts) >= 14
    assert [topic for topic, count in counts.items() if not lowest <= count <= highest] == []


@pytest.mark.parametrize("name", ["questions", "heldout", "prior", "judged"])
def test_questions_are_short_and_end_in_a_question(name: str) -> None:
    for text in TEXTS[name]:
        assert 8 <= len(words(text)) <= 40, text
        assert text.endswith("?"), text
        assert len(re.findall(r"[.?!](?= |$)", text)) <= 2, f"more than two sentences: {text}"


def test_every_prior_question_has_one_good_and_one_bad_answer() -> None:
    labels = defaultdict(list)
    topics = defaultdict(set)
    for row in PRIOR:
        labels[row["question"]].append(row["morality_label"])
        topics[row["question"]].add(row["topic"])
    assert all(sorted(found) == ["bad", "good"] for found in labels.values())
    assert all(len(found) == 1 for found in topics.values())


@pytest.mark.parametrize("name", ANSWERS)
def test_length_does_not_tell_good_from_bad(name: str) -> None:
    good, bad = ([len(words(text)) for text in ANSWERS[name][label]] for label in ("good", "bad"))
    assert abs(mean(good) - mean(bad)) <= 0.15 * mean(bad)
    # Nor does the longer of a pair: a coin would say half.
    assert 0.35 <= mean((g > b) + (g == b) / 2 for g, b in zip(good, bad, strict=True)) <= 0.65


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_short_and_begin_differently(name: str) -> None:
    for label, texts in ANSWERS[name].items():
        assert [text for text in texts if not 12 <= len(words(text)) <= 35] == [], label
        openings = Counter(" ".join(words(text)[:2]) for text in texts)
        (opening, most), *_ = openings.most_common(1)
        assert most <= len(texts) / 4, f"{most} of {len(texts)} {label} answers begin with {opening!r}"
        assert len(openings) >= len(texts) / 2, label


def test_no_two_questions_are_nearly_the_same() -> None:
    tokens = [(text, frozenset(words(text))) for texts in TEXTS.values() for text in texts]
    near = [(first, second) for (first, a), (second, b) in combinations(tokens, 2) if len(a & b) >= 0.6 * len(a | b)]
    assert near == []


def test_value_statements_share_no_wording_with_what_models_are_told() -> None:
    told = [SANDBOX_RULE, STYLE, *SCALE_QUESTIONS.values()]
    told += [word for pairs in WORD_PAIRS.values() for pair in pairs for word in pair]
    assert {"kind", "hone", "fair", "care", "good"} <= stems(SANDBOX_RULE)
    for statement in VALUES["values"] + VALUES["opposites"]:
        assert stems(statement) & stems(" ".join(told)) == set(), statement


def test_values_and_opposites_are_alike_in_form() -> None:
    values, opposites = ([len(words(text)) for text in VALUES[side]] for side in ("values", "opposites"))
    assert abs(mean(values) - mean(opposites)) <= 0.15 * mean(opposites)
    assert all(5 <= length <= 16 for length in values + opposites)
