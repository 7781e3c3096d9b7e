"""Where the best rewards of ever more responses go: the limit law of a utility, and the utility of a limit law.

As n grows, the best rewards for a fixed utility converge to one law on [0, 1] (arXiv 2305.17608): Beta(p, p) for a
power, with p = (1 − a) / 2, down to its two end points for x and up to uniform for −1/x. Beyond −1/x near neighbours
outweigh all others, and the law stays uniform (as for Riesz energies above the dimension, "poppy-seed bagel").

For log sigmoid(kx), of finite slope at 0, the best law has atoms at the ends and a density f between them. In the
limit the pushes of all responses on one at x cancel; differentiated once, ∫ sgn(x − y) U'(|x − y|) dμ(y) = 0 becomes

    f(x) = k/4 · ∫ sech²(k(x − y)/2) dμ(y),   dμ = f dy + m (δ_0 + δ_1)

whose kernel has mass below 1 on [0, 1]: f is unique and positive for every k, of mass about k/4 where k is small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy import stats

from agents.errors import BadInput
from alignment.reward_model.utilities import FORMS, LogSigmoid, Power, Utility, prompt_aware, utility_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CELLS = 8192  # of the tabulated cdf between atoms, narrow towards the ends: exact to about 1e-8
NODES = 16  # of a quadrature over a piece of a quantile function


@dataclass(frozen=True, slots=True)
class LimitLaw:
    """A symmetric law on [0, 1]: what the best rewards for `utility` converge to.

    `between`: a scipy distribution on (0, 1), of what does not lie at the ends; `at_each_end`: the mass of either atom.
    """

    utility: Utility
    between: Any
    at_each_end: float = 0.0

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """(position, mass) of each point with mass of its own."""
        return ((0.0, self.at_each_end), (1.0, self.at_each_end)) if self.at_each_end else ()

    def cdf(self, x: Any) -> Floats:
        """P(reward ≤ x), shaped as x."""
        places = np.asarray(x, float)
        ends = (places >= 0).astype(float) + (places >= 1)
        return np.asarray(self.at_each_end * ends + self._share_between * self.between.cdf(places))[()]

    def ppf(self, q: Any) -> Floats:
        """The smallest x with cdf(x) ≥ q, shaped as q; NaN outside [0, 1]."""
        levels = np.asarray(q, float)
        within = (levels - self.at_each_end) / max(self._share_between, np.finfo(float).tiny)
        return np.where((levels >= 0) & (levels <= 1), self.between.ppf(np.clip(within, 0, 1)), np.nan)[()]

    def rvs(self, size: Any = None, random_state: Any = None) -> Floats:
        """Independent rewards of this law; `random_state` as numpy's `default_rng` takes it."""
        return self.ppf(np.random.default_rng(random_state).random(size))

    def mean(self) -> float:
        """½, as for every symmetric law."""
        return 0.5

    def std(self) -> float:
        """The standard deviation."""
        return float(np.sqrt(2 * self.at_each_end / 4 + self._share_between * self.between.var()))

    @property
    def _share_between(self) -> float:
        return 1 - 2 * self.at_each_end


def limit_distribution(utility: str | Utility) -> LimitLaw:
    """What `optimal_rewards(utility, n)` converge to as n grows. Raises BadInput on an unknown name.

    x: half at 0, half at 1. x^a, log x (a = 0) and −x^−|a|: Beta(p, p) with p = (1 − a) / 2, but no more than 1.
    log sigmoid(kx): atoms at 0 and 1 and a density between them, solved for numerically.

    >>> limit_distribution("x").atoms, limit_distribution("-1/x").ppf([0.25, 0.5])
    (((0.0, 0.5), (1.0, 0.5)), array([0.25, 0.5 ]))
    """
    match utility_of(utility):
        case Power(exponent=1) as form:
            return LimitLaw(form, stats.uniform(), at_each_end=0.5)
        case Power(exponent=exponent) as form:
            p = min(1.0, (1 - exponent) / 2)
            return LimitLaw(form, stats.beta(p, p))
        case LogSigmoid() as form:
            return _limit_of_log_sigmoid(form)
    raise BadInput(f"no limit law is known for {utility}: name one of {FORMS}")


