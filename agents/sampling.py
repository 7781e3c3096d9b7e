"""From logits to the next token: every row draws from its own seed, whatever its neighbours in the batch are."""

from __future__ import annotations

import hashlib

import torch

# A nucleus is nearly always among so many tokens, and then the whole vocabulary need not be sorted.
LIKELIEST = 512


class NotFinite(ArithmeticError):
    """A model's logits for a row hold NaN or +∞, or allow no token: they give no probabilities."""


def uniform(seed: int, position: int) -> float:
    """The draw in [0, 1) for the token at `position` of the reply: 53 bits of blake2b(seed, position)."""
    digest = hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53


def sample(
    logits: torch.Tensor, temperatures: torch.Tensor, top_ps: torch.Tensor, uniforms: torch.Tensor
) -> torch.Tensor:
    """The next token of each row, [B], from logits [B, V]; the other arguments are [B], float64.

    Temperature 0 takes the likeliest token. Otherwise the uniform picks through the inverse distribution of the
    nucleus: the likeliest tokens that together have `top_p` of the probability after temperature, ties included.
    Raises NotFinite where a row of logits gives no probabilities.
    """
    tokens = logits.argmax(-1)
    if not logits.gather(1, tokens[:, None]).isfinite().all():  # to argmax NaN is the highest
        raise NotFinite
    drawn = temperatures > 0
    if drawn.any():
        probabilities = torch.softmax(logits[drawn].float() / temperatures[drawn, None].float(), -1)
        tokens[drawn] = _draw(probabilities, top_ps[drawn], uniforms[drawn])
    return tokens


def _draw(probabilities: torch.Tensor, top_ps: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    ranked, ids = probabilities.topk(min(LIKELIEST, probabilities.shape[-1]))
    floor = _nucleus_floor(ranked, top_ps)
    ids, order = ids.sort()
    tokens = ids.gather(1, _pick(ranked.gather(1, order), floor, uniforms)).squeeze(1)
    wider = (floor <= ranked[:, -1:]).squeeze(1)
    if wider.any():
        whole, top_ps, uniforms = probabilities[wider], top_ps[wider], uniforms[wider]
        floor = torch.zeros_like(whole[:, :1])
        if (top_ps < 1).any():
            floor = _nucleus_floor(whole.sort(descending=True).values, top_ps)
        tokens[wider] = _pick(whole, floor, uniforms).squeeze(1)
    return tokens


def _nucleus_floor(ranked: torch.Tensor, top_ps: torch.Tensor) -> torch.Tensor:
    """[B, 1], the least probability of the nucleus, from falling probabilities [B, K]."""
    last = torch.searchsorted(ranked.cumsum(1, dtype=torch.float64), top_ps[:, None])
    return ranked.gather(1, last.clamp(max=ranked.shape[1] - 1))


def _pick(probabilities: torch.Tensor, floor: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """[B, 1], places in [B, K], which is in the order of the vocabulary.

    In the order of probability the token would hang on rounding, since that decides between near-equals.
    """
    reached = torch.where(probabilities >= floor, probabilities, 0).cumsum(1, dtype=torch.float64)
    return torch.searchsorted(reached, uniforms[:, None] * reached[:, -1:], right=True)
