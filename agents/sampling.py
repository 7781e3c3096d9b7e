"""From logits to the next token: every row draws from its own seed, so its text doesn't depend on its neighbours."""

from __future__ import annotations

import hashlib

import torch

# Rows whose draw falls among their likeliest tokens (nearly all) need no sorting of the whole vocabulary.
LIKELIEST = 512


def uniform(seed: int, position: int) -> float:
    """The draw in [0, 1) for the token at `position` of the reply: 53 bits of blake2b(seed, position)."""
    digest = hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53


def sample(
    logits: torch.Tensor, temperatures: torch.Tensor, top_ps: torch.Tensor, uniforms: torch.Tensor
) -> torch.Tensor:
    """The next token of each row, [B], from logits [B, V]; the other arguments are [B], uniforms in [0, 1).

    Temperature 0 takes the likeliest token. Otherwise tokens are laid out from the likeliest down, cut to the fewest
    that have `top_p` of the probability after temperature, and the uniform picks through their inverse distribution.
    """
    tokens = logits.argmax(-1)
    drawn = temperatures > 0
    if drawn.any():
        probabilities = torch.softmax(logits[drawn].float() / temperatures[drawn, None], -1)
        tokens[drawn] = _draw(probabilities, top_ps[drawn], uniforms[drawn])
    return tokens


def _draw(probabilities: torch.Tensor, top_ps: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    values, tokens = probabilities.topk(min(LIKELIEST, probabilities.shape[-1]))
    within = values.double().sum(-1)
    settled = torch.where(top_ps < 1, within >= top_ps, within > uniforms)
    drawn = _pick(values, tokens, top_ps, uniforms)
    if not settled.all():
        values, tokens = probabilities[~settled].sort(descending=True, stable=True)
        drawn[~settled] = _pick(values, tokens, top_ps[~settled], uniforms[~settled])
    return drawn


def _pick(values: torch.Tensor, tokens: torch.Tensor, top_ps: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    reached = values.double().cumsum(-1)
    last = torch.searchsorted(reached, top_ps[:, None]).clamp(max=values.shape[-1] - 1)
    mass = torch.where(top_ps[:, None] < 1, reached.gather(-1, last), 1.0)
    place = torch.searchsorted(reached, uniforms[:, None] * mass, right=True)
    return tokens.gather(-1, place.minimum(last)).squeeze(-1)
