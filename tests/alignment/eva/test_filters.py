"""Which evolved prompts are kept, by one driver over many data; and with the embedded models, how many are."""

import asyncio
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.language_model import Key, Prompt
from alignment.eva.filters import FLAWS, Candidate, sifted
from alignment.eva.operators import load_operators, operator_messages, operator_start, parsed
from sandbox.copies import form_of, near_copies
from sandbox.questions import load_questions

PARENT = "My neighbour is loud at night. May I knock on the wall?"
KEPT = "My neighbour sings at night. May I ask her to stop?"


def alike(texts):
    return np.ones((len(texts), 1), dtype=np.float32)


def flaw_of(text, parent=PARENT, cut=False, known=(), encode=alike, **settings):
    (flaw,) = sifted([Candidate(parent, text, cut)], encode, known, **settings)
    return flaw


@pytest.mark.parametrize("text", [KEPT, f"{PARENT} Whatever I do, I must not wake her child.", KEPT.replace("?", "？")])
def test_a_new_prompt_is_kept(text):
    assert flaw_of(text) is None


@pytest.mark.parametrize("text", [None, "", " \n", "?!"])
def test_empty(text):
    assert flaw_of(text) == "empty"


def test_cut_off():
    assert flaw_of(KEPT, cut=True) == "cut off"


def test_length_is_counted_in_words():
    assert flaw_of("May I knock?") == "too short"
    assert flaw_of("word " * 100 + "?") is None
    assert flaw_of("word " * 101 + "?") == "too long"
    assert flaw_of(KEPT, max_words=5) == "too long"


@pytest.mark.parametrize(
    "text",
    [
        "My neighbour [name] is loud. May I knock?",
        "My neighbour, who is ____ years old, is loud. May I knock?",
        "What does the following passage say about the neighbour?",
        "Which neighbour is meant in the example above?",
        "My neighbour is loud. What is your next question?",
        "Would it change if it were rephrased for a neighbour?",
        "May I knock? This is a classic example of a conflict.",
        "As an AI language model, may I knock on a wall?",
        "I'm sorry, but I can't say. May I help you otherwise?",
        "I'm happy to help you with the neighbour. May I go on?",
        "May I knock on the wall? The answer is no.",
        "You should talk to your neighbour and be friendly to her.",
    ],
)
def test_unanswerable(text):
    assert flaw_of(text) == "unanswerable"


def test_what_the_parent_says_itself_is_no_flaw():
    parent = "Summarise the following text for [name]: the rent will rise in May."
    assert flaw_of("Summarise the following text for [name] in verse: the rent will rise in June.", parent) is None


def test_a_statement_is_kept_where_the_parent_is_one():
    assert flaw_of("A story about an old lighthouse and its last keeper.", "A story about an old lighthouse.") is None


@pytest.mark.parametrize("text", [PARENT, PARENT.upper(), f"  {PARENT[:-1]}!?"])
def test_a_copy_of_the_parent(text):
    assert flaw_of(text) == "copy"


def test_a_copy_of_a_known_prompt_or_of_an_earlier_kept_one():
    assert flaw_of(KEPT, known=[KEPT.lower()]) == "copy"
    again = [Candidate(PARENT, KEPT), Candidate(KEPT, KEPT), Candidate("May I sing at home?", KEPT)]
    assert sifted(again, alike, []) == [None, "copy", "copy"]


def test_what_was_not_kept_makes_no_copies():
    assert sifted([Candidate(PARENT, KEPT, cut=True), Candidate(PARENT, KEPT)], alike, []) == ["cut off", None]


def test_near_copies_share_nine_of_ten_word_pairs():
    words = [f"w{number}" for number in range(20)]  # 19 pairs
    more = [*words, "x", "y"]  # 21 pairs, 19 of them shared
    assert 19 / 21 >= 0.9 > 19 / 22
    assert near_copies(form_of(" ".join(words)), form_of(" ".join(more)))
    assert not near_copies(form_of(" ".join(words)), form_of(" ".join([*more, "z"])))
    assert not near_copies(form_of("yes"), form_of("no"))


def test_off_topic_by_the_cosine_with_its_own_parent():
    texts = {PARENT: (1.0, 0.0), KEPT: (0.21, 0.9777), "May I paint the wall in my room green?": (0.19, 0.9818)}
    calls = []

    def encode(asked):
        calls.append(asked)
        return np.array([texts[text] for text in asked], dtype=np.float32)

    _, near, far = texts
    candidates = [Candidate(PARENT, text) for text in (near, None, far, near)]
    assert sifted(candidates, encode, []) == [None, "empty", "off topic", "copy"]
    assert calls == [[PARENT, near, far]]


def test_nothing_is_encoded_where_nothing_is_left():
    assert sifted([Candidate(PARENT, None)], lambda texts: pytest.fail("encoded"), []) == ["empty"]


@given(st.lists(st.tuples(st.sampled_from([PARENT, KEPT]), st.none() | st.text(), st.booleans())))
def test_every_candidate_has_a_named_flaw_or_becomes_known(rows):
    candidates = [Candidate(*row) for row in rows]
    flaws = sifted(candidates, alike, [])
    assert set(flaws) <= {*FLAWS, None}
    kept = [candidate for candidate, flaw in zip(candidates, flaws, strict=True) if flaw is None]
    assert sifted(kept, alike, []) == [None] * len(kept)
    assert sifted(kept, alike, [candidate.text for candidate in kept]) == ["copy"] * len(kept)


@pytest.mark.slow
@pytest.mark.timeout(600)  # half a minute where nothing else runs
def test_the_embedded_model_makes_usable_prompts_by_every_operator(local_model, encoder):
    questions = [question.text for question in load_questions("everyday")][::42]  # 8 of them
    asked = [(operator, parent) for operator in load_operators().values() for parent in questions]

    async def replies():
        prompts = [
            Prompt(
                key=Key(0, number, "evolve", operator.name),
                messages=operator_messages(operator, parent, questions[number % 7] if operator.needs_other else None),
                max_tokens=64,
                temperature=0.8,
                top_p=0.95,
                seed=number,
                start=operator_start(operator, parent),
            )
            for number, (operator, parent) in enumerate(asked)
        ]
        return await asyncio.gather(*map(local_model.complete, prompts))

    candidates = []
    for (operator, parent), reply in zip(asked, asyncio.run(replies()), strict=True):
        found = parsed(reply.text, operator, parent, finished=reply.finish == "stop")
        candidates.append(Candidate(parent, found and found.text, bool(found and found.cut)))
    flaws = sifted(candidates, encoder.encode, questions)
    kept = Counter(operator.name for (operator, _), flaw in zip(asked, flaws, strict=True) if flaw is None)
    assert min(kept[name] for name in load_operators()) >= 3
    assert kept.total() >= 0.7 * len(asked)
