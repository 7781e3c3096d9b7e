import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import BadInput
from alignment.reward_model.utilities import (
    TANGENT_BELOW,
    LogSigmoid,
    Power,
    prompt_aware,
    prompt_aware_utility,
    utility_of,
)

EACH = [*map(Power, (1.0, 0.5, 1e-9, 0.0, -0.3, -1.0, -3.0)), *map(LogSigmoid, (1.0, 4.0, 100.0))]


@pytest.mark.parametrize(
    ("name", "utility"),
    [
        ("x", Power(1)),
        ("x^1", Power(1)),
        ("x^0.5", Power(0.5)),
        (" X ^ .5 ", Power(0.5)),
        ("log x", Power(0)),
        ("logx", Power(0)),
        ("log", Power(0)),
        ("-x^-0.5", Power(-0.5)),
        ("−x^−2", Power(-2)),
        ("-1/x", Power(-1)),
        ("- 1 / x", Power(-1)),
        ("-x^-1", Power(-1)),
        ("logsigmoid(x)", LogSigmoid(1)),
        ("log sigmoid(4x)", LogSigmoid(4)),
        ("log sigmoid( 0.5 * x )", LogSigmoid(0.5)),
    ],
)
def test_names(name, utility):
    assert utility_of(name) == utility
    assert utility_of(utility.name) == utility


@pytest.mark.parametrize("utility", EACH)
def test_a_utility_is_called_what_it_is_read_from(utility):
    assert utility_of(utility.name) == utility
    assert utility_of(utility) is utility
    assert pickle.loads(pickle.dumps(utility)) == utility


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("exp x", "unknown utility 'exp x': name one of x, x\\^0.5, log x, -x\\^-0.5, -1/x, logsigmoid\\(x\\)"),
        ("", "unknown utility ''"),
        ("prompt-aware", "unknown utility"),
        ("x^-0.5", "unknown utility"),
        ("x^2", "exponent 2: needs -50 to 1"),
        ("-x^-1000", "exponent -1000: needs -50 to 1"),
        ("x^0", "the exponent must not be 0; the limit is called log x"),
        ("-x^-0", "must not be 0"),
        ("logsigmoid(0x)", "needs a factor above 0, to 500"),
        ("logsigmoid(501x)", "needs a factor above 0, to 500"),
        ("logsigmoid(-x)", "unknown utility"),
    ],
)
def test_other_names_are_refused(name, fault):
    with pytest.raises(BadInput, match=fault):
        utility_of(name)


@pytest.mark.parametrize("utility", EACH)
def test_slope_and_curvature_are_the_derivatives_of_what_is_trained(utility):
    x = torch.linspace(TANGENT_BELOW, 1, 50, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(utility.of(x).sum(), x, create_graph=True)
    assert slope.detach().numpy() == pytest.approx(utility.slope(x.detach().numpy()), rel=1e-5)
    if slope.requires_grad:  # x has no curvature to speak of
        (curvature,) = torch.autograd.grad(slope.sum(), x)
        assert curvature[1:].numpy() == pytest.approx(utility.curvature(x.detach().numpy())[1:], rel=1e-5, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "gap", "expected"),
    [
        ("x", 0.3, 0.3 - 1),
        ("x^0.5", 0.25, (0.5 - 1) / 0.5),
        ("log x", 0.25, np.log(0.25)),
        ("-x^-0.5", 0.25, (-2 + 1) / 0.5),
        ("-1/x", 0.25, -4 + 1),
        ("logsigmoid(4x)", 0.5, -np.log(1 + np.exp(-2))),
        ("log x", -0.95, np.log(0.05) - 1 / 0.05),  # the tangent at 0.05, one further down
        ("-1/x", 0, 1 - 1 / 0.05 - 0.05 / 0.05**2),
        ("x", -1, -1 - 1),
    ],
)
def test_values_by_hand(name, gap, expected):
    assert utility_of(name).of(torch.tensor(gap, dtype=torch.float64)).item() == pytest.approx(expected)


@pytest.mark.parametrize("utility", EACH)
def test_ties_and_wrong_order_are_finite_and_pull_as_hard_as_the_edge(utility):
    gaps = torch.tensor([-1.0, -0.05, 0.0, TANGENT_BELOW / 2], requires_grad=True)
    values = utility.of(gaps)
    values.sum().backward()
    assert torch.isfinite(values).all() and (values.diff() > 0).all()
    assert gaps.grad.numpy() == pytest.approx(float(utility.slope(TANGENT_BELOW)), rel=1e-5)


@pytest.mark.parametrize(
    ("openness", "name"),
    [(0, "x"), (0.25, "x^0.5"), (0.3, "x^0.4"), (0.4, "x^0.2"), (0.5, "log x"), (0.75, "-x^-0.5"), (1, "-1/x")],
)
def test_prompt_aware(openness, name):
    assert prompt_aware(openness) == utility_of(name)
    assert prompt_aware(openness).name == name


@pytest.mark.parametrize("openness", [-0.1, 1.1, float("nan")])
def test_openness_lies_between_0_and_1(openness):
    with pytest.raises(BadInput, match=r"needs 0 \(closed\) to 1 \(open\)"):
        prompt_aware(openness)


@given(
    st.lists(
        st.tuples(st.floats(-1, 1), st.one_of(st.just(0.5), st.floats(0, 1), st.floats(0.499999, 0.500001)))
    ).filter(bool)
)
def test_a_batch_of_opennesses_is_each_by_itself(rows):
    gaps, openness = torch.tensor(rows, dtype=torch.float64).T
    gaps.requires_grad_()
    together = prompt_aware_utility(gaps, openness)
    alone = torch.stack([prompt_aware(o).of(gap) for gap, o in zip(gaps, openness.tolist(), strict=True)])
    assert torch.allclose(together, alone, rtol=1e-5)
    (gradient,) = torch.autograd.grad(together.sum(), gaps)
    (expected,) = torch.autograd.grad(alone.sum(), gaps)
    assert torch.isfinite(gradient).all() and torch.allclose(gradient, expected, rtol=1e-5)


def test_nothing_jumps_at_log_x_in_single_precision():
    openness = torch.tensor([0.499, 0.4999999, 0.5, 0.5000001, 0.501])
    values = prompt_aware_utility(torch.tensor(0.1), openness)
    assert values.numpy() == pytest.approx(np.log(0.1), rel=3e-3)
    assert values[1:4].numpy() == pytest.approx(np.log(0.1), rel=1e-6)
