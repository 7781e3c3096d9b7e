from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import BadInput
from alignment.config import AlignStableOptions
from alignment.plan import TYPES, Stage, stages_of, types_of, visits
from sandbox.config import load

KINDS = ["imitation"] * 5 + ["self_critic"] * 3 + ["realignment"] * 2


def options(*flags):
    return load(AlignStableOptions, ["rated.jsonl", "--out", "out", *flags], prog="align stable")


def met(order):
    return Counter(KINDS[place] for place in order)


def test_an_epoch_meets_every_group_once_in_an_order_drawn_anew():
    order = visits(KINDS, [Stage(dict.fromkeys(TYPES), epochs=3)], seed=0)
    epochs = [order[:10], order[10:20], order[20:]]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert order == visits(KINDS, [Stage(dict.fromkeys(TYPES), epochs=3)], seed=0)
    assert order != visits(KINDS, [Stage(dict.fromkeys(TYPES), epochs=3)], seed=1)


def test_weights_decide_the_shares():
    order = visits(KINDS, [Stage({"imitation": 3, "self_critic": 1}, epochs=2)], seed=0)  # 8 groups: 6 and 2 an epoch
    assert [met(order[:8]), met(order[8:])] == [{"imitation": 6, "self_critic": 2}] * 2
    assert max(Counter(order[:8]).values()) == 2  # five groups of a type are met six times: one comes again
    assert {place for place in order if place >= 5} == {5, 6, 7}  # all three, before one comes twice


def test_stages_follow_one_another():
    order = visits(KINDS, [Stage({"imitation": None}, 1), Stage({"self_critic": None, "realignment": None}, 2)], seed=0)
    assert sorted(order[:5]) == [0, 1, 2, 3, 4]
    assert sorted(order[5:10]) == sorted(order[10:]) == [5, 6, 7, 8, 9]


def test_a_part_of_an_epoch():
    assert len(visits(KINDS, [Stage({"imitation": None}, 0.4)], seed=0)) == 2
    assert len(set(visits(KINDS, [Stage({"imitation": None}, 1.6)], seed=0)[:5])) == 5
    assert visits(KINDS, [Stage({"imitation": None}, 0.01)], seed=0) == []


@given(
    st.dictionaries(st.sampled_from(TYPES), st.floats(0.01, 100), min_size=1),
    st.floats(0.1, 4),
    st.integers(0, 2**32),
)
def test_every_mixture_keeps_its_shares(weights, epochs, seed):
    order = visits(KINDS, [Stage(weights, epochs)], seed=seed)
    groups = sum(KINDS.count(type) for type in weights)
    assert abs(len(order) - groups * epochs) <= 1
    for type, weight in weights.items():
        share = weight / sum(weights.values())
        assert abs(met(order)[type] - len(order) * share) <= epochs + 1  # rounded once an epoch


def test_a_type_that_the_data_has_not():
    with pytest.raises(BadInput, match="no realignment rows to train on in the data; leave that type out"):
        visits(["imitation"], [Stage({"imitation": None, "realignment": None}, 1)], seed=0)


def test_what_the_options_say():
    assert stages_of(options()) == [Stage({"imitation": None}, 1.0)]
    assert stages_of(options("--type", "imitation,self_critic", "--epochs", "2")) == [
        Stage({"imitation": None, "self_critic": None}, 2.0)
    ]
    assert stages_of(options("--type", "imitation=3", "--type", "self_critic=1")) == [
        Stage({"imitation": 3.0, "self_critic": 1.0}, 1.0)
    ]
    staged = options("--stages", "imitation=2", "--stages", "self_critic+realignment", "--epochs", "0.5")
    assert stages_of(staged) == [
        Stage({"imitation": None}, 2.0),
        Stage({"self_critic": None, "realignment": None}, 0.5),
    ]
    assert types_of(staged) == ["imitation", "self_critic", "realignment"]
    assert types_of(options("--type", "self_critic")) == ["self_critic"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--type", "imitation=3", "--type", "self_critic"], "--type imitation=3,self_critic: give a weight to every"),
        (["--type", "imitations"], "--type imitations: unknown type of rows; known: imitation, self_critic, realign"),
        (["--type", "imitation=0"], "--type imitation=0: '0' is not a number above 0"),
        (["--stages", "imitation=many"], "--stages imitation=many: 'many' is not a number above 0"),
        (["--stages", "imitation", "--type", "imitation"], "--stages: names the types itself; leave --type out"),
    ],
)
def test_options_that_make_no_plan(flags, message):
    with pytest.raises(BadInput, match=message):
        stages_of(options(*flags))
