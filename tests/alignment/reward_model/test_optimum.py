import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import roots_jacobi

from agents.errors import BadInput
from alignment.reward_model.optimum import optimal_rewards
from alignment.reward_model.utilities import LogSigmoid, Power, prompt_aware

SMALL = 1e-6  # gaps below are taken for ties


def prices(utility, gaps):
    """What one more unit of each gap would bring, span by span: the plain way."""
    price = np.zeros(len(gaps))
    for first in range(len(gaps)):
        for last in range(first, len(gaps)):
            price[first : last + 1] += utility.slope(gaps[first : last + 1].sum())
    return price


def assert_optimal(utility, rewards):
    """Every open gap is worth the same, and a closed one, were it opened by SMALL, no more (Karush–Kuhn–Tucker)."""
    gaps = -np.diff(rewards)
    assert rewards[0] == 1 and rewards[-1] == 0 and (gaps >= 0).all()
    assert rewards == pytest.approx(1 - rewards[::-1], abs=1e-12)
    closed = gaps < SMALL
    price = prices(utility, gaps + 1e-200)[~closed]
    assert price == pytest.approx(price.mean(), rel=1e-6)
    for k in np.flatnonzero(closed):
        opened = gaps + 1e-200  # of ties inside a span nothing is asked, but 0 has no slope
        opened[k] += SMALL
        assert prices(utility, opened)[k] <= price.mean() * (1 + 1e-6)


@pytest.mark.parametrize(
    ("utility", "expected"),
    [
        ("log x", [0.935870, 0.795850, 0.604650]),
        ("-1/x", [0.879241, 0.733439, 0.578651]),
        ("x^0.5", [0.988854, 0.902483, 0.664678]),
        ("logsigmoid(x)", [1, 1, 0.764270]),
        ("x", [1, 1, 1]),
    ],
)
def test_eight_responses(utility, expected):
    upper = np.array([1, *expected])
    assert optimal_rewards(utility, 8) == pytest.approx(np.concatenate([upper, 1 - upper[::-1]]), abs=1e-6)


@pytest.mark.parametrize("n", [2, 3, 4, 9, 100, 512])
def test_log_x_has_the_fekete_points(n):
    inside = (1 + roots_jacobi(n - 2, 1, 1)[0]) / 2 if n > 2 else []
    assert optimal_rewards("log x", n)[::-1] == pytest.approx(np.array([0, *inside, 1]), abs=1e-9)


@pytest.mark.parametrize("n", [5, 8, 511, 512])
def test_x_puts_the_middle_one_in_the_middle_and_the_others_at_the_ends(n):
    middle = [0.5] * (n % 2)
    assert optimal_rewards("x", n).tolist() == pytest.approx([1] * (n // 2) + middle + [0] * (n // 2), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "utility"),
    [
        ("x^0.5", lambda x: x**0.5),
        ("x^0.95", lambda x: x**0.95),
        ("log x", np.log),
        ("-x^-0.5", lambda x: -(x**-0.5)),
        ("-x^-4", lambda x: -(x**-4)),
        ("logsigmoid(6x)", lambda x: -np.log1p(np.exp(-6 * x))),
    ],
)
def test_four_responses_have_one_unknown(name, utility):
    found = minimize_scalar(
        lambda r: -(2 * utility(r) + 2 * utility(1 - r) + utility(2 * r - 1)),
        bounds=(0.5, 1),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert optimal_rewards(name, 4)[1] == pytest.approx(found.x, abs=1e-6)


@settings(deadline=None)
@given(st.one_of(st.floats(-4, 1), st.floats(0.8, 1), st.sampled_from([-50, -1, 0, 1])), st.integers(2, 16))
def test_powers_are_optimal(exponent, n):
    assert_optimal(Power(exponent), optimal_rewards(Power(exponent), n))


@settings(deadline=None)
@given(st.one_of(st.floats(0.01, 10), st.floats(10, 500)), st.integers(2, 16))
def test_log_sigmoids_are_optimal(steepness, n):
    assert_optimal(LogSigmoid(steepness), optimal_rewards(LogSigmoid(steepness), n))


@pytest.mark.parametrize("tenths", range(11))
def test_every_openness_is_optimal(tenths):
    assert_optimal(prompt_aware(tenths / 10), optimal_rewards(prompt_aware(tenths / 10), 24))


@pytest.mark.parametrize(
    "utility", [prompt_aware(1e-6), prompt_aware(0.01), Power(-1), Power(-50), LogSigmoid(0.001), LogSigmoid(500)]
)
def test_many_responses(utility):
    gaps = -np.diff(optimal_rewards(utility, 512))
    spans = np.where(np.tri(511, k=-1), np.inf, np.cumsum(np.triu(np.tile(gaps + 1e-200, (511, 1))), axis=1))
    slopes = utility.slope(spans)
    slopes[np.tri(511, k=-1, dtype=bool)] = 0
    price = np.diagonal(np.cumsum(np.cumsum(slopes, axis=0)[:, ::-1], axis=1)[:, ::-1])
    assert price[gaps > SMALL] == pytest.approx(price[gaps > SMALL].mean(), rel=1e-5)
    assert gaps.sum() == pytest.approx(1, abs=1e-12)


def test_more_open_prompts_spread_further():
    spread = [np.abs(optimal_rewards(prompt_aware(o), 16) - 0.5).mean() for o in np.linspace(0, 1, 11)]
    assert (np.diff(spread) < 0).all()


def test_refuses():
    with pytest.raises(BadInput, match="optimal rewards of 1 responses: needs at least 2"):
        optimal_rewards("x", 1)
    with pytest.raises(BadInput, match="unknown utility 'sin x'"):
        optimal_rewards("sin x", 4)
