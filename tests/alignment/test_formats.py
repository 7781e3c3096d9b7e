import json

import pytest
from datasets import Dataset, DatasetDict

from agents.errors import BadInput
from agents.language_model import Message
from alignment.formats import HUB, group_fields
from alignment.groups import checked, rating_scale, read_file, read_sources
from tests.alignment.conftest import make_group
from tests.alignment.test_groups import ROW, written

ASKED = [{"role": "user", "content": "May I?"}]
GOOD, BAD = {"role": "assistant", "content": "Ask her first."}, {"role": "assistant", "content": "Lie about it."}
PAIR = (("Ask her first.", "Lie about it."), (1.0, 0.0))

PAIRS = {
    "texts": {"prompt": "May I?", "chosen": "Ask her first.", "rejected": "Lie about it."},
    "messages": {"prompt": ASKED, "chosen": [GOOD], "rejected": [BAD]},
    "the prompt inside": {"chosen": [*ASKED, GOOD], "rejected": [*ASKED, BAD]},
    "texts with speakers": {
        "chosen": "\n\nHuman: May I?\n\nAssistant: Ask her first.",
        "rejected": "\n\nHuman: May I?\n\nAssistant: Lie about it.",
    },
    "the prompt inside and beside": {"prompt": "May I?", "chosen": [*ASKED, GOOD], "rejected": [*ASKED, BAD]},
    "a prompt with speakers": {
        "prompt": "\n\nHuman: May I?\n\nAssistant:",
        "chosen": "Ask her first.",
        "rejected": "Lie about it.",
    },
    "no scores": {"prompt": "May I?", "chosen": "Ask her first.", "rejected": "Lie about it.", "score_chosen": None},
}


@pytest.mark.parametrize("row", PAIRS.values(), ids=PAIRS.keys())
def test_a_pair_becomes_a_group_that_is_not_rated(tmp_path, row):
    (group,) = read_file(written(tmp_path / "pairs.jsonl", row)).groups
    assert group.query == (Message("user", "May I?"),)
    assert ((group.responses, group.scores), group.rated) == (PAIR, False)


def test_a_pair_with_scores_is_rated(tmp_path):
    row = {**PAIRS["texts"], "score_chosen": 6.5, "score_rejected": 2}
    (group,) = read_file(written(tmp_path / "pairs.jsonl", row)).groups
    assert (group.scores, group.rated) == ((6.5, 2.0), True)


@pytest.mark.parametrize(
    ("chosen", "rejected", "what"),
    [
        ([*ASKED, {**GOOD, "content": ""}], [*ASKED, BAD], "response is empty"),
        ([*ASKED, GOOD], [*ASKED, {**BAD, "content": None}], "response is no text"),
        ([*ASKED, GOOD, *ASKED, GOOD], [*ASKED, BAD], "response is no text"),
    ],
    ids=["empty", "none", "several turns"],
)
def test_a_pair_with_a_flawed_side_is_left_out_whole(tmp_path, chosen, rejected, what):
    """Else the worse answer would stand alone, and be learned as the best."""
    found = read_file(written(tmp_path / "pairs.jsonl", {"chosen": chosen, "rejected": rejected}))
    assert (found.groups, [flaw.what for flaw in found.flaws], found.responses) == ([], [what], 2)


def test_a_long_dialogue_keeps_its_turns(tmp_path):
    said = "\n\nHuman: Hello\n\nAssistant: Hi.\n\nHuman: May I?\n\nAssistant:"
    row = {"chosen": f"{said} Ask her first.", "rejected": f"{said} Ask him."}
    (group,) = read_file(written(tmp_path / "pairs.jsonl", row)).groups
    assert [turn.role for turn in group.query] == ["user", "assistant", "user"]
    assert group.responses == ("Ask her first.", "Ask him.")


