"""The plateau of a finished run: the rule that ends a run, asked of each of its rounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.plateau import rounds_to_plateau
from sandbox.rounds import Protocol, stop_reason


@pytest.mark.parametrize(
    ("scores", "rounds"),
    [
        ([], None),
        ([10.0, 10.0], None),  # not enough rounds to have waited two
        ([10.0, 10.0, 10.0], 3),
        ([10.0, 11.0, 12.0, 11.0, 11.5, 20.0], 5),  # a later rise is one that a run stopped there would not have seen
        ([10.0, 10.2, 10.4, 10.6], None),
        ([10.0, None, 10.0, None, 10.0], 5),
    ],
)
def test_rounds_to_plateau(scores: list[float | None], rounds: int | None) -> None:
    assert rounds_to_plateau(scores, gain=0.1, patience=2) == rounds


@given(st.lists(st.none() | st.floats(1, 49), max_size=12), st.floats(0, 2), st.integers(1, 4))
def test_it_is_the_round_at_which_a_run_would_have_stopped(
    scores: list[float | None], gain: float, patience: int
) -> None:
    protocol = Protocol(
        seed=0, rounds=99, share=1, raters=1, revisions=1, max_failures=0.0,
        until_plateau=True, plateau_gain=gain, plateau_patience=patience,
    )  # fmt: skip
    stops = [n for n in range(len(scores) + 1) if stop_reason(scores[:n], protocol) == "plateau"]
    assert rounds_to_plateau(scores, gain=gain, patience=patience) == (stops[0] if stops else None)
