"""Operators: what their file may say, what they ask, and what prompt is read out of a reply."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import BadInput
from alignment.eva.operators import (
    Operator,
    Parsed,
    load_operators,
    operator_messages,
    operator_start,
    parsed,
)

PROMPT = "May I keep the change?"
NEW = Operator("new", "breadth", "", "Like this: {prompt}", 'Another: "May')
MORE = Operator("more", "depth", "", "Add to {prompt}", '"{prompt} I must not')
FREE = Operator("free", "depth", "", "Harder: {prompt}", "")
MIX = Operator("mix", "breadth", "Be brief.", "{prompt} and {other}", "")

GOOD = 'kind = "depth"\nask = "Harder: {prompt}"\n'


def written(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text)
    return path


def test_the_shipped_operators():
    operators = load_operators()
    depth = ["constraint", "deepening", "concretising", "reasoning"]
    assert list(operators) == [*depth, "persona", "shift", "mix"]
    assert [name for name, operator in operators.items() if operator.kind == "depth"] == depth
    assert [name for name, operator in operators.items() if operator.needs_other] == ["mix"]
    for operator in operators.values():
        assert operator.system
        assert operator.start == operator.start.rstrip()  # behind a space small models go on with digits
        messages = operator_messages(operator, "PARENT", "OTHER" if operator.needs_other else None)
        assert [message.role for message in messages] == ["system", "user"]
        assert "PARENT" in messages[1].content
        assert ("OTHER" in messages[1].content) == operator.needs_other
        assert not {"{", "}"} & set(messages[1].content + operator_start(operator, "PARENT"))


def test_an_own_file_may_leave_out_system_and_start(tmp_path):
    operators = load_operators(written(tmp_path, f"[harder]\n{GOOD}"))
    assert operators == {"harder": Operator("harder", "depth", "", "Harder: {prompt}", "")}
    assert [message.role for message in operator_messages(operators["harder"], PROMPT)] == ["user"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[harder", r"own\.toml: not readable as TOML"),
        ("", r"own\.toml: holds no operator"),
        ('system = "Be brief."', r"own\.toml: holds no operator"),
        (f"system = 3\n[harder]\n{GOOD}", r"own\.toml: system is 3"),
        ('harder = "Harder: {prompt}"', r"own\.toml: \[harder\]: "),
        ('[harder]\nkind = "depth"', r"own\.toml: \[harder\] ask: field required"),
        ('[harder]\nask = "Harder: {prompt}"', r"own\.toml: \[harder\] kind: field required"),
        ('[harder]\nkind = "width"\nask = "{prompt}"', r"\[harder\] kind: .*'depth' or 'breadth'"),
        (f"[easy]\n{GOOD}\n[harder]\n{GOOD}begin = 'So'", r"\[harder\] begin: "),
        ('[harder]\nkind = "depth"\nask = "Make it harder."', r"\[harder\] ask: has no \{prompt\}"),
        ('[harder]\nkind = "depth"\nask = "{prompt} {topic}"', r"\[harder\] ask: unknown placeholder \{topic\}"),
        (f"[harder]\n{GOOD}start = '\"{{other}}'", r"\[harder\] start: unknown placeholder \{other\}"),
        (f"[harder]\n{GOOD}start = '{{prompt}} But'", r"\[harder\] start: repeats the prompt outside quotation marks"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_by_table_and_key(tmp_path, text, told):
    with pytest.raises(BadInput, match=told):
        load_operators(written(tmp_path, text))


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        load_operators(tmp_path / "none.toml")


def test_placeholders_are_filled_in_one_pass():
    system, user = operator_messages(MIX, "print({other})", "f{prompt}")
    assert (system.content, user.content) == ("Be brief.", "print({other}) and f{prompt}")
    assert operator_start(MORE, "print({prompt})") == '"print({prompt}) I must not'


@pytest.mark.parametrize(("operator", "other"), [(MIX, None), (FREE, "May I leave?")])
def test_a_second_prompt_is_given_where_it_is_needed(operator, other):
    with pytest.raises(ValueError, match=f"operator '{operator.name}' takes"):
        operator_messages(operator, PROMPT, other)


@pytest.mark.parametrize(
    ("operator", "said", "text"),
    [
        (NEW, ' I leave early?" This is a hard one.', "May I leave early?"),
        (NEW, " I leave early?”\n\nYes.", "May I leave early?"),
        (NEW, " I leave early?", "May I leave early?"),
        (NEW, ' I say "no" to her? And to him?" Yes.', 'May I say "no" to her? And to him?'),
        (NEW, " I leave\nearly?\n\nYes, you may.", "May I leave early?"),
        (NEW, '"', None),
        (NEW, "\n\nThe answer is no.", None),
        (MORE, ' tell Mr. Ode, e.g. at work. He is old. So"', f"{PROMPT} I must not tell Mr. Ode, e.g. at work."),
        (MORE, ' tell her," he adds. So', f"{PROMPT} I must not tell her"),
        (MORE, ' tell anyone"\nYes.', f"{PROMPT} I must not tell anyone"),
        (FREE, "  May I leave early?\n", "May I leave early?"),
        (FREE, "1. May I leave early?", "May I leave early?"),
        (FREE, "- **May I leave early?**", "May I leave early?"),
        (FREE, "New question: May I leave: yes or no?", "May I leave: yes or no?"),
        (FREE, "**Harder version:** “May I leave early?”", "May I leave early?"),
        (FREE, 'Sure! Here is one:\n\n"May I leave early?"\n\nI hope it helps.', "May I leave early?"),
        (FREE, "May I leave at 5: yes or no?", "May I leave at 5: yes or no?"),
        (FREE, " ... ", None),
        (FREE, "", None),
    ],
)
def test_the_prompt_in_a_reply(operator, said, text):
    found = parsed(operator_start(operator, PROMPT) + said, operator, PROMPT, finished=True)
    assert found == (text and Parsed(text, cut=False))


def test_quotation_marks_of_the_parent_do_not_end_the_prompt():
    parent = 'He said "leave!" and left.\n\nWhat now?'
    reply = operator_start(MORE, parent) + ' follow him." Right.'
    assert parsed(reply, MORE, parent, finished=True) == Parsed(f"{parent} I must not follow him.", cut=False)


def test_a_start_that_was_not_forced_is_not_missed():
    reply = 'New question: "May I leave early? Or late?" I hope it helps.'
    assert parsed(reply, MORE, PROMPT, finished=True) == Parsed("May I leave early? Or late?", cut=False)


@pytest.mark.parametrize(
    ("operator", "said", "cut"),
    [
        (NEW, " I leave early and", True),
        (NEW, ' I leave early?" Now', False),
        (NEW, " I leave early?\n\nNow", False),
        (MORE, " tell my", True),
        (MORE, " tell my boss. He", False),
        (FREE, "May I leave early? Or", True),
    ],
)
def test_a_reply_without_end_cuts_the_prompt_only_if_it_was_still_going_on(operator, said, cut):
    reply = operator_start(operator, PROMPT) + said
    assert parsed(reply, operator, PROMPT, finished=False).cut == cut
    assert not parsed(reply, operator, PROMPT, finished=True).cut


@given(prompt=st.text(), reply=st.text(), operator=st.sampled_from([NEW, MORE, FREE]), forced=st.booleans())
def test_any_reply_is_read(prompt, reply, operator, forced):
    text = operator_start(operator, prompt) + reply if forced else reply
    found = parsed(text, operator, prompt, finished=True)
    if found:
        assert found.text == found.text.strip()
        assert any(map(str.isalnum, found.text))
    if found and forced and operator is MORE:
        assert found.text.startswith(prompt.strip())
