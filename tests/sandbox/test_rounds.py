from __future__ import annotations

import random
from pathlib import Path

import pytest

from sandbox import transcript
from sandbox.rounds import Protocol, Tally, stop_reason
from tests.sandbox.examples import CUP, interaction, rated, write_run


def protocol(**changes: object) -> Protocol:
    return Protocol(
        seed=0,
        rounds=10,
        share=4,
        raters=4,
        revisions=1,
        max_failures=0.05,
        **changes,  # type: ignore[arg-type]
    )


def test_stops_at_the_last_round() -> None:
    assert stop_reason([None] * 9, protocol()) is None
    assert stop_reason([None] * 10, protocol()) == "rounds"


@pytest.mark.parametrize(
    ("scores", "stopped"),
    [
        ([], None),
        ([10.0, 10.0], None),  # not enough rounds to have waited two
        ([10.0, 10.0, 10.0], "plateau"),
        ([10.0, 10.05, 10.09], "plateau"),  # rises, but by less than 0.1
        ([10.0, 9.0, 10.2], None),
        ([10.0, 10.2, 10.1, 10.25], "plateau"),
        ([10.0, 11.0, 12.0, 11.0, 11.5], "plateau"),
        ([10.0, 11.0, 12.0, 11.0], None),
    ],
)
def test_plateau_is_no_rise_by_gain_for_patience_rounds(scores: list[float], stopped: str | None) -> None:
    assert stop_reason(scores, protocol(until_plateau=True, plateau_gain=0.1, plateau_patience=2)) == stopped


def test_a_plateau_does_not_stop_a_run_that_did_not_ask_for_it() -> None:
    assert stop_reason([10.0] * 5, protocol()) is None


def test_interactions_count_alike_before_and_after_they_were_stored(tmp_path: Path) -> None:
    draw = random.Random(3)
    played = [
        interaction(1, agent, before={"llm:verdict": rated(draw.uniform(1, 7), draw.uniform(1, 7))}, steps=[])
        for agent in range(5)
    ]
    stored = list(transcript.read(write_run(tmp_path, [played])).interactions())
    assert stored != played, "nothing was rounded"
    tallies = [Tally("llm:verdict", frozenset({CUP.id})) for _ in range(2)]
    for tally, interactions in zip(tallies, (played, stored), strict=True):
        for one in interactions:
            tally.add(one)
    assert tallies[0].summary() == tallies[1].summary()
