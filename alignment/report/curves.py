"""The curves of a training, drawn by matplotlib: as one picture, each inside a page, and of several side by side."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from html import escape
from io import BytesIO
from math import ceil, isfinite
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from alignment.report.record import Record

# The colours of Okabe and Ito, which people with any colour vision can tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
STYLES = {"-": "–", ":": "⋯", "--": "- -"}  # and how they are told in a line of text
INK, FAINT, LINE = "#1f1e1b", "#66625b", "#e3e0d9"
VARIABLES = {INK: "--ink", FAINT: "--faint", LINE: "--line"} | {c: f"--series-{n}" for n, c in enumerate(COLOURS)}

STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # names are shown as they are, never as formulas
    "svg.fonttype": "none",  # text stays text
    "font.family": "DejaVu Sans",  # matplotlib's own: the same everywhere
    "font.size": 9.0,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "figure.constrained_layout.w_pad": 0.1,  # inches
    "figure.constrained_layout.h_pad": 0.1,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-3, 5),  # powers of ten that are written out
    **dict.fromkeys(("text.color", "axes.titlecolor"), INK),
    **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), FAINT),
    **dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), LINE),
}
DECADES = 100.0  # largest ÷ smallest value from which an axis is logarithmic
DOTS = 30  # values up to which each has a dot
LONG, MEANS = 250, 50  # values above which that many means are drawn
BAND = 0.12  # opacity of intervals
ACROSS = 3  # panels in a row of a picture


@dataclass(frozen=True, slots=True)
class Series:
    """One curve: `values[i]` after `steps[i]` steps; never empty.

    `intervals` are none, or one (low, high) of each value, drawn as a band; NaN where it has none.
    """

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves of one unit, in a fixed order; never empty. `by` is what its steps are."""

    title: str
    unit: str
    series: tuple[Series, ...]
    by: str = "step"


Source = tuple[str, Literal["log", "points"], str]  # name of a series, where its values lie, and under which key

PANELS: tuple[tuple[str, str, tuple[Source, ...]], ...] = (
    ("loss", "loss", (("loss", "log", "loss"), ("of the best answers alone", "log", "nll_best"))),
    (
        "log-probability of held-out answers",
        "nats a token",
        (("best", "points", "best_per_token"), ("worst", "points", "worst_per_token")),
    ),
    ("margin of best over worst", "nats a token", (("margin", "points", "margin"),)),
    ("held-out pairs in the right order", "share", (("pair accuracy", "points", "pair_accuracy"),)),
    (
        "KL to the start",
        "nats a token",
        (("on held-out answers", "points", "kl"), ("on its own, in training", "log", "kl")),
    ),
    ("perplexity on neutral text", "perplexity", (("neutral text", "points", "neutral_perplexity"),)),
    (
        "reward of fresh answers",
        "mean rating",
        (("to held-out questions", "points", "reward"), ("sampled in training", "log", "reward")),
    ),
    (
        "length of fresh answers",
        "tokens",
        (
            ("to held-out questions", "points", "answer_tokens"),
            ("sampled in training", "log", "completions/mean_length"),
        ),
    ),
    (
        "distance between rewards",
        "Wasserstein-1",
        (("open from closed prompts", "points", "open_closed"), ("from the utility's best", "points", "to_optimum")),
    ),
    ("spread of a prompt's rewards", "standard deviation", (("spread", "points", "spread"),)),
    (
        "what rewards follow",
        "Kendall's τ-b",
        (
            ("length", "points", "length"),
            ("the second observer", "points", "judge"),
            ("the ratings", "points", "rank_correlation"),
        ),
    ),
    ("active hinges", "share", (("active hinges", "log", "active_hinges"),)),
    (
        "training pairs in the right order",
        "share",
        (("pairs", "log", "rewards/accuracies"), ("ranked pairs", "log", "pairs_in_order")),
    ),
    ("gradient norm", "Euclidean norm", (("gradient norm", "log", "grad_norm"),)),
    ("learning rate", "learning rate", (("learning rate", "log", "learning_rate"),)),
)


def panels_of(record: Record) -> list[Panel]:
    """What there is to draw; a series without values is left out, and a panel without series."""
    found = []
    for title, unit, sources in PANELS:
        series = [_series(name, record.log if kind == "log" else record.points, key) for name, kind, key in sources]
        drawn = tuple(each for each in series if each.values)
        if drawn:
            found.append(Panel(title, unit, drawn))
    return found


def picture(panels: Sequence[Panel], title: str) -> bytes:
    """All panels as one PNG."""
    with style():
        figure, grid = _grid(len(panels))
        figure.suptitle(title, x=0.01, ha="left", weight="bold")
        for panel, axes in zip(panels, grid, strict=True):
            axes.set_title(panel.title)
            _draw(axes, panel)
        return saved(figure, "png")


def inline(panel: Panel) -> str:
    """A panel as an SVG element for a page."""
    return element(panel.title, f"{panel.title}, {panel.unit}, by {panel.by}", lambda axes: _draw(axes, panel))


