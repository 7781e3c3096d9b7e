import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignment.losses import active_hinges, stable_alignment_loss

NAN = float("nan")


def loss_of(nll, ratings, present=None, **settings):
    """The loss of one group, as a number, in double precision."""
    present = [True] * len(nll) if present is None else present
    (loss,) = stable_alignment_loss(torch.tensor([nll], dtype=torch.float64), [ratings], [present], **settings).tolist()
    return loss


@pytest.mark.parametrize(
    ("nll", "ratings", "expected"),
    [
        pytest.param([2.0, 1.5], [2, 6], 1.5 + 0.2 * (1.5 - 2.0 + (6 - 2) / 7), id="the design's test vector"),
        pytest.param([1.5, 2.0], [6, 2], 1.5 + 0.2 * (1.5 - 2.0 + (6 - 2) / 7), id="best first"),
        pytest.param(
            [1.0, 2.0, 0.5], [4, 7, 1], 2.0 + 0.2 * ((2.0 - 1.0 + 3 / 7) + (2.0 - 0.5 + 6 / 7)), id="best in the middle"
        ),
        pytest.param([1.0, 9.0], [5, 1], 1.0, id="hinge not active: fine-tuning on the best"),
        pytest.param([1.3], [2], 1.3, id="one response"),
        pytest.param([1.0, 3.0], [4, 4], (1.0 + 3.0) / 2, id="all tied: mean, no term between them"),
        pytest.param([1.0, 2.0, 1.2], [5, 5, 3], 1.5 + 0.2 * (1.5 - 1.2 + 2 / 7), id="two tied best, one lower"),
    ],
)
def test_by_hand(nll, ratings, expected):
    assert loss_of(nll, ratings) == pytest.approx(expected, abs=1e-12)


def test_margins_follow_the_response_not_its_rank():
    # The published code sorts the ratings but not the losses, so that the margins land on the wrong responses.
    right = 1.0 + 0.2 * ((1.0 - 1.2 + 6 / 7) + max(0, 1.0 - 1.3 + 1 / 7))
    swapped = 1.0 + 0.2 * (max(0, 1.0 - 1.2 + 1 / 7) + (1.0 - 1.3 + 6 / 7))
    assert loss_of([1.2, 1.0, 1.3], [1, 7, 6]) == pytest.approx(right)
    assert right != pytest.approx(swapped)


@pytest.mark.parametrize(
    ("reduction", "penalty"),
    [("sum", 1.0 + 3 / 7 + 1.5 + 6 / 7), ("mean", (1.0 + 3 / 7 + 1.5 + 6 / 7) / 2), ("max", 1.5 + 6 / 7)],
)
def test_reductions(reduction, penalty):
    assert loss_of([1.0, 2.0, 0.5], [4, 7, 1], reduction=reduction) == pytest.approx(2.0 + 0.2 * penalty)


def test_weight_margin_and_scale():
    assert loss_of([1.0, 2.0], [1, 3], weight=0.5, margin=2.0, scale=4.0) == pytest.approx(
        2.0 + 0.5 * (2.0 - 1.0 + 2.0 * 2 / 4)
    )
    assert loss_of([1.0, 2.0], [1, 3], weight=0.0) == 2.0


@pytest.mark.parametrize("reduction", ["sum", "mean", "max"])
def test_absent_responses_touch_neither_loss_nor_gradient(reduction):
    nll = torch.tensor([[2.0, NAN, 1.5], [NAN, NAN, NAN]], requires_grad=True)
    ratings, present = [[2.0, NAN, 6.0], [NAN, 9.0, NAN]], [[True, False, True], [False, False, False]]
    loss = stable_alignment_loss(nll, ratings, present, reduction=reduction)
    assert loss.tolist() == pytest.approx([1.5 + 0.2 * (1.5 - 2.0 + 4 / 7), 0.0])
    loss.sum().backward()
    assert torch.allclose(nll.grad, torch.tensor([[-0.2, 0.0, 1.0 + 0.2], [0.0, 0.0, 0.0]]))


def test_gradient_of_tied_best_is_shared():
    nll = torch.tensor([[1.0, 2.0, 1.2]], requires_grad=True)
    stable_alignment_loss(nll, [[5, 5, 3]], [[True] * 3]).sum().backward()
    assert torch.allclose(nll.grad, torch.tensor([[0.5 * 1.2, 0.5 * 1.2, -0.2]]))


@pytest.mark.parametrize("container", [list, np.array, torch.tensor])
def test_lists_arrays_and_tensors(container):
    loss = stable_alignment_loss(container([[2.0, 1.5]]), container([[2, 6]]), container([[True, True]]))
    assert loss.shape == (1,)
    assert loss.tolist() == pytest.approx([1.514286], abs=1e-6)


def test_half_precision_makes_no_ties():
    nll = torch.tensor([[2.0, 1.0]], dtype=torch.bfloat16)
    loss = stable_alignment_loss(nll, torch.tensor([[6.30, 6.31]]), [[True, True]])
    assert loss.item() == pytest.approx(1.0)  # and not (2.0 + 1.0) / 2


groups = st.lists(
    st.tuples(st.floats(0, 12), st.sampled_from([1.0, 2.5, 2.5, 4.0, 6.9]), st.booleans()), min_size=1, max_size=6
)


@given(groups, st.randoms(use_true_random=False), st.sampled_from(["sum", "mean", "max"]))
def test_order_does_not_matter(group, random, reduction):
    shuffled = random.sample(group, len(group))
    nll, ratings, present = map(list, zip(*group, strict=True))
    again = map(list, zip(*shuffled, strict=True))
    assert loss_of(nll, ratings, present, reduction=reduction) == pytest.approx(loss_of(*again, reduction=reduction))


@given(groups)
def test_the_share_of_active_hinges_counts_what_the_loss_adds(group):
    nll, ratings, present = ([list(column)] for column in zip(*group, strict=True))
    active, total = active_hinges(nll, ratings, present)
    assert 0 <= active.item() <= total.item() < len(group)
    plain = stable_alignment_loss(nll, ratings, present, weight=0.0)
    assert (stable_alignment_loss(nll, ratings, present).item() > plain.item()) <= (active.item() > 0)


def test_active_hinges_by_hand():
    active, total = active_hinges([[1.0, 9.0, 1.1], [1.0, 2.0, 3.0]], [[5, 1, 4], [3, 3, 3]], [[True] * 3] * 2)
    assert (active.tolist(), total.tolist()) == ([1, 0], [2, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, 2.0]], [[1.0]], [[True, True]]), r"one shape \[G,K\], got \[1, 2\], \[1, 1\], \[1, 2\]"),
        (([[1.0, 2.0]], [[1.0, NAN]], [[True, True]]), "ratings must be finite"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        stable_alignment_loss(*arguments)


def test_unknown_reduction():
    with pytest.raises(ValueError, match="sum, mean or max, got 'median'"):
        loss_of([1.0, 2.0], [1, 2], reduction="median")
