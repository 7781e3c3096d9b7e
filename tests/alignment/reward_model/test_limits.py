import numpy as np
import pytest
from scipy import stats

from agents.errors import BadInput
from alignment.reward_model.limits import limit_distribution, utility_for, wasserstein_to
from alignment.reward_model.optimum import optimal_rewards
from alignment.reward_model.utilities import LogSigmoid, Power, prompt_aware, utility_of

LEVELS = np.linspace(0, 1, 41)
SIGMOIDS = ["logsigmoid(0.001x)", "logsigmoid(x)", "logsigmoid(4x)", "logsigmoid(30x)", "logsigmoid(500x)"]


@pytest.mark.parametrize(
    ("utility", "law"),
    [
        ("x", stats.bernoulli(0.5)),
        ("x^0.5", stats.beta(0.25, 0.25)),
        ("x^0.99", stats.beta(0.005, 0.005)),
        ("log x", stats.arcsine()),
        ("-x^-0.5", stats.beta(0.75, 0.75)),
        ("-1/x", stats.uniform()),
        ("-x^-3", stats.uniform()),
    ],
)
def test_laws_of_the_powers(utility, law):
    ours = limit_distribution(utility)
    inside = np.linspace(-0.5, 1.5, 81)
    assert ours.cdf(inside) == pytest.approx(law.cdf(inside), abs=1e-12)
    assert ours.ppf(LEVELS[1:]) == pytest.approx(law.ppf(LEVELS[1:]), abs=1e-12)
    assert (ours.mean(), ours.std()) == pytest.approx((law.mean(), law.std()))
    assert ours.atoms == (((0.0, 0.5), (1.0, 0.5)) if utility == "x" else ())


@pytest.mark.parametrize("openness", [0, 0.1, 0.5, 0.9, 1])
def test_prompt_aware_goes_to_beta_of_the_openness(openness):
    law = limit_distribution(prompt_aware(openness))
    assert law.std() == pytest.approx(np.sqrt(1 / (8 * openness + 4)))  # of Beta(o, o)
    assert utility_for(law) == prompt_aware(openness)


@pytest.mark.parametrize("utility", ["x", "x^0.9", "x^0.5", "log x", *SIGMOIDS])
def test_the_optimum_goes_to_its_law_like_one_over_n(utility):
    law = limit_distribution(utility)
    for n in (64, 256):
        assert wasserstein_to(optimal_rewards(utility, n), law) < 0.3 / n
    assert wasserstein_to(optimal_rewards(utility, 64), limit_distribution("-1/x")) > 1 / 64 or utility.endswith(
        "500x)"
    )


@pytest.mark.parametrize("utility", ["log x", "logsigmoid(4x)", "logsigmoid(100x)"])
def test_so_it_does_for_a_thousand(utility):
    assert wasserstein_to(optimal_rewards(utility, 1024), limit_distribution(utility)) < 0.3 / 1024


@pytest.mark.parametrize(("utility", "slowest"), [("-x^-0.5", 0.52), ("-1/x", 0.8), ("-x^-3", 0.26)])
def test_others_go_slower(utility, slowest):
    # At −1/x, where pairs near and far weigh the same, the distance falls like 1 / log n.
    law = limit_distribution(utility)
    near, far = (wasserstein_to(optimal_rewards(utility, n), law) for n in (64, 256))
    assert far < slowest * near and far < 0.012


@pytest.mark.parametrize("utility", SIGMOIDS)
def test_log_sigmoid_pushes_cancel_everywhere(utility):
    form, law = utility_of(utility), limit_distribution(utility)
    (_, mass), (_, other) = law.atoms
    levels, weights = np.polynomial.legendre.leggauss(400)
    places = law.ppf(mass + (levels + 1) / 2 * (1 - 2 * mass))  # of the responses between the ends
    for x in (0.1, 0.35, 0.5):
        between = np.sign(x - places) * form.slope(np.abs(x - places)) @ weights / 2 * (1 - 2 * mass)
        pushes = mass * form.slope(x) - other * form.slope(1 - x) + between
        assert abs(pushes) < 0.02 * form.slope(0)  # the quadrature steps over a sign


@pytest.mark.parametrize("utility", [*SIGMOIDS, "x", "log x", "x^0.5"])
def test_cdf_and_ppf_are_inverse(utility):
    law = limit_distribution(utility)
    assert law.cdf([-0.1, 1.1]).tolist() == [0, 1] and law.cdf(1) == 1 and law.ppf(1) == 1
    assert law.cdf(0) == pytest.approx(dict(law.atoms).get(0.0, 0))
    assert np.isnan(law.ppf([-0.1, 1.1])).all()
    assert (law.cdf(law.ppf(LEVELS)) >= LEVELS - 1e-12).all()
    assert (law.ppf(np.clip(law.cdf(LEVELS) - 1e-9, 0, 1)) <= LEVELS + 1e-12).all()
    assert law.ppf(LEVELS) == pytest.approx(1 - law.ppf(1 - LEVELS)) or utility == "x"