def element(name: str, told: str, draw: Callable[[Axes], None]) -> str:
    """What `draw` draws as an SVG element for a page: transparent, its text as text, its colours custom properties.

    `name` is no other picture's of the page; `told` says what is seen to who can't see it.
    """
    with style(name):
        figure = Figure(figsize=(4.4, 2.8), layout="constrained")
        draw(figure.subplots())
        svg = saved(figure, "svg", transparent=True).decode("utf-8")
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    whole = re.sub(r' id="[\w.]+_\d+"', "", svg[svg.index("<svg") :])  # every other picture has the same
    return whole.replace("<svg", f'<svg role="img" aria-label="{escape(told)}"', 1)


def side_by_side(trainings: Mapping[str, Sequence[Panel]], kind: str) -> bytes:
    """The panels of several trainings, by shown name, as one picture: "png", "svg" or "pdf"; a colour each."""
    found = {panel.title for panels in trainings.values() for panel in panels}
    titles = [title for title, _, _ in PANELS if title in found]
    with style("side by side"):
        figure, grid = _grid(len(titles))
        for title, axes in zip(titles, grid, strict=True):
            of_each = [next((panel for panel in panels if panel.title == title), None) for panels in trainings.values()]
            _draw_all(axes, title, of_each)
        keys = [axes.plot([], [], color=_colour(number))[0] for number in range(len(trainings))]
        figure.legend(keys, list(trainings), loc="outside lower center", ncols=4)
        return saved(figure, kind)


def _series(name: str, lines: Sequence[Mapping[str, object]], key: str) -> Series:
    told = [(line.get("step"), line.get(key)) for line in lines]
    numbers = [(s, float(v)) for s, v in told if isinstance(s, int) and isinstance(v, int | float) and isfinite(v)]
    return Series(name, tuple(step for step, _ in numbers), tuple(value for _, value in numbers))


def _draw(axes: Axes, panel: Panel) -> None:
    for number, (series, style) in enumerate(zip(panel.series, STYLES, strict=False)):
        _curve(axes, series, _colour(number), style)
    _label(axes, [panel])
    if len(panel.series) > 1:
        axes.legend()


def _draw_all(axes: Axes, title: str, panels: Sequence[Panel | None]) -> None:
    """The panel of that title of each training, where it has one."""
    there = [panel for panel in panels if panel is not None]
    names = [name for _, _, sources in PANELS for name, _, _ in sources]
    shown = sorted({series.name for panel in there for series in panel.series}, key=names.index)
    styles = dict(zip(shown, STYLES, strict=False))
    for number, panel in enumerate(panels):
        for series in panel.series if panel else ():
            _curve(axes, series, _colour(number), styles[series.name])
    told = ", ".join(f"{name} {STYLES[style]}" for name, style in styles.items())
    axes.set_title(f"{title}\n{told}" if len(styles) > 1 else title)
    _label(axes, there)


def _curve(axes: Axes, series: Series, colour: str, style: str) -> None:
    """The values; of a long series pale, with means of neighbours above them."""
    steps, values = np.array(series.steps), np.array(series.values)
    if len(values) > LONG:
        axes.plot(steps, values, color=colour, alpha=0.3, linewidth=0.6)
        steps, values = (np.array([part.mean() for part in np.array_split(all, MEANS)]) for all in (steps, values))
    dot = "." if len(values) <= DOTS else ""
    axes.plot(steps, values, linestyle=style, color=colour, marker=dot, label=series.name)
    if series.intervals:
        low, high = np.array(series.intervals).T
        axes.fill_between(series.steps, low, high, color=colour, alpha=BAND, linewidth=0)


def _label(axes: Axes, panels: Sequence[Panel]) -> None:
    values = [value for panel in panels for series in panel.series for value in series.values]
    if min(values) > 0 and max(values) > DECADES * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")  # by default powers are formulas, which are not parsed here
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel=panels[0].by, ylabel=panels[0].unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _grid(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels."""
    down = ceil(count / ACROSS)
    figure = Figure(figsize=(4.4 * ACROSS, 2.9 * down + 0.5), layout="constrained")
    cells = list(figure.subplots(down, ACROSS, squeeze=False).flat)
    for empty in cells[count:]:
        empty.remove()
    return figure, cells[:count]


def style(salt: str = "curves") -> AbstractContextManager[None]:
    """Equal curves give equal files; pictures of one page have names of different `salt` inside."""
    return rc_context({**STYLE, "svg.hashsalt": salt})


def saved(figure: Figure, kind: str, *, transparent: bool = False) -> bytes:
    """A figure as a file's bytes: "png", "svg" or "pdf", without dates, so that equal figures give equal files."""
    undated = {"svg": dict.fromkeys(("Date", "Creator", "Format", "Type")), "pdf": {"CreationDate": None}}.get(kind)
    picture = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name
        figure.savefig(picture, format=kind, metadata=undated, dpi=120, transparent=transparent)
    return picture.getvalue()
