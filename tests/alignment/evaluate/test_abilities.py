from collections import Counter

import pytest

from alignment.evaluate.abilities import ability_groups, ability_measures, chosen_right
from alignment.likelihood import Likelihoods


def test_the_shipped_questions_are_whole_and_balanced():
    groups = ability_groups()
    assert len(groups) == len({group.question for group in groups}) == 64
    assert set(Counter(group.topic for group in groups).values()) == {8}
    assert all(len(set(group.responses)) == 4 and sum(group.scores) == 1 for group in groups)
    assert Counter(group.scores.index(1) for group in groups) == dict.fromkeys(range(4), 16)
    asked = [(group.query[0].content, group.responses) for group in groups]
    assert len(set(asked)) == 64


def test_the_right_answer_is_not_told_by_its_length():
    groups = ability_groups()
    longest = sum(len(group.responses[group.scores.index(1)]) == max(map(len, group.responses)) for group in groups)
    assert longest < 32, longest


def test_an_answer_is_chosen_by_its_mean_token():
    assert chosen_right(Likelihoods((-4.0, -3.0), (4, 1)), (1.0, 0.0)) == 1.0  # −1 a token against −3
    assert chosen_right(Likelihoods((-4.0, -1.0), (4, 1)), (1.0, 0.0)) == 0.5  # as likely
    assert chosen_right(Likelihoods((-4.0, -1.0), (2, 1)), (1.0, 0.0)) == 0.0


def test_accuracy_by_skill_and_paired():
    groups = [group for group in ability_groups() if group.topic in ("words", "facts")]
    knows = [Likelihoods(tuple(score - 2 for score in group.scores), (1,) * 4) for group in groups]
    errs = [Likelihoods(tuple(-score - 2 for score in group.scores), (1,) * 4) for group in groups]
    half = [k if group.topic == "words" else e for group, k, e in zip(groups, knows, errs, strict=True)]
    everything, words, facts = ability_measures(groups, half, knows)
    assert (everything.name, everything.items, everything.model.value, everything.against.value) == (
        "all",
        16,
        0.5,
        1.0,
    )
    assert everything.difference.value == pytest.approx(-0.5)
    assert (words.model.value, facts.model.value) == (1.0, 0.0)
    assert ability_measures(groups, knows, None)[0].difference is None
    assert ability_measures(groups, [None, *knows[1:]], knows)[0].items == 15  # which both could read
