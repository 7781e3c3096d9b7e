"""Which evolved prompts are kept, and what is wrong with the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from sandbox.compare.diversity import Encode
from sandbox.copies import form_of, near_copies
from sandbox.texts import words_of

FLAWS = ("empty", "cut off", "too short", "too long", "unanswerable", "off topic", "copy")

MIN_WORDS, MAX_WORDS = 5, 100

# With the parent, by the embedded encoder. Three of four prompts lie as far from another's evolution; of the evolutions
# of 60 prompts by data/operators.toml and the 135M model, every sixth `shift` did so from its own parent, and no other.
MIN_COSINE = 0.2

# What a prompt can't stand alone with, or what is no prompt, unless its parent says so too.
UNANSWERABLE = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\[[^\]\n]+\]|\{\w+\}|<[a-z_ ]+>|_{3,}|\bX{2,}\b",  # a place left to fill
        r"\b(?:above|following|given|attached)\s+(?:text|passage|paragraph|list|table|image|example|question|situation)",
        r"\b(?:text|passage|paragraph|list|table|image|example|question|situation)s?\s+(?:above|below)\b",
        r"\b(?:this|the|that|your|my|another|next|new|original|same)\s+(?:\w+\s+)?"
        r"(?:question|prompt|sentence|scenario|puzzle|riddle)s?\b",  # talk about the prompt
        r"\b(?:rephras|reword|rewrit)\w*",
        r"\bclassic (?:example|puzzle|question|case)|\blateral thinking\b|\bin this (?:example|scenario|case),",
        r"\bas an ai\b|\blanguage model\b|\bi(?:'m| am) sorry,? (?:but|i can)|\bi (?:can't|cannot) (?:help|assist)",
        r"\b(?:happy|here|glad) to (?:help|assist)\b|\bfeel free to\b|\blet's (?:break|dive|discuss|think|talk)\b",
        r"\bthe (?:correct |right |best )?(?:answer|response) (?:is|lies|to)\b",
    )
)
ASKING = re.compile(
    r"[?？؟]|\b(?:please|tell|explain|describe|write|give|list|name|suggest|compare|help|show|advise|discuss|find|make|"
    r"create|summari[sz]e|translate|calculate|solve|prove|design|plan|imagine|say)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prompt evolved from the text `parent`; None where the reply held none. `cut`: its end is missing."""

    parent: str
    text: str | None
    cut: bool = False


def sifted(
    candidates: Sequence[Candidate], encode: Encode, known: Iterable[str], *, max_words: int = MAX_WORDS
) -> list[str | None]:
    """The flaw of each candidate, the first of FLAWS that it has; None where it is kept.

    Decided in the order given: a candidate is a copy also of one that was kept before it. `encode` gives unit vectors
    [N, D] of N texts; it is called at most once, with each text once.
    """
    flaws = [_own_flaw(candidate, max_words) for candidate in candidates]
    cosine = _cosines([pair for pair, flaw in zip(map(_pair, candidates), flaws, strict=True) if not flaw], encode)
    kept = [form_of(text) for text in known]
    for place, candidate in enumerate(candidates):
        if flaws[place]:
            continue
        form = form_of(_pair(candidate)[1])
        if cosine[_pair(candidate)] < MIN_COSINE:
            flaws[place] = "off topic"
        elif any(near_copies(form, other) for other in (form_of(candidate.parent), *kept)):
            flaws[place] = "copy"
        else:
            kept.append(form)
    return flaws


def _pair(candidate: Candidate) -> tuple[str, str]:
    return candidate.parent, candidate.text or ""


def _cosines(pairs: Sequence[tuple[str, str]], encode: Encode) -> dict[tuple[str, str], float]:
    """The cosine of the two texts of each pair."""
    texts = list(dict.fromkeys(chain.from_iterable(pairs)))
    vectors = dict(zip(texts, encode(texts), strict=True)) if texts else {}
    return {pair: float(np.dot(vectors[pair[0]], vectors[pair[1]])) for pair in pairs}


def _own_flaw(candidate: Candidate, max_words: int) -> str | None:
    """What is wrong with a candidate whatever else there is."""
    parent, text = _pair(candidate)
    words = len(words_of(text))
    found = (
        ("empty", not words),
        ("cut off", candidate.cut),
        ("too short", words < MIN_WORDS),
        ("too long", words > max_words),
        ("unanswerable", any(sign.search(text) and not sign.search(parent) for sign in UNANSWERABLE)),
        ("unanswerable", ASKING.search(parent) and not ASKING.search(text)),
    )
    return next((flaw for flaw, is_so in found if is_so), None)