@pytest.mark.parametrize(
    "row", [{"messages": [*ASKED, GOOD]}, {"prompt": "May I?", "completion": "Ask her first."}], ids=["chat", "texts"]
)
def test_a_fine_tuning_row_is_a_group_with_one_response(tmp_path, row):
    (group,) = read_file(written(tmp_path / "sft.jsonl", row)).groups
    assert (group.query[-1].content, group.responses, group.rated) == ("May I?", ("Ask her first.",), False)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "May I?", "completion": "Yes.", "label": True}, "unpaired preference"),
        ({"question": "May I?", "answer": "Yes."}, "found the fields answer, question; a row has {query, responses"),
        ({"chosen": [*ASKED, GOOD], "rejected": [BAD]}, "'chosen' and 'rejected' share no prompt; give it in"),
        ({"chosen": "The sky is blue.", "rejected": "The sky is red."}, "share no prompt; give it in 'prompt'"),
        ({"prompt": ASKED, "chosen": [], "rejected": [BAD]}, "'chosen' is neither a text nor a list of"),
        ({"prompt": ASKED, "chosen": [{"text": "?"}], "rejected": [BAD]}, "'chosen' is neither a text nor a list of"),
        ({"messages": ASKED}, "ends with a message of user; the last must be the assistant's"),
    ],
)
def test_what_has_no_known_format_is_refused(row, message):
    with pytest.raises(BadInput) as caught:
        group_fields(row, "data.jsonl line 3")
    assert str(caught.value).startswith("data.jsonl line 3: ") and message in str(caught.value)


def test_pairs_of_one_prompt_are_not_ranked_across(tmp_path):
    """That a beats b and c beats d does not tell whether a beats d."""
    row = PAIRS["texts"]
    other = {**row, "chosen": "Wait for her.", "rejected": "Take it."}
    turned = {**row, "chosen": row["rejected"], "rejected": row["chosen"]}
    data = checked(read_file(written(tmp_path / "pairs.jsonl", row, other, row, turned)).groups)
    assert [group.responses for group in data.groups] == [PAIR[0], ("Wait for her.", "Take it.")]
    assert data.counts.conflicting == 2  # the turned pair says the opposite of both
    assert data.groups[1].scores == (1.0, 0.0)


def test_a_pair_stands_half_a_scale_apart(tmp_path):
    pairs = read_file(written(tmp_path / "pairs.jsonl", PAIRS["texts"])).groups
    assert rating_scale(pairs) == 2  # alone: the margin is M (1 − 0) / 2
    rated = make_group("And?", ["yes", "no"], [7, 1])
    beside = checked([*pairs, rated])
    assert beside.scale == 7
    assert beside.groups[0].scores == (3.5, 0.0)
    assert beside.groups[1].scores == (7.0, 1.0)


def test_datasets_are_read_as_their_rows_are(tmp_path):
    rows = [{**ROW, "query": f"May I {n}?"} for n in range(3)]
    plain = read_file(written(tmp_path / "data.jsonl", *rows)).groups
    made = Dataset.from_list(rows)
    made.to_parquet(tmp_path / "data.parquet")
    made.save_to_disk(tmp_path / "saved")
    assert read_file(tmp_path / "data.parquet").groups == plain
    assert read_sources([tmp_path / "saved"]).groups == plain


def test_an_export_of_a_run_is_read_from_its_files(tmp_path):
    row = {**ROW, "query": ASKED, "finished": [True, False], "models": ["m", "m"], "question": "May I?", "origins": []}
    Dataset.from_list([row]).to_parquet(tmp_path / "train.parquet")
    (group,) = read_file(tmp_path / "train.parquet").groups
    assert (group.query, group.finished) == ((Message("user", "May I?"),), (True, False))


def test_datasets_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadInput, match=r"torn.parquet: can't be read as a dataset \(.*\)"):
        read_file(tmp_path / "torn.parquet")
    with pytest.raises(BadInput, match="hub:nobody/nothing: can't be read as a dataset") as caught:
        read_sources([type(tmp_path)(f"{HUB}nobody/nothing")])
    assert "\n" not in str(caught.value)
    DatasetDict({"train": Dataset.from_list([ROW])}).save_to_disk(tmp_path / "split")
    with pytest.raises(BadInput, match="split: holds the splits train; name one's folder"):
        read_sources([tmp_path / "split"])


def test_rows_of_another_type_are_left_out(tmp_path):
    path = written(tmp_path / "data.jsonl", ROW, {**ROW, "query": "Rate it.", "type": "self_critic"})
    assert read_sources([path]).left_out == {"of another type": 1}
    assert [group.type for group in read_sources([path], ["self_critic", "imitation"]).groups] == [
        "imitation",
        "self_critic",
    ]
    foreign = read_file(written(tmp_path / "foreign.jsonl", {**ROW, "type": "poem"})).groups
    assert [group.type for group in foreign] == ["imitation"]  # another data set's field of that name


def test_the_order_of_rows_is_kept_in_json(tmp_path):
    path = tmp_path / "array.json"
    path.write_text(json.dumps([PAIRS["texts"], ROW]))
    assert [group.rated for group in read_file(path).groups] == [False, True]
