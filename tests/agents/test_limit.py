"""The limit's decisions, step by step on its states: what cuts it, what lets it grow, what pauses growth."""

from __future__ import annotations

from copy import copy

from hypothesis import given
from hypothesis import strategies as st

from agents.limit import Limit


def allowed(limit: Limit) -> int:
    """How many calls it would have in flight at most now, found by sending."""
    trial = copy(limit)
    while trial.free():
        trial.send()
    return trial.in_flight


def filled(limit: Limit) -> list[int]:
    """Send all that it allows."""
    return [limit.send() for _ in iter(limit.free, False)]


def answered_at_full_load(limit: Limit, times: int) -> None:
    for _ in range(times):
        filled(limit)
        limit.done(answered=True)
    while limit.in_flight:
        limit.done(answered=True)


def cut(most: int) -> Limit:
    """A limit that one 429 has halved, with nothing in flight."""
    limit = Limit(most)
    limit.overloaded(filled(limit)[0])
    while limit.in_flight:
        limit.done(answered=False)
    return limit


def test_all_calls_go_at_once_until_the_ceiling() -> None:
    limit = Limit(3)
    assert filled(limit) == [0, 0, 0]
    assert (limit.free(), limit.in_flight) == (False, 3)
    limit.done(answered=True)
    assert (limit.free(), limit.in_flight) == (True, 2)


def test_one_429_halves_what_was_in_flight_and_those_sent_with_it_do_not_cut_again() -> None:
    limit = Limit(1000)
    sent = [limit.send() for _ in range(16)]  # far below the ceiling: what is halved is what was there
    for sent_at in sent:
        limit.overloaded(sent_at)
        limit.done(answered=False)
    assert allowed(limit) == 8


def test_a_429_to_a_call_sent_after_the_cut_cuts_again() -> None:
    limit = cut(16)
    assert allowed(limit) == 8
    limit.overloaded(filled(limit)[0])
    assert not limit.free()  # 8 are in flight where 4 are allowed: none is taken back, none is added
    while limit.in_flight:
        limit.done(answered=False)
    assert allowed(limit) == 4


def test_one_call_is_always_allowed() -> None:
    limit = Limit(4)
    for _ in range(5):
        limit.overloaded(limit.send())
        limit.done(answered=False)
        assert allowed(limit) == 1


def test_it_grows_by_a_tenth_after_as_many_answers_at_full_load_as_it_allows() -> None:
    limit = cut(80)
    assert allowed(limit) == 40
    answered_at_full_load(limit, 39)
    assert allowed(limit) == 40
    filled(limit)
    limit.done(answered=True)
    assert allowed(limit) == 44


def test_growth_ends_at_the_ceiling() -> None:
    limit = cut(4)
    for expected in (3, 4, 4):
        answered_at_full_load(limit, 4)
        assert allowed(limit) == expected


def test_answers_below_full_load_do_not_let_it_grow() -> None:
    limit = cut(8)
    for _ in range(100):
        limit.send()
        limit.done(answered=True)
    assert allowed(limit) == 4


def test_a_failure_pauses_growth_and_cuts_nothing() -> None:
    limit = cut(8)
    for answers in ([True] * 3, [False], [True] * 3):
        for answered in answers:
            filled(limit)
            limit.done(answered=answered)
    assert allowed(limit) == 4  # six answers at full load, and never four without a failure between them
    filled(limit)
    limit.done(answered=True)
    assert allowed(limit) == 5


@given(most=st.integers(1, 40), events=st.lists(st.sampled_from(["send", "answer", "failure", "429"]), max_size=300))
def test_whatever_happens_one_call_is_allowed_and_no_more_than_the_ceiling(most: int, events: list[str]) -> None:
    limit = Limit(most)
    sent: list[int] = []
    for event in events:
        if event == "send":
            if limit.free():
                most_now = allowed(limit)
                sent.append(limit.send())
                assert limit.in_flight <= most_now
        elif sent:
            sent_at = sent.pop(0)
            if event == "429":
                limit.overloaded(sent_at)
            limit.done(answered=event == "answer")
        assert limit.in_flight == len(sent)
        assert sent or limit.free()
        assert limit.in_flight <= most and allowed(limit) <= most