@pytest.mark.parametrize("utility", ["x", "log x", "logsigmoid(4x)"])
def test_samples_follow_the_law_and_the_seed(utility):
    law = limit_distribution(utility)
    sample = law.rvs(4000, random_state=1)
    assert wasserstein_to(sample, law) < 0.02
    assert sample.std() == pytest.approx(law.std(), abs=0.01)
    assert [np.mean(sample == place) for place, _ in law.atoms] == pytest.approx([m for _, m in law.atoms], abs=0.03)
    assert (law.rvs(size=(2, 3), random_state=1) == sample[:6].reshape(2, 3)).all()
    assert np.ndim(law.rvs()) == 0


def test_log_sigmoid_lies_between_x_and_even():
    stds = [limit_distribution(name).std() for name in ["x", *SIGMOIDS, "-1/x"]]
    assert (np.diff(stds) < 0).all()
    # One has still something between the ends where k is small: k/4.
    (_, mass), _ = limit_distribution("logsigmoid(0.001x)").atoms
    assert 1 - 2 * mass == pytest.approx(0.001 / 4, rel=1e-3)


@pytest.mark.parametrize(
    ("distribution", "utility"),
    [
        (stats.beta(0.5, 0.5), "log x"),
        (stats.beta(0.25, b=0.25), "x^0.5"),
        (stats.beta(b=0.75, a=0.75, loc=0, scale=1), "-x^-0.5"),
        (stats.beta(1, 1), "-1/x"),
        (stats.uniform(), "-1/x"),
        (stats.arcsine(), "log x"),
        (stats.bernoulli(0.5), "x"),
        (limit_distribution("-x^-3"), "-x^-3"),
        (limit_distribution("logsigmoid(4x)"), "logsigmoid(4x)"),
    ],
)
def test_utility_for(distribution, utility):
    assert utility_for(distribution) == utility_of(utility)
    law = limit_distribution(utility)
    assert law.cdf(LEVELS) == pytest.approx(distribution.cdf(LEVELS), abs=1e-12)


@pytest.mark.parametrize(
    ("distribution", "fault"),
    [
        (stats.beta(0.5, 0.6), r"Beta\(0.5, 0.6\): not symmetric"),
        (stats.beta(2, 2), r"Beta\(2, 2\): utilities push rewards out to the ends, at most evenly; needs p ≤ 1"),
        (stats.beta(0.5, 0.5, scale=2), "no utility is known for"),
        (stats.uniform(loc=0.5), "no utility is known for"),
        (stats.beta([0.5, 0.6], [0.5, 0.6]), "no utility is known for"),
        (stats.bernoulli(0.4), "no utility is known for"),
        (stats.norm(), r"needs a frozen scipy.stats beta\(p, p\)"),
        (stats.beta, "no utility is known for"),
        ("beta", "no utility is known for 'beta'"),
    ],
)
def test_no_utility_for(distribution, fault):
    with pytest.raises(BadInput, match=fault):
        utility_for(distribution)


@pytest.mark.parametrize(
    ("rewards", "utility", "expected"),
    [
        ([0, 0, 1, 1], "x", 0),
        ([1, 0, 0.5], "x", 1 / 6),
        ([0.5], "x", 1 / 2),
        ([0.5], "-1/x", 1 / 4),
        ([1, 0], "-1/x", 1 / 4),
        ([0.2, 0.2], "-1/x", (0.2**2 + 0.8**2) / 2),
        ([0.5], "log x", 1 / np.pi),
        ([2, -1], "-1/x", 1 + 1 / 4),
    ],
)
def test_wasserstein_by_hand(rewards, utility, expected):
    assert wasserstein_to(rewards, limit_distribution(utility)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("utility", ["x", "x^0.9", "log x", "logsigmoid(4x)"])
def test_wasserstein_is_that_to_a_fine_sample(utility):
    law, rewards = limit_distribution(utility), np.random.default_rng(0).random(7)
    fine = law.ppf((np.arange(200_000) + 0.5) / 200_000)
    assert wasserstein_to(rewards, law) == pytest.approx(stats.wasserstein_distance(rewards, fine), abs=1e-5)


@pytest.mark.parametrize("rewards", [[], [0.5, float("nan")]])
def test_wasserstein_needs_rewards(rewards):
    with pytest.raises(BadInput, match="needs one or more finite numbers"):
        wasserstein_to(rewards, limit_distribution("x"))


def test_a_law_knows_its_utility():
    assert limit_distribution("log").utility == Power(0)
    assert limit_distribution(LogSigmoid(4)).utility == LogSigmoid(4)
    with pytest.raises(BadInput, match="unknown utility"):
        limit_distribution("sin x")
