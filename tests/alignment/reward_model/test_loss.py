import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignment.reward_model.loss import ranking_loss
from alignment.reward_model.utilities import prompt_aware, utility_of

NAN = float("nan")
LOG = utility_of("log x")


def loss_of(rewards, ratings, utility=LOG, present=None, **settings):
    """The loss of one group, as a number, in double precision."""
    present = [True] * len(rewards) if present is None else present
    rewards = torch.tensor([rewards], dtype=torch.float64)
    (loss,) = ranking_loss(rewards, [ratings], [present], utility, **settings).tolist()
    return loss


@pytest.mark.parametrize(
    ("rewards", "ratings", "name", "expected"),
    [
        pytest.param([0.9, 0.4], [6, 2], "log x", -np.log(0.5), id="one pair"),
        pytest.param([0.4, 0.9], [2, 6], "log x", -np.log(0.5), id="best last"),
        pytest.param([1.0, 0.4, 0.0], [3, 2, 1], "log x", -np.log(0.6 * 0.4 * 1.0) / 3, id="mean over three pairs"),
        pytest.param([1.0, 0.4, 0.0], [3, 2, 1], "x", 1 - (0.6 + 0.4 + 1.0) / 3, id="x, less a constant"),
        pytest.param([1.0, 0.4, 0.0], [3, 2, 1], "-1/x", (1 / 0.6 + 1 / 0.4 + 1 / 1.0) / 3 - 1, id="-1/x"),
        pytest.param([1.0, 0.8, 0.3], [5, 5, 1], "log x", -np.log(0.7 * 0.5) / 2, id="no term between the tied"),
        pytest.param([0.4, 0.9], [6, 2], "log x", -np.log(0.05) + 0.55 / 0.05, id="wrong order: the tangent"),
        pytest.param([0.4, 0.9], [3, 3], "log x", 0.0, id="nothing ranked"),
        pytest.param([0.4], [3], "log x", 0.0, id="one response"),
        pytest.param([0.75, 0.5], [2, 1], "logsigmoid(4x)", np.log(1 + np.exp(-1)), id="log sigmoid"),
    ],
)
def test_by_hand(rewards, ratings, name, expected):
    assert loss_of(rewards, ratings, utility_of(name)) == pytest.approx(expected, abs=1e-12)


def test_ratings_within_delta_are_tied():
    assert loss_of([1.0, 0.8, 0.3], [5.0, 4.75, 1.0], delta=0.25) == pytest.approx(-np.log(0.7 * 0.5) / 2)
    assert loss_of([1.0, 0.8, 0.3], [5.0, 4.75, 1.0], delta=0.2) == pytest.approx(-np.log(0.7 * 0.5 * 0.2) / 3)


def test_absent_responses_and_groups_without_a_pair_touch_neither_loss_nor_gradient():
    rewards = torch.tensor([[0.9, NAN, 0.4], [NAN, NAN, NAN], [0.7, 0.7, NAN]], requires_grad=True)
    ratings = [[6.0, NAN, 2.0], [NAN, 9.0, NAN], [3.0, 3.0, 1.0]]
    present = [[True, False, True], [False, False, False], [True, True, False]]
    loss = ranking_loss(rewards, ratings, present, LOG)
    assert loss.tolist() == pytest.approx([-np.log(0.5), 0.0, 0.0])
    loss.sum().backward()
    assert torch.allclose(rewards.grad, torch.tensor([[-2.0, 0.0, 2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))


def test_ties_of_rewards_are_pulled_apart():
    rewards = torch.tensor([[0.5, 0.5]], requires_grad=True)
    for utility, openness in [(LOG, None), (utility_of("-1/x"), None), (None, [0.5])]:
        (gradient,) = torch.autograd.grad(
            ranking_loss(rewards, [[2, 1]], [[True, True]], utility, openness=openness), rewards
        )
        assert torch.isfinite(gradient).all() and gradient[0, 0] < 0 < gradient[0, 1]


def test_prompt_aware_takes_each_groups_openness():
    rewards, ratings, present = [[1.0, 0.4, 0.0]] * 4, [[3, 2, 1]] * 4, [[True] * 3] * 4
    openness = [0.0, 0.3, 0.5, 1.0]
    together = ranking_loss(rewards, ratings, present, None, openness=openness)
    alone = [loss_of(rewards[0], ratings[0], prompt_aware(o)) for o in openness]
    assert together.tolist() == pytest.approx(alone, rel=1e-5)
    assert len(set(together.tolist())) == 4


@given(st.data())
def test_order_does_not_matter(data):
    size = data.draw(st.integers(2, 8))
    rewards = data.draw(st.lists(st.floats(0, 1), min_size=size, max_size=size))
    ratings = data.draw(st.lists(st.integers(1, 7), min_size=size, max_size=size))
    present = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    order = data.draw(st.permutations(range(size)))
    utility, openness = data.draw(st.sampled_from([(LOG, None), (utility_of("-1/x"), None), (None, [0.3])]))
    given_order = loss_of(rewards, ratings, utility, present, openness=openness)
    shuffled = [[values[i] for i in order] for values in (rewards, ratings, present)]
    assert loss_of(*shuffled[:2], utility, shuffled[2], openness=openness) == pytest.approx(given_order, rel=1e-9)


@pytest.mark.parametrize("container", [list, np.array, torch.tensor])
def test_lists_arrays_and_tensors(container):
    loss = ranking_loss(container([[0.25, 0.75]]), container([[2, 6]]), container([[True, True]]), LOG)
    assert loss.tolist() == pytest.approx([np.log(2)], abs=1e-6)


def test_half_precision_is_computed_in_single():
    rewards = torch.tensor([[0.9, 0.4]], dtype=torch.bfloat16)
    assert ranking_loss(rewards, [[2, 1]], [[True, True]], LOG).dtype == torch.float32


ONE = {"rewards": [[0.9, 0.4]], "ratings": [[2, 1]], "present": [[True, True]], "utility": LOG}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"ratings": [[2, 1, 3]]}, r"need one shape \[G,K\], got \[1, 2\], \[1, 3\], \[1, 2\]"),
        ({"ratings": [[2.0, NAN]]}, "mark the unrated ones as absent"),
        ({"utility": None}, "give a utility, or None and the openness"),
        ({"openness": [0.5]}, "give a utility, or None and the openness"),
        ({"utility": None, "openness": [0.5, 0.5]}, "openness needs one number in \\[0, 1\\] for each of 1 groups"),
        ({"utility": None, "openness": [1.5]}, "openness needs one number in \\[0, 1\\]"),
    ],
)
def test_faults(change, fault):
    with pytest.raises(ValueError, match=fault):
        ranking_loss(**(ONE | change))
