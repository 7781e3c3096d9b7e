"""When two texts say nearly the same: what responses of a group, and evolved prompts, are kept free of."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.texts import runs_of, words_of

# Share of word pairs that two responses have in common (Jaccard) from which they are near-copies: at 0.9 one word
# changed inside forty, or one added to thirty. Word pairs rather than words, so that an added "not" weighs.
NEAR_COPY = 0.9


@dataclass(frozen=True, slots=True)
class Form:
    """A text without case and punctuation, and its word pairs."""

    words: str
    pairs: frozenset[tuple[str, ...]]


def form_of(text: str) -> Form:
    """What `near_copies` compares of a text."""
    words = words_of(text)
    return Form(" ".join(words) or text.strip(), frozenset(runs_of(words, 2)))


def near_copies(one: Form, other: Form) -> bool:
    """Whether two texts have the same words, or share NEAR_COPY of their word pairs (Jaccard)."""
    fewer, more = sorted((len(one.pairs), len(other.pairs)))
    if one.words == other.words or fewer < NEAR_COPY * more or not more:
        return one.words == other.words
    return len(one.pairs & other.pairs) >= NEAR_COPY * len(one.pairs | other.pairs)
