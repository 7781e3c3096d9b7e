"""Utilities U of the gap between two ranked rewards: what a reward model maximises, Σ_{i<j} U(r_i − r_j).

Which U is taken decides how rewards of one prompt are spread (arXiv 2305.17608): each is concave and increasing on
(0, 1], and the more it punishes small gaps, the more evenly the best rewards lie. A positive factor or a constant
changes no optimum, so the powers stand in their Box–Cox form (x^a − 1) / a, which runs through log x at a = 0 and has
slope 1 at x = 1 for every a. As given, x^a would stop teaching as a → 0.

The theory wants slopes of arrays, the training values of tensors; torch is not imported here.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from agents.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

TANGENT_BELOW = 0.05  # in training: ties and wrongly ordered pairs get a finite loss, and a gradient
STEEPEST_EXPONENT, STEEPEST_SIGMOID = -50.0, 500.0  # beyond, slopes over- or underflow; rewards are even already
FORMS = "x, x^0.5, log x, -x^-0.5, -1/x, logsigmoid(x), logsigmoid(4x)"
NEAR_ZERO = 1e-20  # an exponent that stands in for 0: (x^a − 1) / a is log x to the last digit

_NUMBER = r"((?:\d+\.?\d*|\.\d+)(?:e-?\d+)?)"


class Utility(ABC):
    """A concave increasing function of the gap x between two rewards, 0 < x ≤ 1."""

    __slots__ = ()

    @property
    @abstractmethod
    def name(self) -> str:
        """As `utility_of` reads it."""

    @abstractmethod
    def slope(self, x: Any) -> NDArray[np.float64]:
        """U'(x), shaped as x."""

    @abstractmethod
    def curvature(self, x: Any) -> NDArray[np.float64]:
        """U''(x), shaped as x."""

    @abstractmethod
    def _value(self, x: Tensor) -> Tensor:
        """U(x) for x ≥ TANGENT_BELOW."""

    def of(self, gaps: Tensor) -> Tensor:
        """U of gaps of either sign, shaped as they are; below TANGENT_BELOW it goes on as its tangent there."""
        return _with_tangent(self._value, float(self.slope(TANGENT_BELOW)), gaps)


@dataclass(frozen=True, slots=True)
class Power(Utility):
    """(x^a − 1) / a with a the `exponent`, log x for a = 0: x^a, log x and −x^−|a| up to a factor and a constant."""

    exponent: float

    def __post_init__(self) -> None:
        if not STEEPEST_EXPONENT <= self.exponent <= 1:
            raise BadInput(
                f"utility exponent {self.exponent:g}: needs {STEEPEST_EXPONENT:g} to 1 (it is not concave above 1)"
            )

    @property
    def name(self) -> str:
        """As `utility_of` reads it."""
        match self.exponent:
            case 1:
                return "x"
            case 0:
                return "log x"
            case -1:
                return "-1/x"
        sign = "-" if self.exponent < 0 else ""
        return f"{sign}x^{self.exponent:.15g}"

    def slope(self, x: Any) -> NDArray[np.float64]:
        """U'(x) = x^(a − 1)."""
        return np.asarray(x, float) ** (self.exponent - 1)

    def curvature(self, x: Any) -> NDArray[np.float64]:
        """U''(x) = (a − 1) x^(a − 2)."""
        return (self.exponent - 1) * np.asarray(x, float) ** (self.exponent - 2)

    def _value(self, x: Tensor) -> Tensor:
        return _box_cox(x, self.exponent or NEAR_ZERO)


