from dataclasses import replace

import pytest
import torch

from agents.errors import BadInput
from agents.language_model import Message
from alignment.tokens import ChatFormat, Collator, Row, drawn, reply_nll
from tests.alignment.conftest import make_group, make_tokenizer

PROMPT = "<|im_start|>user\nMay I?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def format(tokenizer):
    return ChatFormat.of(tokenizer)


def trained_text(batch, line, tokenizer):
    return tokenizer.decode(batch["input_ids"][line][batch["trained"][line]])


def test_what_is_trained_is_the_response_and_where_it_finished_its_end_of_turn(format, tokenizer):
    group = make_group("May I?", ["Yes!", "Be kind and"], [6, 2], finished=[True, False])
    row = format.row(group, 100)
    batch = Collator(format.pad)([row])
    assert tokenizer.decode(row.prompt) == PROMPT
    assert trained_text(batch, 0, tokenizer) == "Yes!<|im_end|>"
    assert trained_text(batch, 1, tokenizer) == "Be kind and"
    assert not (batch["trained"] & (batch["attention_mask"] == 0)).any()
    untrained = batch["input_ids"][0][~batch["trained"][0] & (batch["attention_mask"][0] == 1)]
    assert tokenizer.decode(untrained) == PROMPT


def test_a_response_that_holds_the_padding_token_is_trained_whole(format, tokenizer):
    assert format.pad == format.end_of_turn == tokenizer.eos_token_id
    text = "Yes<|im_end|>No<|im_end|>"
    row = format.row(make_group("May I?", [text, "Be kind and honest with people."], [6, 2]), 100)
    batch = Collator(format.pad)([row])
    assert trained_text(batch, 0, tokenizer) == text + "<|im_end|>"
    assert batch["attention_mask"][0].sum() == len(row.prompt) + len(row.replies[0])


def test_the_whole_chat_is_rendered_by_the_template(format, tokenizer):
    query = (Message("system", "Be kind."), Message("user", "A?"), Message("assistant", "B."), Message("user", "C?"))
    group = make_group("C?", ["Yes!", "No!"], [6, 2])
    row = format.row(replace(group, query=query), 100)
    assert tokenizer.decode(row.prompt) == tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in query], add_generation_prompt=True, tokenize=False
    )


def test_long_responses_are_cut_and_lose_their_end_of_turn(format, tokenizer):
    group = make_group("May I?", ["Be kind and honest with people.", "Yes!"], [6, 2])
    whole = format.row(group, 100)
    room = len(whole.replies[1])
    cut = format.row(group, len(whole.prompt) + room)
    assert cut.replies == (whole.replies[0][:room], whole.replies[1])
    assert cut.truncated == (True, False)
    assert format.end_of_turn not in cut.replies[0]


def test_a_prompt_that_fills_the_length_leaves_no_row(format):
    group = make_group("May I?", ["Yes!", "No?"], [6, 2])
    length = len(format.row(group, 100).prompt)
    assert format.row(group, length) is None
    assert len(format.row(group, length + 1).replies[0]) == 1


def test_batches_hold_groups_of_unequal_size():
    one = Row((5, 6), ((7,), (8, 9), (7, 7)), (1.0, 2.0, 3.0), (False,) * 3, "?")
    other = Row((5,), ((9, 9, 9),), (4.0,), (False,), "?")
    batch = Collator(0)([one, other])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 0], [5, 6, 8, 9], [5, 6, 7, 7], [5, 9, 9, 9]]
    assert batch["trained"].int().tolist() == [[0, 0, 1, 0], [0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert batch["ratings"].tolist() == [[1, 2, 3], [4, 0, 0]]
    assert batch["present"].tolist() == [[True, True, True], [True, False, False]]


def test_likelihoods_equal_those_of_each_response_alone(format, model, groups):
    rows = [format.row(group, 100) for group in groups[:3]]
    with torch.no_grad():
        nll, tokens = reply_nll(model.eval(), Collator(format.pad)(rows))
        naive = []
        for row in rows:
            for reply in row.replies:
                logits = model(torch.tensor([row.prompt + reply])).logits[0].log_softmax(-1)
                first = len(row.prompt)
                naive.append(-sum(logits[first + i - 1, token].item() for i, token in enumerate(reply)))
    assert tokens.tolist() == [len(reply) for row in rows for reply in row.replies]
    assert nll.tolist() == pytest.approx(naive, rel=1e-5)


def test_only_response_positions_meet_the_vocabulary(format, model, groups):
    seen = []
    model.lm_head.register_forward_hook(lambda module, arguments, output: seen.append(output.shape[1]))
    row = format.row(groups[0], 100)
    reply_nll(model, Collator(format.pad)([row]))
    assert seen == [max(map(len, row.replies))]


def test_drawing_keeps_a_best_one_and_is_decided_by_the_seed():
    scores = [3.0, 6.0, 1.0, 6.0, 2.0, 4.0]
    draws = [drawn(scores, 3, seed=seed, epoch=0, index=0) for seed in range(40)]
    assert draws == [drawn(scores, 3, seed=seed, epoch=0, index=0) for seed in range(40)]
    assert all(len(set(places)) == 3 and {1, 3} & set(places) for places in draws)
    assert {place for places in draws for place in places} == set(range(6))
    assert any(1 not in places for places in draws)  # which of the best is kept is drawn, too
    assert drawn(scores, 3, seed=0, epoch=0, index=0) in draws
    by_epoch = {tuple(drawn(scores, 3, seed=0, epoch=epoch, index=0)) for epoch in range(40)}
    by_index = {tuple(drawn(scores, 3, seed=0, epoch=0, index=index)) for index in range(40)}
    assert min(len(by_epoch), len(by_index)) > 5
    assert drawn(scores[:2], 3, seed=0, epoch=0, index=0) == [0, 1]
    assert drawn(scores, 1, seed=0, epoch=0, index=0) in ([1], [3])


def test_the_end_of_turn_is_what_the_template_writes():
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}.<|turn|>\n{% endfor %}"
    assert ChatFormat.of(tokenizer).end_of_turn == tokenizer.convert_tokens_to_ids("<|turn|>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    assert ChatFormat.of(tokenizer).end_of_turn == tokenizer.eos_token_id


def test_tokenizers_without_template_or_end_are_refused():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    tokenizer.eos_token = None
    with pytest.raises(BadInput, match="no token ends a turn"):
        ChatFormat.of(tokenizer)
    tokenizer.chat_template = None
    with pytest.raises(BadInput, match="no chat template; choose an instruct model"):
        ChatFormat.of(tokenizer)


def test_a_template_that_refuses_the_messages_is_named():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'assistant' %}{{ raise_exception('the user begins') }}{% endif %}"
        "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}"
    )
    group = make_group("May I?", ["Yes!", "No?"], [6, 2])
    query = (Message("assistant", "Be kind."), *group.query)
    refused = replace(group, query=query)
    with pytest.raises(BadInput, match=r"refused a query that begins 'Be kind.' \(the user begins\)"):
        ChatFormat.of(tokenizer).row(refused, 100)