def _limit_of_log_sigmoid(form: LogSigmoid) -> LimitLaw:
    """Solve the integral equation at Gauss–Legendre nodes (Nyström), with m = 1, then scale to total mass 1."""
    k = form.steepness
    nodes, weights = leggauss(32 + 2 * int(k))
    nodes, weights = (nodes + 1) / 2, weights / 2
    density = np.linalg.solve(np.eye(len(nodes)) - _pull(k, nodes, nodes) * weights, _pull(k, nodes, [0, 1]).sum(1))

    places = np.concatenate([[0], nodes, [1]])
    masses = np.concatenate([[1], weights * density, [1]])
    masses /= masses.sum()
    edges = (1 - np.cos(np.pi * np.linspace(0, 1, CELLS + 1))) / 2
    cumulative = np.tanh(k / 2 * (edges[:, None] - places)) @ masses / 2
    return LimitLaw(form, stats.rv_histogram((np.diff(cumulative), edges), density=False), at_each_end=float(masses[0]))


def _pull(k: float, x: Floats, y: Any) -> Floats:
    """k/4 · sech²(k(x − y)/2), [x,y]."""
    return np.asarray(k / 4 / np.cosh(k / 2 * (x[:, None] - np.asarray(y))) ** 2)


def utility_for(distribution: Any) -> Utility:
    """A utility whose best rewards converge to `distribution`: the paper's open question, for the Beta family.

    `distribution`: a frozen scipy `beta(p, p)` with p ≤ 1, `uniform()`, `arcsine()`, `bernoulli(0.5)` (half at 0,
    half at 1), or what `limit_distribution` returned. For Beta(p, p) it is the prompt-aware utility of openness p.

    Raises BadInput for all others. A lopsided law is the limit of no strictly concave utility: Σ U(r_i − r_j) stays the
    same under r → 1 − r, and its optimum is unique. Nor is a law that thins out towards the ends, as Beta(p, p) with
    p > 1, if the mean utility over it is finite: at every distance, a response in the upper half has more others below
    it, pushing it up, than above. Where that mean is infinite, as for −1/x and beyond, the limits known are uniform.

    >>> from scipy import stats
    >>> utility_for(stats.beta(0.5, 0.5)).name
    'log x'
    """
    if isinstance(distribution, LimitLaw):
        return distribution.utility
    p, q = _beta_parameters(distribution)
    if p != q:
        raise BadInput(f"Beta({p:g}, {q:g}): not symmetric, and all utilities give symmetric rewards; needs Beta(p, p)")
    if p > 1:
        raise BadInput(f"Beta({p:g}, {q:g}): utilities push rewards out to the ends, at most evenly; needs p ≤ 1")
    return prompt_aware(p)


def _beta_parameters(distribution: Any) -> tuple[float, float]:
    """(p, q) of a law on [0, 1] that is Beta(p, q): half at 0 and half at 1 is Beta(0, 0)."""
    try:
        kind = distribution.dist.name if distribution.support() == (0, 1) else "elsewhere"
        if kind == "beta":
            shapes = dict(zip("ab", distribution.args, strict=False)) | distribution.kwds
            return float(shapes["a"]), float(shapes["b"])
        if kind in ("uniform", "arcsine"):
            return (1.0, 1.0) if kind == "uniform" else (0.5, 0.5)
        if kind == "bernoulli" and distribution.mean() == 0.5:
            return 0.0, 0.0
    except (AttributeError, TypeError, ValueError):
        pass  # not frozen, or many at once
    raise BadInput(
        f"no utility is known for {distribution!r}: needs a frozen scipy.stats beta(p, p), uniform(), arcsine() or"
        " bernoulli(0.5) on [0, 1], or what limit_distribution returned"
    )


def wasserstein_to(rewards: Any, law: LimitLaw) -> float:
    """Wasserstein-1 distance between `rewards`, each of equal weight, and `law`: ∫ |their quantiles − its| dq.

    Exact to about 1e-8 (the quantile function is integrated by pieces on which nothing jumps or changes sign). Raises
    BadInput without rewards, and where one is not finite.
    """
    ordered = np.sort(np.ravel(np.asarray(rewards, float)))
    if not ordered.size or not np.isfinite(ordered).all():
        raise BadInput(f"rewards to compare with a law: needs one or more finite numbers, got {rewards!r}")
    steps = np.linspace(0, 1, ordered.size + 1)
    cuts = np.unique(np.concatenate([steps, law.cdf(ordered), [law.at_each_end, 1 - law.at_each_end]]))
    widths, middles = np.diff(cuts), (cuts[1:] + cuts[:-1]) / 2
    nodes, weights = leggauss(NODES)
    quantiles = law.ppf(middles[:, None] + widths[:, None] / 2 * nodes)
    mine = ordered[np.minimum((middles * ordered.size).astype(int), ordered.size - 1)]
    return float(widths / 2 @ (np.abs(quantiles - mine[:, None]) @ weights))
