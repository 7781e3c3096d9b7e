"""What goes over the wire, literally: bodies of prompts, and completions of replies, good and broken."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from agents.chat import SETTINGS
from agents.chat_completions import (
    ABSENT,
    Abilities,
    Unreadable,
    Withheld,
    WordIds,
    body_of,
    completion_of,
    tokenize_body,
)
from agents.language_model import Completion, Key, Message, Prompt
from agents.rating import SCALE_LABELS

VLLM = Abilities(forced=True, words=True, top=20, seeds=True, system=True)
FORCES = replace(VLLM, words=False)  # and tells the likeliest tokens
OPENAI = Abilities(forced=False, words=False, top=20, seeds=True, system=True)
BARE = Abilities(forced=False, words=False, top=0, seeds=False, system=False)

DRAFT = Prompt(
    key=Key(1, 2, "draft"),
    messages=(Message("system", "Be brief."), Message("user", "Why?")),
    max_tokens=9,
    temperature=0.8,
    top_p=0.95,
    seed=7,
)
SCALE = replace(DRAFT, max_tokens=1, start="Rating: ", choices=SCALE_LABELS)
VERDICT = replace(DRAFT, max_tokens=1, start="This advice is", choices=(" kind", " cruel"))
IDS = WordIds("This advice is", (1942, 15268))


def reply(text: str | None, *, finish: str = "stop", logprobs: Any = None, **usage: Any) -> dict[str, Any]:
    choice = {"message": {"content": text}, "finish_reason": finish, "logprobs": logprobs}
    return {"choices": [choice], "usage": {"prompt_tokens": 30, "completion_tokens": 1, **usage}}


def position(token: str, likeliest: dict[str, Any]) -> dict[str, Any]:
    entries = [{"token": name, "logprob": value} for name, value in likeliest.items()]
    return {"token": token, "logprob": -1.0, "top_logprobs": entries}


def labels(**logprobs: float) -> dict[str, float]:
    """From names like l5 to the labels."""
    return {name[1:]: value for name, value in logprobs.items()}


def completed(prompt: Prompt, answer: Any, can: Abilities = VLLM, word_ids: WordIds | None = None) -> Completion:
    return completion_of(prompt, answer, can, word_ids, retries=0)


def test_the_body_of_a_draft() -> None:
    assert body_of(DRAFT, "m", VLLM, None) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
        "max_tokens": 9,
        "temperature": 0.8,
        "top_p": 0.95,
        "seed": 7,
        "top_k": 0,
        "repetition_penalty": 1.0,
        "chat_template_kwargs": SETTINGS,
    }


def test_the_body_of_a_verdict_names_its_words_and_leaves_the_reply_open() -> None:
    body = body_of(VERDICT, "m", VLLM, IDS)
    assert body["messages"][-1] == {"role": "assistant", "content": "This advice is"}
    asked = {
        "max_tokens": 1,
        "continue_final_message": True,
        "add_generation_prompt": False,
        "logprobs": True,
        "logprob_token_ids": [1942, 15268],
        "return_tokens_as_token_ids": True,
    }
    assert asked.items() <= body.items()
    assert "top_logprobs" not in body


def test_a_start_is_sent_as_the_words_were_found_behind_it() -> None:
    body = body_of(SCALE, "m", VLLM, WordIds("Rating:", tuple(range(7))))
    assert body["messages"][-1] == {"role": "assistant", "content": "Rating:"}


def test_a_server_that_knows_the_standard_only_gets_nothing_else() -> None:
    body = body_of(SCALE, "m", OPENAI, None)
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": 'Why?\n\nBegin your reply with "Rating:" and the number.'},
        ],
        "max_tokens": 9,  # one, and room for the start
        "temperature": 0.8,
        "top_p": 0.95,
        "seed": 7,
        "logprobs": True,
        "top_logprobs": 20,
    }


def test_a_bare_server_gets_no_system_message_no_seed_and_no_question_for_probabilities() -> None:
    body = body_of(SCALE, "m", BARE, None)
    assert set(body) == {"model", "messages", "max_tokens", "temperature", "top_p"}
    assert [turn["role"] for turn in body["messages"]] == ["user"]
    assert body["messages"][0]["content"].startswith("Be brief.\n\nWhy?")


def test_words_are_looked_up_in_the_very_chat_that_is_sent() -> None:
    for can in (VLLM, replace(VLLM, system=False)):
        asked, sent = tokenize_body(VERDICT, "m", can, VERDICT.start), body_of(VERDICT, "m", can, IDS)
        for name in ("messages", "continue_final_message", "add_generation_prompt", "chat_template_kwargs"):
            assert asked[name] == sent[name]


def test_the_completion_of_a_draft() -> None:
    answer = reply("Because.", finish="length", completion_tokens=9, prompt_tokens_details={"cached_tokens": 16})
    assert completed(DRAFT, answer) == Completion("Because.", "length", 30, 9, None, cached_tokens=16)
    assert completion_of(DRAFT, answer, VLLM, None, retries=3).retries == 3


@pytest.mark.parametrize(
    "usage",
    [None, {}, [], {"prompt_tokens": None, "completion_tokens": None, "prompt_tokens_details": None}],
    ids=["null", "empty", "list", "nulls"],
)
def test_a_server_need_not_tell_its_usage(usage: Any) -> None:
    answer = reply("Because.") | {"usage": usage}
    assert completed(DRAFT, answer) == Completion("Because.", "stop", 0, 0)
    del answer["usage"]
    assert completed(DRAFT, answer) == Completion("Because.", "stop", 0, 0)


def test_a_forced_start_is_part_of_the_text_and_an_unforced_one_is_what_was_said() -> None:
    assert completed(SCALE, reply("6", logprobs={"content": [position("6", labels(l6=-0.1))]}), FORCES).text == (
        "Rating: 6"
    )
    assert completed(SCALE, reply("Rating: 6"), BARE).text == "Rating: 6"


def test_word_probabilities_stand_in_the_order_of_the_choices() -> None:
    told = {"token_id:441": -2.0, "token_id:15268": -10.5, "token_id:1942": -8.5}
    answer = reply(" not", logprobs={"content": [position("token_id:441", told)]})
    completion = completed(VERDICT, answer, word_ids=IDS)
    assert completion.choice_logprobs == (-8.5, -10.5)
    assert completion.text == "This advice is not"


def test_label_probabilities_with_and_without_a_space_are_added_and_others_are_absent() -> None:
    told = {"5": math.log(0.25), " 5": math.log(0.125), "6": math.log(0.5), "\n": -3.0}
    read = completed(SCALE, reply("6", logprobs={"content": [position("6", told)]}), FORCES).choice_logprobs
    assert read is not None
    assert read == pytest.approx((ABSENT,) * 4 + (math.log(0.375), math.log(0.5), ABSENT))


def test_a_token_that_is_listed_twice_counts_once() -> None:
    place = position("6", labels(l6=math.log(0.5)))
    place["top_logprobs"] *= 2
    read = completed(SCALE, reply("6", logprobs={"content": [place]}), FORCES).choice_logprobs
    assert read is not None and read[5] == pytest.approx(math.log(0.5))


def test_a_label_behind_a_token_of_blanks_is_found() -> None:
    places = [position(" ", {" ": -0.1}), position("6", labels(l6=-0.2))]
    read = completed(SCALE, reply(" 6", logprobs={"content": places}), FORCES).choice_logprobs
    assert read is not None and read[5] == -0.2


@pytest.mark.parametrize(
    ("tokens", "place"),
    [
        (["4", " because"], 0),
        (["Rating", ":", " 4", " because"], 2),
        (["There", " are", " 2", " issues"], None),
        (["No", " number"], None),
        (["Rating", ":", " 1", "2"], None),
    ],
)
def test_where_no_start_is_forced_only_a_number_that_is_the_rating_is_read(
    tokens: list[str], place: int | None
) -> None:
    places = [position(token, {token: -0.5 - number}) for number, token in enumerate(tokens)]
    read = completed(SCALE, reply("".join(tokens), logprobs={"content": places}), OPENAI).choice_logprobs
    found = None if read is None else [value for value in read if value != ABSENT]
    assert found == (None if place is None else [-0.5 - place])


def test_a_label_among_none_of_the_likeliest_tokens_has_no_probability() -> None:
    places = [position(" I", {" I": -0.1, " The": -2.0})]
    assert completed(SCALE, reply(" I", logprobs={"content": places}), FORCES).choice_logprobs is None


def test_words_can_not_be_read_from_the_likeliest_tokens() -> None:
    told = {" kind": -1.0, " cruel": -2.0}
    answer = reply(" kind", logprobs={"content": [position(" kind", told)]})
    assert completed(VERDICT, answer, FORCES).choice_logprobs is None


@pytest.mark.parametrize("text", ["", None])
def test_a_blank_reply_gives_no_probabilities(text: str | None) -> None:
    told = {"token_id:15268": -10.5, "token_id:1942": -8.5}
    answer = reply(text, logprobs={"content": [position("token_id:1", told)]})
    completion = completed(VERDICT, answer, word_ids=IDS)
    assert (completion.text, completion.choice_logprobs) == ("This advice is", None)
    assert completed(DRAFT, reply(text)).text == ""


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        {"content": None},
        {"content": []},
        {"content": [{"token": "x"}]},
        {"content": [position("x", {"token_id:1942": -1.0})]},
        {"content": [position("x", {"token_id:1942": -1.0, "token_id:15268": None})]},
        {"content": [position("x", {"token_id:1942": -1.0, "token_id:15268": "-2"})]},
        {"content": [position("x", {"token_id:1942": -1.0, "token_id:15268": math.nan})]},
        {"content": [position("x", {"token_id:1942": math.nan, "token_id:15268": math.nan})]},
        {"content": [position("x", {"token_id:1942": 2.0, "token_id:15268": -1.0})]},
        {"content": [position("x", {"token_id:1942": math.inf, "token_id:15268": -1.0})]},
    ],
)
def test_probabilities_that_are_none_are_unreadable(logprobs: Any) -> None:
    with pytest.raises(Unreadable, match="log-probabilities"):
        completed(VERDICT, reply(" x", logprobs=logprobs), word_ids=IDS)


@pytest.mark.parametrize("value", [math.nan, None, "-1", 1.0])
def test_label_probabilities_that_are_none_are_unreadable(value: Any) -> None:
    places = [position("6", {"6": value, "5": -1.0})]
    with pytest.raises(Unreadable, match="log-probabilities"):
        completed(SCALE, reply("6", logprobs={"content": places}), FORCES)


def test_minus_infinity_is_absent() -> None:
    told = {"token_id:1942": -math.inf, "token_id:15268": -1.0}
    answer = reply(" x", logprobs={"content": [position("x", told)]})
    assert completed(VERDICT, answer, word_ids=IDS).choice_logprobs == (ABSENT, -1.0)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "text",
        {},
        {"error": {"message": "no"}},
        {"choices": []},
        {"choices": [None]},
        {"choices": [{}]},
        {"choices": [{"message": None, "finish_reason": "stop"}]},
        {"choices": [{"message": {}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": "x"}}]},
        reply("x", finish="tool_calls"),
        reply("x", finish=["stop"]),  # type: ignore[arg-type]
        reply(["x"]),  # type: ignore[arg-type]
        reply(5),  # type: ignore[arg-type]
    ],
)
def test_a_reply_that_is_none_is_unreadable(answer: Any) -> None:
    with pytest.raises(Unreadable):
        completed(DRAFT, answer)


def test_more_tokens_than_asked_for_are_unreadable() -> None:
    completed(DRAFT, reply("x", completion_tokens=9))
    with pytest.raises(Unreadable, match="10 tokens where at most 9 were asked for"):
        completed(DRAFT, reply("x", completion_tokens=10))


def test_a_filtered_reply_is_withheld() -> None:
    with pytest.raises(Withheld):
        completed(DRAFT, reply("Beca", finish="content_filter"))


def test_lone_surrogates_are_replaced_and_pairs_are_kept() -> None:
    assert completed(DRAFT, reply("half \ud800")).text == "half \ufffd"
    assert completed(DRAFT, reply("\udc00 pair \ud83d\ude00")).text == "\ufffd pair 😀"


@pytest.mark.parametrize(
    ("can", "told"),
    [
        (VLLM, "words by id · forced starts · seeds"),
        (FORCES, "20 top log-probabilities · forced starts · seeds"),
        (BARE, "no log-probabilities · no forced starts · no seeds · no system messages"),
    ],
)
def test_abilities_are_told_in_words(can: Abilities, told: str) -> None:
    assert str(can) == told
