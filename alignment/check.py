"""`align check`: what a trainer would read, shown before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean, median

import numpy as np
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text
from scipy.stats import spearmanr

from agents.local import pretrained_tokenizer
from agents.models import model_folder
from alignment.config import AlignCheckOptions
from alignment.group_trainer import Prepared
from alignment.groups import Found, Ratings, checked, read_sources
from alignment.plan import types_of
from alignment.safety import NAMED, counted
from alignment.stable import prepared
from alignment.tokens import ChatFormat, Row
from sandbox.console import table_console
from sandbox.dataset import Group as DataGroup
from sandbox.responses import Scoring

BINS, BAR = 7, 40
SHOWN = 3  # responses of the example
TOPICS = 5  # the most frequent ones that are named
LEANING = 0.3  # correlation of ratings with length from which it is told


def run_check(options: AlignCheckOptions) -> None:
    """Print counts, lengths, a histogram of the scores, and one example. Raises BadInput."""
    scoring = Scoring(options.score_by, options.observer, options.critic_score)
    found = read_sources(options.sources, types_of(options), scoring, options.max_flawed)
    data = checked(found.groups, scale=options.rating_scale, delta=options.delta)
    format = ChatFormat.of(pretrained_tokenizer(options.model, model_folder(options.model)))
    rows = prepared(data.groups, format, options.max_length)
    scores = [score for group in found.groups for score in group.scores]
    table_console().print(
        counts(data, rows, found, options.max_length),
        *warnings(data.groups),
        Rule("scores", align="left"),
        histogram(scores),
        Rule("one example, trained tokens in [[ ]]", align="left"),
        example(rows.rows[0], format),
    )


def counts(data: Ratings, rows: Prepared[Row], found: Found, max_length: int) -> Table:
    """What was read, what became of it, and how long it is."""
    pairs = [abs(one - other) > data.delta for group in data.groups for one, other in combinations(group.scores, 2)]
    made = data.counts
    types = Counter(group.type for group in data.groups)
    topics = Counter(group.topic for group in data.groups if group.topic)
    table = Table(show_header=False, box=None)
    for label, value in (
        ("groups", f"{len(data.groups)}"),
        *((f"  {type}", f"{count}") for type, count in types.items()),
        *((f"  about {topic}", f"{count}") for topic, count in topics.most_common(TOPICS)),
        ("  merged, their queries being equal", f"{made.merged}"),
        ("  with one response", f"{made.single}"),
        ("  with ratings that all count as equal", f"{made.level}"),
        ("responses", f"{sum(len(group.responses) for group in data.groups)}"),
        ("  copies dropped", f"{made.copies}"),
        ("    of which rated differently", f"{made.conflicting}"),
        *((f"  left out: {reason}", f"{count}") for reason, count in found.left_out.items()),
        *((f"  left out: {what}", f"{count}") for what, count in counted(found.flaws).items()),
        *(("    " + flaw.place, flaw.what) for flaw in found.flaws[:NAMED]),
        ("pairs", f"{len(pairs)}"),
        ("  with different ratings", f"{sum(pairs)}"),
        ("rating scale S", f"{data.scale:g}"),
        ("  counts as equal within", f"{data.delta:.3g}"),
        ("prompt tokens, median and longest", _lengths([len(row.prompt) for row in rows.rows])),
        ("response tokens, median and longest", _lengths([len(reply) for row in rows.rows for reply in row.replies])),
        (f"responses cut at {max_length} tokens", f"{rows.truncated}"),
        ("groups dropped, prompt too long", f"{len(rows.dropped)}"),
        *(("  dropped", group.question[:40]) for group in rows.dropped),
    ):
        table.add_row(label, value)
    return table


def warnings(groups: Sequence[DataGroup]) -> list[Text]:
    """What a trainer would learn from these groups that their rater may not have meant."""
    leaning = length_leaning(groups)
    if leaning is None or abs(leaning) < LEANING:
        return []
    kind = "longer" if leaning > 0 else "shorter"
    return [Text(f"the {kind} answers are rated higher (rank correlation {leaning:.2f}): that will be learned too")]


def length_leaning(groups: Sequence[DataGroup]) -> float | None:
    """Spearman's correlation of score and length (characters) within groups, their mean; None where there is none."""
    found = []
    for group in groups:
        lengths = [len(response) for response in group.responses]
        if len(set(lengths)) > 1 and len(set(group.scores)) > 1:
            found.append(float(spearmanr(lengths, group.scores).statistic))
    return fmean(found) if found else None


def histogram(scores: Sequence[float]) -> Table:
    """The scores in equal steps from lowest to highest."""
    heights, edges = np.histogram(scores, bins=BINS)
    table = Table(show_header=False, box=None)
    for height, low, high in zip(heights, edges, edges[1:], strict=False):
        table.add_row(f"{low:.2f} – {high:.2f}", "█" * round(BAR * height / heights.max()), f"{height}")
    return table


def example(row: Row, format: ChatFormat) -> RenderableType:
    """A group as the model reads it: its prompt, and its first responses, what is trained standing in [[ ]]."""
    prompt = Text(_decoded(format, row.prompt), style="dim")
    answers = [
        Text.assemble(
            f"rated {score:.2f}{' (cut)' if cut else ''} ", ("[[" + _decoded(format, reply) + "]]", "bold underline")
        )
        for reply, score, cut in list(zip(row.replies, row.scores, row.truncated, strict=True))[:SHOWN]
    ]
    more = len(row.replies) - len(answers)
    return Group(prompt, *answers, *([Text(f"and {more} more", style="dim")] if more else []))


def _decoded(format: ChatFormat, ids: Sequence[int]) -> str:
    text: str = format.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _lengths(lengths: Sequence[int]) -> str:
    return f"{median(lengths):g}, {max(lengths)}"
