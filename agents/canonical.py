"""What must come out the same on every machine: text, canonical JSON, digests of it, and the seed of every draw."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> str:
    """`value` as the one JSON text that digests and chains are taken over (sorted keys, no spaces, no NaN)."""
    return CANONICAL.encode(value)


def digest_of(value: Any) -> str:
    """blake2b (128 bits, hexadecimal) of the canonical JSON of `value`."""
    return hashlib.blake2b(canonical_json(value).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def valid_text(text: str) -> str:
    """`text` with its lone surrogates, which JSON and Python can hold and UTF-8 cannot, as U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def seed_of(run_seed: int, round: int, agent: int, purpose: str, other: int | str = 0) -> int:
    """The 63-bit seed of one draw. It depends on what is drawn, never on when."""
    words = canonical_json([run_seed, round, agent, purpose, other]).encode()
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "big") >> 1


def generator(run_seed: int, round: int, agent: int, purpose: str, other: int | str = 0) -> np.random.Generator:
    """A numpy generator on that seed."""
    return np.random.default_rng(seed_of(run_seed, round, agent, purpose, other))
