"""The informativeness of a prompt, worked by hand for each metric."""

import math
from statistics import fmean, pvariance

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignment.eva import informativeness
from alignment.eva.informativeness import METRICS

REWARDS = [2.0, 6.5, 3.0, 5.0]
WORKED = {
    "max-min": 6.5 - 2.0,
    "max-mean": 6.5 - (2.0 + 6.5 + 3.0 + 5.0) / 4,
    "best-second": 6.5 - 5.0,
    "variance": ((2.0 - 4.125) ** 2 + (6.5 - 4.125) ** 2 + (3.0 - 4.125) ** 2 + (5.0 - 4.125) ** 2) / 4,
    "mean": (2.0 + 6.5 + 3.0 + 5.0) / 4,
    "uniform": 1.0,
}
rewards = st.lists(st.floats(-10, 10), min_size=2, max_size=8)


def test_every_metric_is_worked():
    assert list(WORKED) == list(METRICS)


GIVEN = (
    REWARDS,
    tuple(REWARDS),
    np.array(REWARDS, np.float32),
    torch.tensor(REWARDS),
    torch.tensor(REWARDS, dtype=torch.bfloat16),
    torch.tensor(REWARDS, requires_grad=True),
)


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("metric", WORKED)
def test_worked_by_hand_in_lists_arrays_and_tensors(metric, given):
    found = informativeness(given, metric)
    assert type(found) is float and found == pytest.approx(WORKED[metric])


def test_the_papers_metric_is_the_default():
    assert informativeness(REWARDS) == 4.5


@pytest.mark.parametrize("metric", WORKED)
@given(data=st.data(), values=rewards)
def test_the_order_of_responses_does_not_matter(metric, data, values):
    turned = data.draw(st.permutations(values))
    assert informativeness(turned, metric) == pytest.approx(informativeness(values, metric), abs=1e-12)


@given(values=rewards)
def test_they_agree_with_plain_python_and_only_the_mean_can_be_negative(values):
    assert informativeness(values, "variance") == pytest.approx(pvariance(values), abs=1e-9)
    assert informativeness(values, "max-mean") == pytest.approx(max(values) - fmean(values), abs=1e-9)
    assert all(informativeness(values, metric) >= -1e-12 for metric in WORKED if metric != "mean")
    assert informativeness(values, "best-second") <= informativeness(values) + 1e-12


@pytest.mark.parametrize("metric", ["max-min", "max-mean", "best-second", "variance"])
def test_equal_rewards_say_nothing(metric):
    assert informativeness([4.0, 4.0, 4.0], metric) == 0.0


@pytest.mark.parametrize(
    ("given", "metric", "told"),
    [
        (REWARDS, "min-max", "metric 'min-max': unknown; known: max-min, max-mean, best-second, variance"),
        ([3.0], "max-min", r"rewards: need those of at least two responses .* got shape \(1,\)"),
        ([], "uniform", r"got shape \(0,\)"),
        ([[1.0, 2.0]], "max-min", r"got shape \(1, 2\)"),
        ([1.0, math.nan], "mean", r"rewards must be finite, got \[1\.0, nan\]; leave out responses without one"),
        ([1.0, math.inf], "uniform", "rewards must be finite"),
        ([1.0, None], "max-min", "rewards must be finite"),
    ],
)
def test_what_has_no_informativeness(given, metric, told):
    with pytest.raises(ValueError, match=told):
        informativeness(given, metric)
