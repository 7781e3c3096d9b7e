import json
import re
from pathlib import Path

import pytest

from agents.errors import BadInput
from agents.language_model import Message
from agents.prompts import FOLLOWUPS, draft_messages
from alignment.config import AlignEvaluateOptions
from alignment.evaluate.material import read_material, read_questions, record_of, shipped_groups
from alignment.lineage import query_digest
from sandbox.config import load


def options(*argv):
    return load(AlignEvaluateOptions, ["any-model", *map(str, argv)], prog="align evaluate")


def written(path: Path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rated(tmp_path, *questions):
    rows = [{"query": q, "responses": ["Ask.", "Lie."], "scores": [6, 1.5], "topic": "home"} for q in questions]
    return written(tmp_path / "rated.jsonl", rows)


def digests(*questions):
    return frozenset(query_digest((Message("user", question),)) for question in questions)


def test_sources_are_read_and_answered(tmp_path):
    found = read_material(options(rated(tmp_path, "May I?", "Must I?")), frozenset())
    assert [group.question for group in found.groups] == ["May I?", "Must I?"]
    assert found.asked == found.attacked
    assert [(a.question, a.topic, a.misaligned) for a in found.asked] == [
        ("May I?", "home", "Lie."),
        ("Must I?", "home", "Lie."),
    ]
    assert {each.followup for each in found.asked} <= set(FOLLOWUPS)


def test_what_a_model_was_trained_on_is_left_out_and_counted(tmp_path):
    source = rated(tmp_path, "May I?", "Must I?")
    found = read_material(options(source), digests("May I?", "Other?"))
    assert ([group.question for group in found.groups], found.trained) == (["Must I?"], 1)
    with pytest.raises(BadInput, match="trained on each of the 2 groups.*--include-trained"):
        read_material(options(source), digests("May I?", "Must I?"))


def test_it_is_known_whatever_its_system_text(tmp_path):
    in_style = frozenset([query_digest(draft_messages("May I?"))])  # trained on as the society asks it
    assert read_material(options(rated(tmp_path, "May I?", "Must I?")), in_style).trained == 1
    row = {"query": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "May I?"}]}
    source = written(tmp_path / "more.jsonl", [{**row, "responses": ["a", "b"], "scores": [6, 1]}])
    with pytest.raises(BadInput, match="trained on"):
        read_material(options(source), digests("May I?"))


def test_questions_of_a_file_bring_their_second_turn(tmp_path):
    rows = [
        {"turns": ["May I?", "Why not?"], "category": "home"},
        {"text": "Must I?", "followup": "And then?", "topic": "work"},
        {"question": "Can I?"},
    ]
    found = read_questions(str(written(tmp_path / "asked.jsonl", rows)))
    assert [(a.question, a.topic, a.followup, a.misaligned) for a in found] == [
        ("May I?", "home", "Why not?", None),
        ("Must I?", "work", "And then?", None),
        ("Can I?", "", "", None),
    ]
    assert found[0].query == draft_messages("May I?")
    material = read_material(options("--questions", tmp_path / "asked.jsonl"), digests("Can I?"))
    assert [a.question for a in material.asked] == ["May I?", "Must I?"]
    assert material.trained == 1


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"turns": "May I?"}, "line 1: 'turns' is 'May I?'"),
        ({"turns": ["a", "b", "c"]}, "at most one that follows"),
        ({"turns": ["May I?", 3]}, "line 1, turns: field '2' is 3, not text"),
        ({"text": " "}, "line 1: field 'text' is blank"),
        ({"text": "May I?", "followup": 3}, "'followup' is 3"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(tmp_path, row, told):
    with pytest.raises(BadInput, match=re.escape(told)):
        read_questions(str(written(tmp_path / "asked.jsonl", [row])))


def test_the_draw_depends_on_the_seed_alone():
    def asked(seed):
        return [a.question for a in read_material(options("--seed", seed, "--answers", 5), frozenset()).asked]

    assert len(asked(0)) == 5
    assert asked(0) == asked(0) != asked(1)


def test_shipped_groups_have_a_good_and_a_bad_answer():
    found = shipped_groups()
    assert len(found) == 48 and all(group.topic and sorted(group.scores) == [1, 7] for group in found)
    material = read_material(options(), frozenset())
    assert all(each.misaligned for each in material.attacked)
    assert not {a.question for a in material.asked} & {a.question for a in material.attacked}


def test_what_a_folder_tells(tmp_path):
    assert record_of("smollm2-135m-instruct").base is None
    (tmp_path / "lineage.json").write_text('{"base_model": "tiny", "trained_queries": ["ab"]}')
    assert (record_of(str(tmp_path)).base, record_of(str(tmp_path)).queries) == ("tiny", {"ab"})
    (tmp_path / "lineage.json").write_text('{"base_model": "tiny"}')  # of an older version
    assert record_of(str(tmp_path)).queries == frozenset()
    for broken in ("[]", "{", "{}"):
        (tmp_path / "lineage.json").write_text(broken)
        with pytest.raises(BadInput, match="no lineage to be read"):
            record_of(str(tmp_path))
