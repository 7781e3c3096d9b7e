from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from agents.errors import BadInput
from sandbox.stances import Pair, Stances, born_with, load_prior, load_stances, named_layout, named_stances

PRIOR = tuple(
    Pair(f"{topic} {k}?", f"{label} answer {k}", label, topic)
    for label in ("good", "bad")
    for topic in ("money", "work")
    for k in range(5)
)


def test_named_layouts() -> None:
    assert named_layout("good", 3, 0) == ("good",) * 9
    assert named_layout("bad", 2, 0) == ("bad",) * 4
    assert named_layout("half", 3, 0) == ("good", "good", "good", "bad", "bad", "good", "bad", "bad", "good")
    mixed = named_layout("mixed", 4, 7)
    assert Counter(mixed) == {"good": 8, "bad": 8}
    assert mixed == named_layout("mixed", 4, 7) != named_layout("mixed", 4, 8)


def test_memories_come_from_the_agents_own_stance_and_by_seed() -> None:
    stances = named_stances(PRIOR, "half", 3, 0)
    for agent, stance in enumerate(stances.layout):
        born = born_with(stances, agent, 6, seed=1)
        assert len(set(born)) == 6 and {pair.label for pair in born} == {stance}
    assert born_with(stances, 0, 6, 1) != born_with(stances, 0, 6, 2)
    assert len(born_with(stances, 0, 50, 1)) == 10  # where the prior has fewer


def test_the_shipped_prior_has_both_answers_to_every_question() -> None:
    labels: dict[str, set[str]] = {}
    for pair in load_prior(None):
        labels.setdefault(pair.question, set()).add(pair.label)
    assert len(labels) >= 120 and set(map(frozenset, labels.values())) == {frozenset({"good", "bad"})}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"question": "q", "response": "a", "morality_label": "evil"}', "line 1: morality_label is 'evil'"),
        ('{"response": "a", "morality_label": "good"}', "line 1: field 'question' is missing"),
        ('{"question": "q", "response": "", "morality_label": "bad"}', "line 1: field 'response' is blank"),
    ],
)
def test_a_malformed_prior_is_refused(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "prior.jsonl"
    path.write_text(row)
    with pytest.raises(BadInput, match=message):
        load_prior(path)


def test_a_prior_without_the_needed_label_is_refused() -> None:
    with pytest.raises(BadInput, match="no pair with the label 'bad', which --stance mixed needs"):
        named_stances([pair for pair in PRIOR if pair.label == "good"], "mixed", 3, 0)


def own(tmp_path: Path, text: str, size: int = 4) -> Stances:
    (tmp_path / "frugal.jsonl").write_text('{"question": "Buy it?", "response": "Save first."}')
    path = tmp_path / "stances.toml"
    path.write_text(text)
    return load_stances(path, PRIOR, size, seed=0)


TWO = """
[[stance]]
name = "frugal"
pairs = "frugal.jsonl"
share = 3
[[stance]]
name = "diligent"
label = "good"
topics = ["work"]
"""


def test_own_stances_mixed_and_in_bands(tmp_path: Path) -> None:
    stances = own(tmp_path, TWO)
    assert stances.pairs["frugal"] == (Pair("Buy it?", "Save first."),)
    assert {(pair.label, pair.topic) for pair in stances.pairs["diligent"]} == {("good", "work")}
    assert Counter(stances.layout) == {"frugal": 12, "diligent": 4}
    bands = own(tmp_path, 'layout = "bands"' + TWO)
    assert bands.layout == ("frugal", "frugal", "frugal", "diligent") * 4


def test_own_stances_laid_out_by_hand(tmp_path: Path) -> None:
    rows = 'layout = [["frugal", "diligent"], ["diligent", "diligent"]]'
    assert own(tmp_path, rows + TWO, size=2).layout == ("frugal", "diligent", "diligent", "diligent")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "stance: field required"),
        ("[[stance]", "not readable as TOML"),
        ('[stance]\nname = "a"', "stance: input should be a valid list"),
        ('[[stance]]\nlabel = "good"', "stance.0.name: field required"),
        ('[[stance]]\nname = "a"\nlabel = "good"\n' * 2, "two stances have one name"),
        ('[[stance]]\nname = "a"\ncolour = 1', "stance.0.colour: extra inputs are not permitted"),
        ('[[stance]]\nname = "a"\ntopics = "money"', "stance.0.topics: input should be a valid list"),
        ('[[stance]]\nname = "a"\npairs = 3', "stance.0.pairs: input should be a valid string"),
        ('[[stance]]\nname = "a"\nlabel = "ugly"', "stance 'a' selects no pair"),
        ('[[stance]]\nname = "a"\npairs = "none.jsonl"', "none.jsonl: no such file"),
        ('layout = "spiral"\n[[stance]]\nname = "a"', "layout"),
        ('layout = [1, 2]\n[[stance]]\nname = "a"', "layout"),
        ('layout = [["a"]]\n[[stance]]\nname = "a"', "layout must be 4 rows of 4 names out of a"),
        ('[[stance]]\nname = "a"\nshare = -1', "stance.0.share: input should be greater than or equal to 0"),
        ('[[stance]]\nname = "a"\nshare = nan', "stance.0.share: input should be a finite number"),
        ('[[stance]]\nname = "a"\nshare = 0', "all shares are zero"),
    ],
)
def test_malformed_own_stances_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        own(tmp_path, text)
