from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.sampling import NotFinite, sample, uniform


def drawn(probabilities: list[list[float]], top_p: float, uniforms: list[float], temperature: float = 1.0) -> list[int]:
    rows = len(uniforms)
    logits = torch.tensor(probabilities, dtype=torch.float64).log().float().expand(rows, -1)
    settings = (torch.full((rows,), temperature), torch.full((rows,), top_p), torch.tensor(uniforms))
    return sample(logits, *(setting.double() for setting in settings)).tolist()


def test_the_uniform_is_53_bits_of_blake2b_of_seed_and_position() -> None:
    digest = hashlib.blake2b(b"7:3", digest_size=8).digest()
    assert uniform(7, 3) == (int.from_bytes(digest, "big") >> 11) / 2**53
    assert uniform(7, 3) != uniform(7, 4) != uniform(8, 3)


def test_uniforms_are_spread_evenly() -> None:
    draws = sorted(uniform(seed, position) for seed in range(100) for position in range(40))
    assert all(0 <= draw < 1 for draw in draws)
    # Kolmogorov's bound for 4000 draws at 0.1 %: 1.95 / sqrt(4000)
    assert max(abs(draw - n / 4000) for n, draw in enumerate(draws)) < 0.031


def test_draws_go_through_the_inverse_distribution_in_vocabulary_order() -> None:
    uniforms = [0.0, 0.0999, 0.1001, 0.4999, 0.5001, 0.9999]
    assert drawn([[0.1, 0.4, 0.5]], 1.0, uniforms) == [0, 0, 1, 1, 2, 2]


def test_top_p_keeps_the_fewest_tokens_that_reach_it_and_renormalises() -> None:
    # 0.5 + 0.3 reach 0.75, so the nucleus is tokens 1 and 3; the border stands at 0.3 / 0.8 = 0.375.
    distribution = [[0.15, 0.3, 0.05, 0.5]]
    assert drawn(distribution, 0.75, [0.0, 0.374, 0.376, 0.999]) == [1, 1, 3, 3]


def test_ties_at_the_border_of_the_nucleus_all_stay() -> None:
    assert drawn([[0.25, 0.25, 0.25, 0.25]], 0.3, [0.1, 0.3, 0.6, 0.9]) == [0, 1, 2, 3]


def test_temperature_sharpens_before_top_p() -> None:
    # At temperature 1/2 probabilities 0.6, 0.4 become 0.36 : 0.16, so token 0 has 0.692.
    assert drawn([[0.6, 0.4]], 1.0, [0.69, 0.70], temperature=0.5) == [0, 1]
    assert drawn([[0.6, 0.4]], 0.65, [0.99], temperature=0.5) == [0]
    assert drawn([[0.6, 0.4]], 0.65, [0.99], temperature=1.0) == [1]


def test_temperature_0_takes_the_likeliest_beside_rows_that_draw() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [0.0, 3.0, 1.0]])
    tokens = sample(
        logits, torch.tensor([0.0, 1.0]).double(), torch.ones(2).double(), torch.tensor([0.999, 0.999]).double()
    )
    assert tokens.tolist() == [1, 2]


def test_minus_infinity_is_never_drawn() -> None:
    assert drawn([[0.0, 1.0, 0.0]], 1.0, [0.0, 0.5, 0.999999]) == [1, 1, 1]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("row", [[1.0, torch.nan, 2.0], [1.0, torch.inf, 2.0], [-torch.inf] * 3], ids=str)
def test_logits_without_probabilities_are_refused_beside_good_rows(row: list[float], temperature: float) -> None:
    settings = torch.tensor([[temperature] * 2, [0.9] * 2, [0.5] * 2], dtype=torch.float64)
    assert len(sample(torch.tensor([[1.0, 3.0, 2.0]] * 2), *settings)) == 2
    with pytest.raises(NotFinite):
        sample(torch.tensor([[1.0, 3.0, 2.0], row]), *settings)


@pytest.mark.parametrize("top_p", [0.5, 0.9, 0.97, 1.0])
@given(seed=st.integers(0, 2**32), flatness=st.floats(0.2, 5))
@settings(max_examples=25, deadline=None)
def test_the_short_way_equals_sorting_everything(top_p: float, seed: int, flatness: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 3000, generator=generator) * flatness  # nuclei on both sides of the 512 likeliest
    uniforms = torch.rand(4, generator=generator, dtype=torch.float64)
    expected = []
    for row, u in zip(logits, uniforms.tolist(), strict=True):
        probabilities = torch.softmax(row, -1).double()
        ranked = probabilities.sort(descending=True).values
        size = int((ranked.cumsum(-1) < top_p).sum()) + 1
        kept = torch.where(probabilities >= ranked[min(size, 3000) - 1], probabilities, 0.0)
        expected.append(int((kept.cumsum(-1) <= u * kept.sum()).sum()))
    ones = torch.ones(4, dtype=torch.float64)
    assert sample(logits, ones, top_p * ones, uniforms).tolist() == expected
