"""`align check`: what a trainer would read, shown before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import median

import numpy as np
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from agents.local import pretrained_tokenizer
from agents.models import model_folder
from alignment.config import AlignCheckOptions
from alignment.groups import Ratings, checked, read_sources
from alignment.plan import types_of
from alignment.stable import Prepared, prepared
from alignment.tokens import ChatFormat, Row
from sandbox.console import table_console
from sandbox.responses import Scoring

BINS, BAR = 7, 40
SHOWN = 3  # responses of the example


def run_check(options: AlignCheckOptions) -> None:
    """Print counts, lengths, a histogram of the scores, and one example. Raises BadInput."""
    groups, left_out = read_sources(
        options.sources, types_of(options), Scoring(options.score_by, options.observer, options.critic_score)
    )
    data = checked(groups, scale=options.rating_scale, delta=options.delta)
    format = ChatFormat.of(pretrained_tokenizer(options.model, model_folder(options.model)))
    rows = prepared(data.groups, format, options.max_length)
    scores = [score for group in groups for score in group.scores]
    table_console().print(
        counts(data, rows, left_out, options.max_length),
        Rule("scores", align="left"),
        histogram(scores),
        Rule("one example, trained tokens in [[ ]]", align="left"),
        example(rows.rows[0], format),
    )


def counts(data: Ratings, rows: Prepared, left_out: dict[str, int], max_length: int) -> Table:
    """What was read, what became of it, and how long it is."""
    pairs = [abs(one - other) > data.delta for group in data.groups for one, other in combinations(group.scores, 2)]
    found = data.counts
    table = Table(show_header=False, box=None)
    for label, value in (
        ("groups", f"{len(data.groups)}"),
        ("  merged, their queries being equal", f"{found.merged}"),
        ("  with one response", f"{found.single}"),
        ("  with ratings that all count as equal", f"{found.level}"),
        ("responses", f"{sum(len(group.responses) for group in data.groups)}"),
        ("  copies dropped", f"{found.copies}"),
        *((f"  left out of the runs: {reason}", f"{count}") for reason, count in left_out.items()),
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
