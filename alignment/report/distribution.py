"""The rewards of held-out answers, before and after a training, beside the law that they should follow.

The figure of arXiv 2305.17608: prompts that want different distributions, and whether they get them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alignment.report.curves import COLOURS, FAINT, element, saved, style
from alignment.report.record import Record, rows_of
from alignment.report.words import how_many
from alignment.reward_model.limits import LimitLaw, limit_distribution
from alignment.reward_model.quality import HALF_OPEN
from alignment.reward_model.trainer import utility_named
from alignment.reward_model.utilities import prompt_aware

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BINS = 20  # of a histogram
POINTS = 400  # of the line of a law
CELLS = 10_000  # of a distance, which is exact to one of them
ROOM = 1.15  # times the highest bar after training, or of the law, is a panel's height
ACROSS = 2  # panels in a row of a picture
AFTER, LAW = COLOURS[:2]


@dataclass(frozen=True, slots=True)
class Mixture:
    """What the rewards of several prompts follow together: each prompt's limit law, by its share of the rewards."""

    parts: tuple[tuple[LimitLaw, float], ...]

    @property
    def at_each_end(self) -> float:
        """The mass at 0, which is that at 1."""
        return sum(share * law.at_each_end for law, share in self.parts)

    def cdf(self, x: Any) -> Floats:
        """P(reward ≤ x), shaped as x."""
        return np.asarray(sum(share * law.cdf(x) for law, share in self.parts))

    def between(self, cells: int) -> Floats:
        """The mass in each of so many equal parts of (0, 1), without that at the ends, [cells]."""
        masses = np.diff(self.cdf(np.linspace(0, 1, cells + 1)))
        masses[-1] -= self.at_each_end
        return masses

    def distance_to(self, rewards: Sequence[float]) -> float:
        """The Wasserstein-1 distance of `rewards`, which lie in [0, 1]: ∫ |their share up to x − cdf(x)| dx."""
        middles = (np.arange(CELLS) + 0.5) / CELLS
        shares = np.searchsorted(np.sort(rewards), middles, side="right") / len(rewards)
        return float(np.abs(shares - self.cdf(middles)).mean())


@dataclass(frozen=True, slots=True)
class Distribution:
    """All rewards of the open or of the closed prompts; never empty. `utility` is told by its name."""

    kind: str
    utility: str
    prompts: int
    before: tuple[float, ...]
    after: tuple[float, ...]
    law: Mixture

    @property
    def caption(self) -> str:
        """Whose rewards these are, and how far they lie from the law."""
        old, new = map(self.law.distance_to, (self.before, self.after))
        whose = f"{how_many(self.prompts, f'{self.kind} prompt')}, {self.utility}"
        return f"{whose}: W1 to the law {old:.3f} before, {new:.3f} after"


def read_distributions(folder: Path, record: Record) -> list[Distribution]:
    """Those of a reward model's held-out answers; of other trainings none. Raises BadInput without held_out.jsonl."""
    if record.method != "reward-model":
        return []
    return distributions_of(rows_of(folder / "held_out.jsonl"), str(record.settings["utility"]))


def distributions_of(rows: Sequence[Mapping[str, Any]], utility: str) -> list[Distribution]:
    """Of the open prompts (openness from ½) and of the closed ones, where there are any.

    A row is a prompt: its `openness`, and the rewards of its answers `before` and `after`. Raises BadInput on the name.
    """
    open_ = [row for row in rows if row["openness"] >= HALF_OPEN]
    closed = [row for row in rows if row["openness"] < HALF_OPEN]
    return [_distribution(kind, utility, side) for kind, side in (("open", open_), ("closed", closed)) if side]


def mixture(utility: str, prompts: Sequence[tuple[float, int]]) -> Mixture:
    """What the rewards of `prompts`, (openness, answers) each, should follow together. Raises BadInput on the name."""
    counts: Counter[LimitLaw] = Counter()
    for openness, answers in prompts:
        counts[_law(utility_named(utility) or prompt_aware(openness))] += answers
    return Mixture(tuple((law, count / counts.total()) for law, count in counts.items()))


def picture_of(distributions: Sequence[Distribution], title: str) -> bytes:
    """All of them, two in a row, as one PNG."""
    down = ceil(len(distributions) / ACROSS)
    with style():
        figure = Figure(figsize=(4.6 * ACROSS, 2.7 * down + 0.8), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", weight="bold")
        cells = list(figure.subplots(down, ACROSS, squeeze=False).flat)
        for empty in cells[len(distributions) :]:
            empty.remove()
        for distribution, axes in zip(distributions, cells, strict=False):
            axes.set_title(distribution.caption.replace(": ", "\n"))
            _draw(axes, distribution)
        figure.legend(*cells[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return saved(figure, "png")


def inline_of(distribution: Distribution) -> str:
    """A distribution as an SVG element for a page."""

    def draw(axes: Axes) -> None:
        _draw(axes, distribution)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, columnspacing=1, handlelength=1)

    told = f"Histogram of rewards before and after training, with their limit law. {distribution.caption}."
    return element(f"rewards of {distribution.kind} prompts", told, draw)


def _distribution(kind: str, utility: str, rows: Sequence[Mapping[str, Any]]) -> Distribution:
    before, after = (tuple(reward for row in rows for reward in row[moment]) for moment in ("before", "after"))
    law = mixture(utility, [(row["openness"], len(row["after"])) for row in rows])
    return Distribution(kind, utility, len(rows), before, after, law)


def _draw(axes: Axes, distribution: Distribution) -> None:
    """Histograms, and the law as a line in their unit, mass by bin; an atom is as high as a bar of its mass."""
    law, edges = distribution.law, np.linspace(0, 1, BINS + 1)
    before, after = (np.histogram(each, edges)[0] / len(each) for each in (distribution.before, distribution.after))
    axes.stairs(before, edges, fill=True, color=FAINT, alpha=0.3, label="before (may go on above)")
    axes.stairs(after, edges, fill=True, color=AFTER, alpha=0.75, label="after")
    axes.plot((np.arange(POINTS) + 0.5) / POINTS, law.between(POINTS) * POINTS / BINS, color=LAW, label="limit law")
    if law.at_each_end:
        axes.vlines([0, 1], 0, law.at_each_end, color=LAW, linewidth=2.4, clip_on=False, zorder=3)
        axes.plot([0, 1], [law.at_each_end] * 2, "o", color=LAW, markersize=5, clip_on=False, zorder=3)
    top = ROOM * max(after.max(), law.between(BINS).max(), law.at_each_end)
    axes.set(xlim=(0, 1), ylim=(0, top), xlabel="reward", ylabel=f"share of rewards, by {1 / BINS:g}")


_law = cache(limit_distribution)  # the same for all prompts of one openness