@dataclass(frozen=True, slots=True)
class LogSigmoid(Utility):
    """log sigmoid(kx) with k the `steepness`: the usual pairwise loss, whose best rewards partly lie at the ends."""

    steepness: float

    def __post_init__(self) -> None:
        if not 0 < self.steepness <= STEEPEST_SIGMOID:
            raise BadInput(f"utility logsigmoid({self.steepness:g}x): needs a factor above 0, to {STEEPEST_SIGMOID:g}")

    @property
    def name(self) -> str:
        """As `utility_of` reads it."""
        factor = "" if self.steepness == 1 else f"{self.steepness:.15g}"
        return f"logsigmoid({factor}x)"

    def slope(self, x: Any) -> NDArray[np.float64]:
        """U'(x) = k sigmoid(−kx)."""
        z = self.steepness * np.asarray(x, float)
        return np.asarray(self.steepness * expit(-z))

    def curvature(self, x: Any) -> NDArray[np.float64]:
        """U''(x) = −k² sigmoid(kx) sigmoid(−kx)."""
        z = self.steepness * np.asarray(x, float)
        return np.asarray(-(self.steepness**2) * expit(z) * expit(-z))

    def _value(self, x: Tensor) -> Tensor:
        return -(x * -self.steepness).exp().log1p()


def utility_of(name: str | Utility) -> Utility:
    """The utility called `name`: x, x^0.5, log x, -x^-0.5, -1/x, logsigmoid(x), logsigmoid(4x); any number, any spaces.

    `log` and `log sigmoid(x)` are understood too; a Utility is itself. Raises BadInput on any other name, and out of
    bounds: x^a needs 0 < a ≤ 1, -x^-a needs 0 < a ≤ 50, logsigmoid(kx) needs 0 < k ≤ 500.

    >>> utility_of("log x"), utility_of("-1/x"), utility_of("log sigmoid(4x)")
    (Power(exponent=0.0), Power(exponent=-1.0), LogSigmoid(steepness=4.0))
    """
    if isinstance(name, Utility):
        return name
    text = re.sub(r"\s+", "", name.lower()).replace("−", "-")
    if text in ("log", "logx"):
        return Power(0.0)
    if text == "-1/x":
        return Power(-1.0)
    if power := re.fullmatch(rf"x(?:\^{_NUMBER})?|-x\^-{_NUMBER}", text):
        positive, negative = power.groups()
        exponent = -float(negative) if negative else float(positive or 1)
        if exponent == 0:
            raise BadInput(f"utility {name!r}: the exponent must not be 0; the limit is called log x")
        return Power(exponent)
    if sigmoid := re.fullmatch(rf"logsigmoid\((?:{_NUMBER}\*?)?x\)", text):
        return LogSigmoid(float(sigmoid[1] or 1))
    raise BadInput(f"unknown utility {name!r}: name one of {FORMS} (with any number)")


def prompt_aware(openness: float) -> Utility:
    """The utility for a prompt of openness o ∈ [0, 1]: x at 0 (one right answer), log x at ½, −1/x at 1 (any goes).

    It is x^a with a = 1 − 2o, log x at a = 0, −x^−|a| below; the best rewards of many responses follow Beta(o, o).
    Raises BadInput outside [0, 1].
    """
    if not 0 <= openness <= 1:
        raise BadInput(f"openness {openness:g}: needs 0 (closed) to 1 (open)")
    return Power(round(1 - 2 * float(openness), 12))  # 0.2, not 0.19999999999999996


def prompt_aware_utility(gaps: Tensor, openness: Tensor) -> Tensor:
    """`prompt_aware(openness).of(gaps)` with an openness for each gap: tensors of one shape, or broadcast to one."""
    exponent = 1 - 2 * openness
    exponent = exponent.masked_fill(exponent == 0, NEAR_ZERO)
    return _with_tangent(lambda x: _box_cox(x, exponent), (exponent - 1).mul(math.log(TANGENT_BELOW)).exp(), gaps)


def _box_cox(x: Tensor, exponent: Tensor | float) -> Tensor:
    """(x^a − 1) / a without cancellation, a ≠ 0."""
    return (x.log() * exponent).expm1() / exponent


def _with_tangent(value: Callable[[Tensor], Tensor], slope: Tensor | float, gaps: Tensor) -> Tensor:
    """`value` of gaps, below TANGENT_BELOW its tangent of that `slope`. No branch is thrown away, so none leaks NaN."""
    inside = gaps.clamp(min=TANGENT_BELOW)
    return value(inside) + slope * (gaps - inside)
