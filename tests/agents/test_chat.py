"""Chats by template: one rendering for speaking and training, and templates that know no system turn."""

from __future__ import annotations

import asyncio
from typing import Any

import jinja2
import pytest

from agents.chat import SETTINGS, ChatTemplate, folded
from agents.decoding import Continuation
from agents.errors import BadInput
from agents.language_model import Key, Message, Prompt
from agents.local import Call, LocalModel
from alignment.tokens import ChatFormat
from sandbox.dataset import Group
from tests.alignment.conftest import make_model, make_tokenizer

TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|im_end|>{% endfor %}"
GEMMA = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}<{{ m.role }}>{{ m.content }}<|im_end|>{% endfor %}"
)
FORGETFUL = "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}<|im_end|>{% endfor %}"
CHAT = (
    Message("system", "Be brief."),
    Message("user", "A?"),
    Message("assistant", "B."),
    Message("user", "C?"),
)


def tokenizer_with(template: str | None) -> Any:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


class Catching:
    """In place of a batcher: keeps the last job."""

    job: Call

    async def submit(self, engine: Any, job: Call) -> Continuation:
        self.job = job
        return Continuation([1], ended=True)


def spoken(tokenizer: Any, messages: tuple[Message, ...]) -> str:
    """What a model is given to read when it speaks."""
    catching = Catching()
    model = LocalModel("small", "d", make_model(len(tokenizer)), tokenizer, catching)  # type: ignore[arg-type]
    asyncio.run(model.complete(Prompt(Key(0, 0, "draft"), messages, 4, 0.0, 1.0, 0)))
    return str(tokenizer.decode(catching.job.row.ids))


def trained(tokenizer: Any, messages: tuple[Message, ...]) -> str:
    """What a model is given to read when it is trained."""
    row = ChatFormat.of(tokenizer).row(Group(messages, ("Yes.",), (5.0,), (True,), ("",), "C?"), 200)
    assert row is not None
    return str(tokenizer.decode(row.prompt))


def test_date_and_thinking_are_settled_alike_for_speaking_and_training() -> None:
    tokenizer = tokenizer_with("[{{ date_string }}|{{ enable_thinking }}]" + TURNS)
    expected = (
        "[26 Jul 2024|False]<system>Be brief.<|im_end|><user>A?<|im_end|><assistant>B.<|im_end|><user>C?<|im_end|>"
    )
    assert spoken(tokenizer, CHAT) == trained(tokenizer, CHAT) == expected
    assert SETTINGS.keys() == {"date_string", "enable_thinking"}


@pytest.mark.parametrize("template", [GEMMA, FORGETFUL], ids=["refuses", "leaves out"])
def test_a_system_text_that_the_template_does_not_take_heads_the_first_user_turn(template: str) -> None:
    tokenizer = tokenizer_with(template)
    expected = "<user>Be brief.\n\nA?<|im_end|><assistant>B.<|im_end|><user>C?<|im_end|>"
    assert spoken(tokenizer, CHAT) == trained(tokenizer, CHAT) == expected
    assert spoken(tokenizer, CHAT[1:]) == expected.replace("Be brief.\n\n", "")


def test_folding_keeps_all_words() -> None:
    assert folded(CHAT[1:]) == CHAT[1:]
    assert folded(CHAT[:1]) == (Message("user", "Be brief."),)
    assert folded((CHAT[2], CHAT[0], CHAT[3])) == (CHAT[2], Message("user", "Be brief.\n\nC?"))


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (None, "no chat template"),
        ("{% for m in messages %}", "can't render a plain chat"),
        ("{{ messages[0].content + 1 }}", "can't render a plain chat"),
        ("{{ raise_exception('of tools\n only') }}", r"can't render a plain chat \(of tools only\)"),
    ],
)
def test_a_template_without_plain_chats_is_refused_at_once(template: str | None, reason: str) -> None:
    with pytest.raises(BadInput, match=f"model 'small': .*{reason}.*; choose an instruct model") as caught:
        ChatTemplate.of(tokenizer_with(template), "small")
    assert "\n" not in str(caught.value)


def test_what_it_refuses_else_is_told() -> None:
    with pytest.raises(jinja2.TemplateError, match="roles must alternate"):
        ChatTemplate.of(tokenizer_with(GEMMA), "small").ids(CHAT[2:])
