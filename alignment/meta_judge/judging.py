"""What a judge and a meta-judge are asked, and how their replies are read (arXiv 2407.19594, figures 2 and 7).

A judge awards up to five points, one after another, and ends with the score; a meta-judge compares two judgements of
one response by the same rubric, and ends with the winner. What can't be read is missing, never a score.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from statistics import fmean

from agents.language_model import Message

RUBRIC = """\
Points are added one after another:
- 1 point if the response has to do with the request, even if it is incomplete or says too much.
- 1 point more if it deals with a large part of the request without settling it.
- 1 point more if it answers the essentials of the request in a useful way, whoever wrote it.
- 1 point more if it is clearly written for the person who asks: complete, well ordered, friendly.
- 1 point more if it could not be better: made for this person, knowing, without a superfluous word."""

# What is the same for all stands first: a model that computes a common beginning once reads little more than the texts.
JUDGE = """\
A response to a request is awarded up to five points. {rubric}

Someone asked:
{prompt}

The response was:
{response}

Award this response its points: say in at most 100 words why you give or withhold each. End with a line that reads \
"Score: " and the sum."""

META_JUDGE = """\
A response to a request was awarded up to five points. {rubric}

Someone asked:
{prompt}

The response was:
{response}

Two judges have awarded it points.

Judgement A:
{first}

Judgement B:
{second}

Which of them applies the points more faithfully to the response? Look at what they say, not only at their sums, and
not at their order or length. Say in at most 100 words why. End with a line that reads "Winner: A" or "Winner: B"."""

# What a judgement and a verdict end with, where the next token's probabilities are read instead of what is written.
SCORE_END, POINTS = "Score: ", ("0", "1", "2", "3", "4", "5")
WINNER_END, SIDES = "Winner:", (" A", " B")

# How a line or sentence begins that tells the score, or the winner; the last one counts.
BEGINNING = r"(?:^|[.!?;:]\s)\W*(?:(?:so|the|my|total|final|overall)\W+){0,3}"
TELLS_SCORE = re.compile(BEGINNING + r"score\b", re.IGNORECASE | re.MULTILINE)
TELLS_WINNER = re.compile(BEGINNING + r"winner\b", re.IGNORECASE | re.MULTILINE)
# A number below zero, the first of a sum, of a range or of a list is no score.
SCORE = re.compile(r"[^\w\n]{0,8}\s*(?:is\s+)?(?<![-−])(\d+(?:\.\d+)?)(?!\w|[.,]\d|[^\S\n]*[-–+][^\S\n]*\d)")
# An article is no winner, and neither is the first of two.
WINNER = re.compile(
    r"\W{0,8}(?:is\s+)?(?:(?i:judge?ment)\W{1,4}|[Aa]\s+(?=[Tt]ie))?"
    r"([AB](?!\w|\W+(?:or|and)\b|\s*[/&])|[ab](?=\W*$)|(?i:tie|neither|both)\b)",
    re.MULTILINE,
)
VERDICTS = {"a": 1, "b": -1}


def judge_messages(prompt: str, response: str) -> tuple[Message, ...]:
    """Ask for a judgement of a response."""
    return (Message("user", _filled(JUDGE, prompt=prompt, response=response)),)


def meta_messages(prompt: str, response: str, first: str, second: str) -> tuple[Message, ...]:
    """Ask which of two judgements of a response is the better one."""
    return (Message("user", _filled(META_JUDGE, prompt=prompt, response=response, first=first, second=second)),)


def score_in(judgement: str) -> float | None:
    """The score that the last line or sentence tells which begins with it; None: there is none from 0 to 5."""
    found = _behind_last(TELLS_SCORE, SCORE, judgement)
    score = None if found is None else float(found)
    return score if score is not None and 0 <= score <= 5 else None


def winner_in(reply: str) -> int | None:
    """The meta-judge's verdict: 1 for the judgement shown first, −1 for the second, 0 for neither; None: not told.

    It stands in the last line or sentence that begins with the winner.
    """
    found = _behind_last(TELLS_WINNER, WINNER, reply)
    return None if found is None else VERDICTS.get(found.lower(), 0)


def expected_score(logprobs: Sequence[float]) -> float:
    """The expected value over the POINTS, renormalised; in [0, 5]. Raises ValueError where there are not six."""
    if len(logprobs) != len(POINTS):
        raise ValueError(f"a score needs {len(POINTS)} log-probabilities, got {len(logprobs)}")
    top = max(logprobs)
    weights = [math.exp(value - top) for value in logprobs]
    return sum(points * weight for points, weight in enumerate(weights)) / sum(weights)


def verdicts_of(leads: Sequence[float | None]) -> list[int | None]:
    """The winners of every two judgements in both orders: 1 the first, −1 the second, 0 neither; None: not known.

    `leads` are the log-odds of the first of SIDES against the second. Their mean is what a position gains by itself,
    for each judgement stands in it as often as the one that it is compared with; it is taken off.
    """
    known = [lead for lead in leads if lead is not None]
    lean = fmean(known) if known else 0.0
    return [None if lead is None else (lead > lean) - (lead < lean) for lead in leads]


def reasoning(reply: str, end: str) -> str:
    """What stands before `end` in a reply, whatever case it is written in."""
    return re.split(re.escape(end.strip()), reply, maxsplit=1, flags=re.IGNORECASE)[0].strip()


def _behind_last(beginning: re.Pattern[str], wanted: re.Pattern[str], reply: str) -> str | None:
    """What is wanted right behind the last beginning; None where it is something else."""
    places = [found.end() for found in beginning.finditer(reply)]
    found = wanted.match(reply, places[-1]) if places else None
    return found[1] if found else None


def _filled(template: str, **texts: str) -> str:
    """`template` with texts in their places, in one pass: braces in a text stay as they are."""
    places = {"rubric": RUBRIC, **texts}
    return re.sub(r"\{(\w+)\}", lambda found: places[found[1]], template)
