"""What counts as a word, in any script."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.texts import copied_share, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't LIE, école_2!", ["don", "t", "lie", "école_2"]),
        ("उसे दो।", ["उसे", "दो"]),  # vowel signs belong to their word: "give" and "given" differ by one
        ("उसे दी।", ["उसे", "दी"]),
        ("告诉她。", ["告", "诉", "她"]),  # written without spaces: letter by letter
        ("เรียน", ["เ", "รี", "ย", "น"]),
        ("قل لها", ["قل", "لها"]),
        ("… –", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_texts_have_the_same_words_by_either_way(text: str) -> None:
    assert words_of(text) == words_of(text + "…")


def test_copying_is_seen_where_words_have_no_spaces() -> None:
    assert copied_share("告诉她吧", ["告诉她。"]) == 1 / 2
    assert copied_share("告诉", ["告诉她。"]) is None
